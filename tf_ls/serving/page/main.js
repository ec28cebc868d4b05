// The page: a model is chosen, text is typed, and what comes is shown.

import { changeToken, hasToken, onTokenNeeded, predict, ServerError } from "./api.js";
import { byId, element } from "./dom.js";
import { available, describe, isOurs, listing } from "./models.js";
import { monitor } from "./monitor.js";
import { OptionsForm } from "./options.js";
import { message, resultList, sentencesOf } from "./results.js";

const options = new OptionsForm();
let models = [];
let limits = {};
/** What `describe` said of the model that is chosen, or null. */
let chosen = null;
/** Ends what is being asked for, of models and of translations. */
let choosing = new AbortController();
let translating = null;

// Models ------------------------------------------------------------------------------------------

async function loadModels() {
  note("Loading models…");
  byId("model").disabled = true;
  try {
    ({ models, limits } = await listing());
  } catch (problem) {
    note(problem.message, true);
    if (!(problem instanceof ServerError)) setTimeout(loadModels, 2000);
    return;
  }
  const before = byId("model").value;
  byId("model").replaceChildren(
    ...models.map((model) => {
      const none = available(model).length === 0;
      const name = none ? `${model.name} (not available)` : model.name;
      return element("option", { value: model.name, disabled: none }, name);
    }),
  );
  const usable = models.filter((model) => available(model).length > 0);
  if (usable.length === 0) {
    note("No model is available yet. Trying again…");
    setTimeout(loadModels, 2000);
    return;
  }
  const again = usable.find((model) => model.name === before) ?? (await firstOfOurs(usable));
  byId("model").value = again.name;
  byId("model").disabled = false;
  await chooseModel();
}

/** The first model that the page can use, or else the first. */
async function firstOfOurs(usable) {
  for (const model of usable) {
    try {
      if (await isOurs(model.name)) return model;
    } catch {
      // What is wrong with it is said when it is chosen.
    }
  }
  return usable[0];
}

async function chooseModel() {
  const versions = available(models.find((model) => model.name === byId("model").value));
  byId("version").replaceChildren(
    element("option", { value: "" }, `newest (${versions[0]})`),
    ...versions.map((version) => element("option", { value: version }, version)),
  );
  byId("version").disabled = false;
  await chooseVersion();
}

async function chooseVersion() {
  choosing.abort();
  choosing = new AbortController();
  const { signal } = choosing;
  use(null);
  note("Loading the model's options…");
  try {
    const described = await describe(byId("model").value, byId("version").value, signal);
    if (signal.aborted) return;
    if (described === null) note("This page cannot use it: tf_ls has not exported it.", true);
    else use(described);
  } catch (problem) {
    if (!signal.aborted) note(problem.message, true);
  }
}

function use(model) {
  chosen = model;
  byId("options").disabled = model === null;
  byId("translate").disabled = model === null;
  if (model === null) return;
  options.show(model, limits);
  const { padding_is_eos: ended, padding_id: end } = model.properties;
  const words = model.properties.source_vocabulary ?? model.properties.vocabulary;
  const what = model.continues ? "prompts" : "sentences";
  byId("text-label").textContent = model.ofText ? capitalized(what) : `Ids of ${what}`;
  byId("translate").textContent = model.continues ? "Continue" : "Translate";
  byId("results-title").textContent = model.continues ? "Continuations" : "Translations";
  byId("text-hint").textContent = model.ofText
    ? "One a line."
    : `One a line, numbers from 0 to ${words - 1}` +
      (ended ? `, ${end} at the end.` : ". This model has no text.");
  const none = model.withAttention === null && !model.continues;
  note(none ? "This model was exported without attention." : "");
}

const capitalized = (text) => text[0].toUpperCase() + text.slice(1);

function note(text, wrong = false) {
  byId("model-note").textContent = text;
  byId("model-note").classList.toggle("error", wrong);
}

// Translations ------------------------------------------------------------------------------------

