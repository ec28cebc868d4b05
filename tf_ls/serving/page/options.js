// The options of a search as controls; docs/generation.md says what they mean.

import { byId, element } from "./dom.js";

const SEARCHES = ["beam_search", "diverse_beam_search"];
const SAMPLING = ["sampling"];
const LARGEST = Number.MAX_SAFE_INTEGER;
// What is more than 0.
const TINY = 1e-6;

// kind: choice, integer, number, yes (or no), ids. of: the methods that use it, if not all do.
// limit: the server's limit of it.
const OPTIONS = [
  { name: "method", label: "Method", kind: "choice", main: true,
    values: ["greedy", "beam_search", "diverse_beam_search", "sampling"] },
  { name: "beam_size", label: "Beam size", kind: "integer", low: 1, high: 64, main: true,
    limit: "beam_size", of: SEARCHES, hint: "Hypotheses that a step keeps" },
  { name: "num_hypotheses", label: "Hypotheses", kind: "integer", low: 1, high: LARGEST, main: true,
    limit: "beam_size", of: [...SEARCHES, ...SAMPLING], hint: "How many are shown" },
  { name: "max_length", label: "Longest", kind: "integer", low: 1, high: LARGEST, main: true,
    hint: "Tokens of a hypothesis" },
  { name: "length_penalty", label: "Length penalty", kind: "choice", main: true,
    values: ["neurst", "lightseq", "exponent", "none"], hint: "What a score is divided by" },
  { name: "length_penalty_alpha", label: "Its alpha", kind: "number", low: -10, high: 10,
    main: true },
  { name: "temperature", label: "Temperature", kind: "number", low: TINY, of: SAMPLING, main: true },
  { name: "top_k", label: "Top k", kind: "integer", low: 0, high: LARGEST, of: SAMPLING, main: true,
    hint: "0: from all" },
  { name: "top_p", label: "Top p", kind: "number", low: TINY, high: 1, of: SAMPLING, main: true,
    hint: "1: from all" },
  { name: "seed", label: "Seed", kind: "integer", low: 0, high: LARGEST, of: SAMPLING, main: true },
  { name: "min_length", label: "Shortest", kind: "integer", low: 0, high: LARGEST,
    hint: "No end before it" },
  { name: "max_extra_length", label: "Longer than the source", kind: "integer", low: -1,
    high: LARGEST, hint: "By so many tokens at most; -1: any" },
  { name: "coverage_penalty", label: "Coverage penalty", kind: "number", low: 0 },
  { name: "diversity", label: "Diversity", kind: "number", low: 0, of: ["diverse_beam_search"] },
  { name: "early_stopping", label: "Early stopping", kind: "yes", of: SEARCHES,
    hint: "What is finished leaves the beam" },
  { name: "patience", label: "Patience", kind: "number", low: TINY, of: SEARCHES,
    hint: "With early stopping" },
  { name: "repetition_penalty", label: "Repetition penalty", kind: "number", low: TINY,
    hint: "1: none" },
  { name: "no_repeat_ngram_size", label: "No n-gram twice", kind: "integer", low: 0, high: LARGEST,
    hint: "n; 0: any" },
  { name: "forbidden_tokens", label: "Forbidden tokens", kind: "ids", hint: "Ids" },
];

/** The controls of all options. */
export class OptionsForm {
  constructor() {
    this.defaults = {};
    this.fields = new Map(OPTIONS.map((option) => [option.name, new Field(option)]));
    for (const field of this.fields.values()) {
      byId(field.option.main ? "main-options" : "more-options").append(field.box);
    }
    this.attention = element("input", {
      id: "show-attention", type: "checkbox", checked: true, "aria-describedby": "show-attention-hint",
    });
    const label = element("label", { for: "show-attention" }, "Attention");
    const hint = "As a picture, and all hypotheses";
    this.attentionBox = fieldBox("show-attention", label, this.attention, hint, true);
    byId("main-options").append(this.attentionBox);
    byId("options").addEventListener("input", () => this.update());
    byId("reset").addEventListener("click", () => this.reset());
    // On a phone they would stand between the text and its translation.
    byId("options-box").open = matchMedia("(min-width: 56rem)").matches;
    // What is not seen cannot be corrected.
    for (const box of [byId("options-box"), byId("more")]) {
      box.addEventListener("invalid", () => (box.open = true), true);
    }
  }

