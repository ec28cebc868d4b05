// The server's state and its charts, from /metrics every few seconds.

import { ServerError, text, Unreachable } from "./api.js";
import { Chart } from "./charts.js";
import { byId } from "./dom.js";
import { History } from "./metrics.js";

// Seconds that charts show: the first that reaches back to the beginning, or the last.
const SPANS = [60, 120, 300];
const SMOOTHED = 10;
const PERIOD = 2000;

/**
 * Watches the server until the page is closed; not while nobody sees it.
 *
 * @param {function()} onReturn - is called when the server answers after it had not.
 */
export async function monitor(onReturn) {
  const charts = makeCharts(byId("charts"));
  const history = new History(SPANS.at(-1), SMOOTHED);
  const began = performance.now() / 1000;
  let reachable = true;
  for (;;) {
    if (document.hidden) await seen();
    let content = null;
    try {
      content = await text("metrics", { quiet: true, signal: AbortSignal.timeout(5 * PERIOD) });
      say("", "The server answers");
      if (!reachable) onReturn();
      reachable = true;
    } catch (problem) {
      reachable &&= problem instanceof ServerError;
      say("bad", whatIsWrong(problem));
    }
    const now = performance.now() / 1000;
    history.add(now, content);
    const span = SPANS.find((seconds) => seconds > now - began) ?? SPANS.at(-1);
    for (const chart of charts) chart.show(history.points, span, now);
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
}

function whatIsWrong(problem) {
  if (problem instanceof Unreachable) return "The server cannot be reached. Trying again…";
  if (problem instanceof ServerError) {
    return problem.status === 401 ? "The server needs a token" : problem.message;
  }
  return "The server takes long to answer. Trying again…";
}

function say(kind, what) {
  const health = byId("health");
  if (health.textContent === what) return;
  health.className = kind;
  health.textContent = what;
}

function seen() {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}

function makeCharts(parent) {
  const chart = (title, lines, format, top) => new Chart(parent, title, lines, format, top);
  return [
    chart("Latency", [{ key: "p50", label: "p50" }, { key: "p99", label: "p99" }], duration),
    chart("Requests a second", [{ key: "requests", label: "Now" }], plain),
    chart("Tokens a second", [{ key: "tokens", label: "Now" }], plain),
    chart("Sentences that wait", [{ key: "waiting", label: "Now" }], plain),
    chart("Batch fill", [{ key: "fill", label: "Now" }], percent, 1),
    chart("Sentences of a batch", [{ key: "sentences", label: "Now" }], plain),
  ];
}

const plain = (value) => (value >= 10 ? value.toFixed(0) : String(Number(value.toPrecision(2))));
const percent = (value) => `${plain(100 * value)} %`;
const duration = (seconds) =>
  seconds === 0 ? "0" : seconds < 1 ? `${plain(1000 * seconds)} ms` : `${plain(seconds)} s`;
