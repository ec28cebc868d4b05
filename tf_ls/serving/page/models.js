// What there is to choose from, and what of a model the page can use.

import { json, modelPath, predict, ServerError } from "./api.js";

/** The server's models with their versions, and its limits. */
export async function listing() {
  return json("v1/models");
}

export const available = (model) =>
  model.versions.filter((version) => version.state === "AVAILABLE").map((v) => v.version);

// What models are for, the best first: what they are given, and the signatures that take it.
const USES = [
  { input: "sentences", ofText: true, plain: "translate_with_options",
    attention: "translate_with_attention" },
  { input: "prompts", ofText: true, plain: "generate_with_options" },
  { input: "source", plain: "serving_with_options", attention: "serving_with_attention" },
  { input: "prompt", plain: "serving_with_options" },
];
const NEEDED = ["default_options", "properties"];

/** A model's signatures, and what it is for; null if tf_ls has not exported it. */
async function useOf(path, signal) {
  const { metadata } = await json(`${path}/metadata`, { signal });
  const signatures = metadata.signature_def.signature_def;
  const use = USES.find(({ plain, input }) => signatures[plain]?.inputs[input]);
  const found = use && NEEDED.every((needed) => needed in signatures);
  return { signatures, use: found ? use : null };
}

/** Whether the page can use a model. */
export async function isOurs(name) {
  return (await useOf(modelPath(name))).use !== null;
}

/**
 * What of a model the page uses.
 *
 * @return {Promise<?Object>} path; input: what it is given; ofText: text rather than ids;
 *   continues: prompts, rather than translating; withAttention, plain: names of signatures, the
 *   first null if there is none; defaults: of its options; properties. null if tf_ls has not
 *   exported the model.
 */
export async function describe(name, version, signal) {
  const path = modelPath(name, version);
  const { signatures, use } = await useOf(path, signal);
  if (use === null) return null;
  const [defaults, properties] = await Promise.all(
    NEEDED.map((signature) => patiently(path, signature, signal)),
  );
  return {
    path,
    input: use.input,
    ofText: use.ofText ?? false,
    continues: use.input.startsWith("prompt"),
    plain: use.plain,
    withAttention: use.attention in signatures ? use.attention : null,
    defaults,
    properties,
  };
}

/** Calls a signature without inputs, again while the server is overloaded. */
async function patiently(path, signature, signal) {
  for (;;) {
    try {
      return await predict(path, signature, {}, { signal });
    } catch (problem) {
      if (!(problem instanceof ServerError && problem.status === 503)) throw problem;
      await new Promise((resolve) => setTimeout(resolve, (problem.retryAfter ?? 1) * 1000));
      signal.throwIfAborted();
    }
  }
}