  /** Shows a model's options; `limits` are the server's. */
  show(model, limits) {
    this.defaults = model.defaults;
    for (const [name, field] of this.fields) {
      field.known = name in model.defaults;
      field.limit(limits);
    }
    this.attentionBox.hidden = model.withAttention === null;
    this.reset();
  }

  reset() {
    for (const [name, field] of this.fields) {
      if (name in this.defaults) field.value = this.defaults[name];
    }
    this.update();
  }

  /** Makes the controls fit each other. */
  update() {
    const value = (name) => this.fields.get(name).value;
    for (const field of this.fields.values()) field.usedBy(value("method"));
    const problems = new Map();
    if (SEARCHES.includes(value("method")) && value("num_hypotheses") > value("beam_size")) {
      problems.set("num_hypotheses", `At most the beam size, ${value("beam_size")}.`);
    }
    if (value("min_length") > value("max_length")) {
      problems.set("min_length", `At most the longest, ${value("max_length")}.`);
    }
    const divides = ["exponent", "none"].includes(value("length_penalty"));
    if (divides && value("length_penalty_alpha") < 0) {
      problems.set("length_penalty_alpha", "At least 0 with this length penalty.");
    }
    for (const [name, field] of this.fields) {
      field.control.setCustomValidity(problems.get(name) ?? "");
      field.box.classList.toggle("changed", this.differs(name));
    }
  }

  /** What is to be sent: options that differ from the model's own. */
  get changes() {
    const changed = {};
    for (const [name, field] of this.fields) {
      if (this.differs(name) && field.used) changed[name] = field.value;
    }
    // It has one, and a model's own number may be another.
    if (this.fields.get("method").value === "greedy" && this.defaults.num_hypotheses !== 1) {
      changed.num_hypotheses = 1;
    }
    return changed;
  }

  get wantsAttention() {
    return this.attention.checked && !this.attentionBox.hidden;
  }

  differs(name) {
    if (!(name in this.defaults)) return false;
    return JSON.stringify(this.fields.get(name).value) !== JSON.stringify(this.defaults[name]);
  }
}

class Field {
  constructor(option) {
    this.option = option;
    this.known = this.used = true;
    const id = `option-${option.name}`;
    this.control = control(option, id);
    const label = element("label", { for: id }, option.label);
    this.box = fieldBox(id, label, this.control, option.hint, option.kind === "yes");
  }

  get value() {
    const { control, option } = this;
    if (option.kind === "yes") return control.checked;
    if (option.kind === "ids") return (control.value.match(/\d+/g) ?? []).map(Number);
    return option.kind === "choice" ? control.value : Number(control.value);
  }

  set value(value) {
    const { control, option } = this;
    if (option.kind === "yes") control.checked = value;
    else if (option.kind === "ids") control.value = value.join(" ");
    else control.value = value;
  }

  limit(limits) {
    const { control, option } = this;
    if (option.limit) control.max = Math.min(option.high, limits[option.limit]);
  }

  usedBy(method) {
    this.used = this.option.of?.includes(method) ?? true;
    this.control.disabled = this.box.hidden = !(this.known && this.used);
  }
}

function control(option, id) {
  const described = option.hint ? { id, "aria-describedby": `${id}-hint` } : { id };
  switch (option.kind) {
    case "choice":
      return element(
        "select",
        described,
        ...option.values.map((v) => element("option", { value: v }, v.replaceAll("_", " "))),
      );
    case "yes":
      return element("input", { ...described, type: "checkbox" });
    case "ids":
      return element("input", {
        ...described,
        inputmode: "numeric",
        pattern: "\\s*(\\d+([\\s,]+\\d+)*)?\\s*",
        title: "Numbers, with spaces between them",
      });
    default:
      return element("input", {
        ...described,
        type: "number",
        required: true,
        step: option.kind === "integer" ? 1 : "any",
        min: option.low ?? false,
        max: option.high ?? false,
      });
  }
}

function fieldBox(id, label, control, hint, besides) {
  const parts = besides ? [element("span", { class: "check" }, control, label)] : [label, control];
  if (hint) parts.push(element("span", { class: "hint", id: `${id}-hint` }, hint));
  return element("div", { class: "field" }, ...parts);
}
