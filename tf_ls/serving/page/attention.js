// Attention as a picture: a cell for each pair of a piece that was made and one that was read.

import { element } from "./dom.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");
// From no attention to the most that a picture has.
const COLORS = {
  light: [[244, 246, 249], [122, 173, 222], [11, 61, 122]],
  dark: [[27, 32, 39], [47, 109, 181], [214, 235, 255]],
};
// Pieces from which on cells are small.
const MANY = 60;

/**
 * Draws attention.
 *
 * @param {string[]} source - S pieces.
 * @param {string[]} target - T pieces.
 * @param {number[][]} weights - T rows of S numbers, or more, which are ignored.
 * @return {Element}
 */
export function heatMap(source, target, weights) {
  const most = target.reduce(
    (all, _, t) => source.reduce((m, _, s) => Math.max(m, weights[t][s]), all), 0);
  const canvas = element("canvas", {
    width: source.length,
    height: target.length,
    tabindex: 0,
    role: "img",
    "aria-label":
      `Attention of ${target.length} target pieces to ${source.length} source pieces. ` +
      "The arrow keys go from cell to cell.",
  });
  const cursor = element("div", { class: "cell-cursor", hidden: true });
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  const columns = labels(source, "source-labels");
  const rows = labels(target, "target-labels");
  const cells = element("div", { class: "cells" }, canvas, cursor);
  const grid = element("div", { class: "heat-grid" },
    element("div", { class: "corner" }), columns, rows, cells);
  const scroll = element("div", { class: "scroll" }, grid);
  const figure = element("figure", { class: "heat-map" },
    element("figcaption", {}, legend(most), readout), scroll);
  if (Math.max(source.length, target.length) > MANY) figure.classList.add("many");
  grid.style.setProperty("--columns", source.length);
  grid.style.setProperty("--rows", target.length);

  const draw = () => paint(canvas, source.length, target.length, weights, most);
  draw();
  // For as long as it is shown.
  const redraw = () => (figure.isConnected ? draw() : DARK.removeEventListener("change", redraw));
  DARK.addEventListener("change", redraw);

  let at = null;
  const lookAt = (cell) => {
    if (cell?.t === at?.t && cell?.s === at?.s) return;
    mark(at, false);
    at = cell;
    mark(at, true);
    cursor.hidden = at === null;
    if (at === null) {
      readout.replaceChildren(HINT);
      return;
    }
    cursor.style.setProperty("--row", at.t);
    cursor.style.setProperty("--column", at.s);
    readout.replaceChildren(
      `${weights[at.t][at.s].toFixed(4)}: `,
      element("b", {}, target[at.t]), " reads ", element("b", {}, source[at.s]),
    );
  };
  const mark = (cell, marked) => {
    if (cell === null) return;
    rows.children[cell.t].classList.toggle("marked", marked);
    columns.children[cell.s].classList.toggle("marked", marked);
  };
  readout.append(HINT);

  const last = { t: target.length - 1, s: source.length - 1 };
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  canvas.addEventListener("pointermove", (event) => {
    const t = Math.floor((event.offsetY / canvas.clientHeight) * target.length);
    const s = Math.floor((event.offsetX / canvas.clientWidth) * source.length);
    lookAt({ t: within(t, last.t), s: within(s, last.s) });
  });
  canvas.addEventListener("pointerleave", () => lookAt(null));
  canvas.addEventListener("blur", () => lookAt(null));
  canvas.addEventListener("keydown", (event) => {
    const [down, right] = STEPS[event.key] ?? [0, 0];
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const { t, s } = at ?? { t: down > 0 ? -1 : 0, s: right > 0 ? -1 : 0 };
    lookAt({ t: within(t + down, last.t), s: within(s + right, last.s) });
    cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  return figure;
}

const HINT = "Point at a cell for its value.";
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function labels(pieces, name) {
  const items = pieces.map((piece) => element("li", { title: piece, dir: "auto" }, piece));
  return element("ol", { class: name, "aria-hidden": "true" }, ...items);
}

/** A pixel for each cell; the browser makes them larger. */
function paint(canvas, width, height, weights, most) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const colors = DARK.matches ? COLORS.dark : COLORS.light;
  for (let t = 0; t < height; ++t) {
    for (let s = 0; s < width; ++s) {
      image.data.set([...colorOf(most > 0 ? weights[t][s] / most : 0, colors), 255], 4 * (t * width + s));
    }
  }
  context.putImageData(image, 0, 0);
}

function colorOf(share, colors) {
  const place = share * (colors.length - 1);
  const index = Math.min(Math.floor(place), colors.length - 2);
  const part = place - index;
  return colors[index].map((low, i) => Math.round(low + part * (colors[index + 1][i] - low)));
}

function legend(most) {
  return element("span", { class: "legend" },
    "0 ", element("span", { class: "scale" }), ` ${Number(most.toPrecision(2))}`);
}
