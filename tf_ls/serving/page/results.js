// What came of a request.

import { heatMap } from "./attention.js";
import { element } from "./dom.js";

/** A hypothesis that there is not. */
const MISSING = -Infinity;

/**
 * The sentences of an answer, each as {source, hypotheses: [{text, score, pieces, weights}]}.
 *
 * @param {Object} model - as `describe` makes it.
 * @param {Array} given - what was asked for: sentences, or rows of ids.
 * @param {Object} outputs - of the model's signature.
 */
export function sentencesOf(model, given, outputs) {
  return given.map((source, b) => {
    const of = model.ofText ? textsOf : idsOf;
    const hypotheses = of(outputs, b).filter((hypothesis) => hypothesis !== null);
    const pieces = outputs.source_pieces?.[b] ?? (model.ofText ? [] : source.map(String));
    return {
      source: model.ofText ? source : source.join(" "),
      // The server has taken padding from the end of ids.
      pieces: pieces.filter((piece) => piece !== "").slice(0, widthOf(outputs.attention)),
      hypotheses,
    };
  });
}

const widthOf = (attention) => attention?.[0]?.[0]?.[0]?.length ?? 0;

function textsOf({ translations, continuations, scores, target_pieces: pieces, attention }, b) {
  if (!attention) return [{ text: (translations ?? continuations)[b], score: scores[b] }];
  return translations[b].map((text, n) => {
    const target = pieces[b][n].filter((piece) => piece !== "");
    if (target.length === 0 && scores[b][n] === MISSING) return null;
    return { text, score: scores[b][n], pieces: target, weights: attention[b][n] };
  });
}

function idsOf({ tokens, lengths, scores, attention }, b) {
  return tokens[b].map((ids, n) => {
    const target = ids.slice(0, lengths[b][n]).map(String);
    if (target.length === 0 && scores[b][n] === MISSING) return null;
    return {
      text: target.join(" "), score: scores[b][n], pieces: target, weights: attention?.[b][n],
    };
  });
}

/** Sentences with their hypotheses. */
export function resultList(sentences, asked) {
  const first = { open: true };
  return element("ol", { class: "sentences" },
    ...sentences.map((sentence) => sentenceItem(sentence, asked, first)));
}

function sentenceItem({ source, pieces, hypotheses }, asked, first) {
  const items = hypotheses.map((hypothesis) => hypothesisItem(pieces, hypothesis, first));
  const item = element("li", { class: "sentence" },
    element("p", { class: "source", dir: "auto" }, source || "(empty)"),
    element("ol", { class: "hypotheses" }, ...items));
  if (hypotheses.length < asked) {
    const found = `${hypotheses.length} of ${asked} hypotheses were found.`;
    item.append(element("p", { class: "hint" }, found));
  }
  return item;
}

function hypothesisItem(source, { text, score, pieces, weights }, first) {
  const line = element("div", { class: "hypothesis-line" },
    element("span", { class: "translation", dir: "auto" }, text || "(empty)"),
    element("span", { class: "score", title: "Score" }, score.toFixed(4)));
  const item = element("li", { class: "hypothesis" }, line);
  if (weights && source.length > 0 && pieces.length > 0) {
    const button = element("button",
      { type: "button", class: "quiet", "aria-expanded": "false" }, "Attention");
    line.append(button);
    let map = null;
    const toggle = () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      map ??= item.appendChild(heatMap(source, pieces, weights));
      map.hidden = !open;
    };
    button.addEventListener("click", toggle);
    if (first.open) toggle();
    first.open = false;
  }
  return item;
}

/** Something that went wrong, or is worth saying. */
export function message(text, kind, ...more) {
  const role = kind === "error" ? "alert" : "status";
  return element("div", { class: `message ${kind}`, role }, element("p", {}, text), ...more);
}
