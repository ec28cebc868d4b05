// What there is to choose from, and what of a model the page can use.

import { json, modelPath, predict, ServerError } from "./api.js";

/** The server's models with their versions, and its limits. */
export async function listing() {
  return json("v1/models");
}

export const available = (model) =>
  model.versions.filter((version) => version.state === "AVAILABLE").map((v) => v.version);

const NEEDED = ["serving_with_options", "default_options", "properties"];

/** The names of a model's signatures. */
async function signaturesOf(path, signal) {
  const { metadata } = await json(`${path}/metadata`, { signal });
  return Object.keys(metadata.signature_def.signature_def);
}

/** Whether the page can use a model: tf_ls has exported it. */
export async function isOurs(name) {
  const signatures = await signaturesOf(modelPath(name));
  return NEEDED.every((needed) => signatures.includes(needed));
}

/**
 * What of a model the page uses.
 *
 * @return {Promise<?Object>} path; ofText: text rather than ids; withAttention, plain: names of
 *   signatures, the first null if there is none; defaults: of its options; properties. null if
 *   tf_ls has not exported the model.
 */
export async function describe(name, version, signal) {
  const path = modelPath(name, version);
  const signatures = await signaturesOf(path, signal);
  const has = (signature) => signatures.includes(signature);
  if (!NEEDED.every(has)) return null;
  const [defaults, properties] = await Promise.all(
    ["default_options", "properties"].map((signature) => patiently(path, signature, signal)),
  );
  const ofText = has("translate_with_options");
  const attention = ofText ? "translate_with_attention" : "serving_with_attention";
  return {
    path,
    ofText,
    plain: ofText ? "translate_with_options" : "serving_with_options",
    withAttention: has(attention) ? attention : null,
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
