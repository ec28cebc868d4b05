// Lines over time.

import { element, svg } from "./dom.js";

const HEIGHT = 130;
const MARGIN = { left: 52, right: 8, top: 8, bottom: 20 };

/** One chart: a title, the newest values, and lines. */
export class Chart {
  /**
   * @param {Element} parent
   * @param {string} title
   * @param {Array<{key: string, label: string}>} lines - fields of points, at most two.
   * @param {function(number): string} format - of values.
   * @param {number} [top] - of the scale, if it is always the same.
   */
  constructor(parent, title, lines, format, top) {
    Object.assign(this, { title, lines, format, top, points: [], span: 1, cursor: null });
    this.values = element("p", { class: "values" });
    this.svg = svg("svg", { role: "img", height: HEIGHT });
    parent.append(element("figure", { class: "chart" }, heading(title), this.values, this.svg));
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.pointAt(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.pointAt(null));
  }

  /** Shows points, each with its time in seconds, of so many seconds until now. */
  show(points, span, now) {
    Object.assign(this, { points, span, now });
    this.draw();
  }

  pointAt(x) {
    this.cursor = x;
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (width === 0) return;
    const { points, span, now = 0, lines } = this;
    const area = { width: width - MARGIN.left - MARGIN.right };
    area.height = HEIGHT - MARGIN.top - MARGIN.bottom;
    const shown = points.flatMap((p) => lines.map(({ key }) => p[key])).filter((v) => v !== null);
    const top = this.top ?? roundedUp(Math.max(...shown, 0));
    const x = (seconds) => MARGIN.left + area.width * (1 - (now - seconds) / span);
    const y = (value) => MARGIN.top + area.height * (1 - Math.min(value / top, 1));
    const at = this.cursor === null ? null : nearest(points, (p) => Math.abs(x(p.seconds) - this.cursor));

    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...this.axes(width, top, span, y));
    lines.forEach(({ key }, index) => {
      this.svg.append(...line(points, key, x, y, `line line-${index + 1}`));
    });
    if (at) {
      const place = x(at.seconds);
      this.svg.append(svg("line", {
        class: "cursor", x1: place, x2: place, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom,
      }));
    }
    this.tell(at ?? points.at(-1), at && now - at.seconds);
  }

  axes(width, top, span, y) {
    const parts = [];
    for (const value of [0, top / 2, top]) {
      const place = y(value);
      parts.push(
        svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: place, y2: place }),
        svg("text", { x: MARGIN.left - 6, y: place + 4, "text-anchor": "end" }, this.format(value)),
      );
    }
    const below = { y: HEIGHT - 4 };
    parts.push(
      svg("text", { x: MARGIN.left, ...below }, `-${span / 60} min`),
      svg("text", { x: width - MARGIN.right, "text-anchor": "end", ...below }, "now"),
    );
    return parts;
  }

  /** The values of a point, the newest or the one that is looked at. */
  tell(point, ago) {
    const value = (key) => (point?.[key] == null ? "–" : this.format(point[key]));
    this.values.replaceChildren(
      ...this.lines.map(({ key, label }, index) =>
        element("span", { class: `value line-${index + 1}` },
          element("span", { class: "swatch" }), `${label} `, element("b", {}, value(key))),
      ),
      ...(ago ? [element("span", { class: "ago" }, `${Math.round(ago)} s ago`)] : []),
    );
    const said = this.lines.map(({ key, label }) => `${label} ${value(key)}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}: ${said}`);
  }
}

const heading = (title) => element("h3", {}, title);

/** A field's points as lines, in pieces where there are no values, and dots of single ones. */
function line(points, key, x, y, name) {
  const pieces = [];
  let piece = [];
  for (const point of [...points, { [key]: null }]) {
    if (point[key] !== null) {
      piece.push([x(point.seconds), y(point[key])]);
    } else if (piece.length > 0) {
      pieces.push(piece);
      piece = [];
    }
  }
  return pieces.map((places) =>
    places.length === 1
      ? svg("circle", { class: name, cx: places[0][0], cy: places[0][1], r: 1.5 })
      : svg("polyline", { class: name, points: places.map((p) => p.map(rounded).join(",")).join(" ") }),
  );
}

const rounded = (value) => Math.round(value * 10) / 10;

function nearest(points, distance) {
  return points.reduce((a, b) => (a === null || distance(b) < distance(a) ? b : a), null);
}

/** The next of 1, 2, 5, 10, 20, ... */
function roundedUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}