/** What was typed: sentences, or rows of ids. */
function typed() {
  const lines = byId("text").value.split("\n").map((line) => line.trim());
  while (lines.length > 0 && lines.at(-1) === "") lines.pop();
  if (lines.length === 0) throw new Error("There is nothing yet: type a sentence.");
  if (chosen.ofText) return lines;
  return lines.map((line, index) => {
    const words = line.split(/[\s,]+/).filter((word) => word !== "");
    const wrong = words.find((word) => !/^-?\d+$/.test(word));
    if (wrong !== undefined) {
      throw new Error(`This model takes ids. Line ${index + 1} has “${wrong}”, which is no number.`);
    }
    return words.map(Number);
  });
}

async function translate() {
  if (translating !== null || chosen === null) return;
  let given;
  try {
    given = typed();
  } catch (problem) {
    show(message(problem.message, "error"));
    byId("text").focus();
    return;
  }
  const model = chosen;
  const signature = options.wantsAttention ? model.withAttention : model.plain;
  const inputs = { [model.input]: given, ...options.changes };
  const asked = inputs.num_hypotheses ?? model.defaults.num_hypotheses;
  const started = performance.now();
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
  const { signal } = (translating = new AbortController());
  const elapsed = element("span", {});
  const timer = setInterval(() => (elapsed.textContent = ` ${seconds()} s`), 100);
  busy(true);
  show(message("Working…", "waiting", elapsed, element("progress", { "aria-label": "Working" })));
  try {
    const outputs = await predict(model.path, signature, inputs, { signal });
    const sentences = sentencesOf(model, given, outputs);
    const wanted = model.ofText && signature === model.plain ? 1 : asked;
    const count = sentences.length === 1 ? "1 sentence" : `${sentences.length} sentences`;
    show(element("p", { class: "hint" }, `${count} in ${seconds()} s`), resultList(sentences, wanted));
  } catch (problem) {
    if (signal.aborted) show(message(`Cancelled after ${seconds()} s.`, "info"));
    else showProblem(problem);
  } finally {
    clearInterval(timer);
    translating = null;
    busy(false);
  }
}

function showProblem(problem) {
  const overloaded = problem instanceof ServerError && problem.status === 503;
  if (!overloaded) {
    show(message(problem.message, "error"));
    // The version may have been replaced.
    if (problem.status === 404) loadModels();
    return;
  }
  const button = element("button", { type: "button" }, "Try again");
  button.addEventListener("click", translate);
  show(message(`${problem.message}.`, "error", button));
  countDown(button, problem.retryAfter ?? 1);
}

/** Keeps a button from being used for some seconds. */
function countDown(button, seconds) {
  button.disabled = seconds > 0;
  button.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
  if (seconds > 0) setTimeout(() => countDown(button, seconds - 1), 1000);
}

function show(...content) {
  byId("results").replaceChildren(...content);
}

function busy(is) {
  byId("translate").disabled = is || chosen === null;
  byId("cancel").hidden = !is;
  byId("results").setAttribute("aria-busy", String(is));
}

const cancel = () => translating?.abort();

// The token ---------------------------------------------------------------------------------------

function askForToken(refused) {
  const dialog = byId("token-dialog");
  byId("token").value = "";
  byId("token-error").hidden = !refused;
  byId("token-error").textContent = refused ? "The server does not accept this token." : "";
  dialog.showModal();
  return new Promise((resolve) => {
    const ending = new AbortController();
    const end = (token) => {
      ending.abort();
      dialog.close();
      byId("change-token").hidden = false;
      resolve(token);
    };
    const { signal } = ending;
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      end(byId("token").value.trim());
    }, { signal });
    byId("no-token").addEventListener("click", () => end(null), { signal });
    dialog.addEventListener("cancel", () => end(null), { signal });
  });
}

// The beginning -----------------------------------------------------------------------------------

onTokenNeeded(askForToken);
byId("change-token").hidden = !hasToken();
byId("change-token").addEventListener("click", async () => {
  if (await changeToken()) loadModels();
});
byId("model").addEventListener("change", chooseModel);
byId("version").addEventListener("change", chooseVersion);
byId("cancel").addEventListener("click", cancel);
byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  translate();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") cancel();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !byId("token-dialog").open) {
    event.preventDefault();
    byId("request").requestSubmit();
  }
});
show(message("Translations appear here, with their scores and with what each piece was read from.", "info"));
loadModels();
monitor(loadModels);
