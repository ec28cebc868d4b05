// The server's REST interface: requests with the token, and its errors.

const TOKEN_KEY = "tf_ls.token";

/** An answer that says why there is none. */
export class ServerError extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    /** Seconds until trying again makes sense, or null. */
    this.retryAfter = retryAfter;
  }
}

/** There was no answer at all. */
export class Unreachable extends Error {}

let token = sessionStorage.getItem(TOKEN_KEY);
let askForToken = async () => null;
let asking = null;

/**
 * Says how to ask for a token.
 *
 * @param {function(boolean): Promise<?string>} ask - is told whether one was refused; gives null if
 *   there is none.
 */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

export const hasToken = () => token !== null;

/** Asks for a token, once for all requests that wait for one; says whether there is one. */
export async function changeToken(refused = false) {
  asking ??= askForToken(refused).finally(() => (asking = null));
  const given = await asking;
  if (given === null) return false;
  token = given;
  sessionStorage.setItem(TOKEN_KEY, token);
  return true;
}

/**
 * Requests something.
 *
 * @param {string} path - relative to the page, which may lie behind a proxy.
 * @param {Object} options
 * @param {*} [options.content] - is posted as JSON.
 * @param {AbortSignal} [options.signal]
 * @param {boolean} [options.quiet] - never ask the user for a token.
 * @return {Promise<string>}
 */
export async function text(path, { content, signal, quiet = false } = {}) {
  for (;;) {
    const sent = token;
    const response = await answer(path, content, signal, sent);
    if (response.ok) return await body(response, signal);
    if (response.status === 401 && !quiet) {
      // Another request may have asked meanwhile.
      if (token !== sent || (await changeToken(sent !== null))) continue;
    }
    throw await error(response, signal);
  }
}

/** The same of JSON. */
export async function json(path, options = {}) {
  return parse(await text(path, options));
}

/** Calls a signature; `model` is a path as modelPath makes it. */
export async function predict(model, signature, inputs, options = {}) {
  const content = { signature_name: signature, inputs };
  return (await json(`${model}:predict`, { content, ...options })).outputs;
}

/** The path of a model, or of one of its versions. */
export function modelPath(name, version) {
  const model = `v1/models/${encodeURIComponent(name)}`;
  return version ? `${model}/versions/${encodeURIComponent(version)}` : model;
}

async function answer(path, content, signal, bearer) {
  const headers = bearer === null ? {} : { Authorization: `Bearer ${bearer}` };
  const body = content === undefined ? undefined : JSON.stringify(content);
  const method = body === undefined ? "GET" : "POST";
  const more = { cache: "no-store", credentials: "omit", redirect: "error" };
  return reached(signal, () => fetch(path, { method, headers, body, signal, ...more }));
}

const body = (response, signal) => reached(signal, () => response.text());

async function reached(signal, act) {
  try {
    return await act();
  } catch (problem) {
    if (signal?.aborted) throw problem;
    throw new Unreachable("The server cannot be reached.");
  }
}

async function error(response, signal) {
  const content = await body(response, signal);
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  let message = `The server answered ${response.status} ${response.statusText}`.trim();
  try {
    message = JSON.parse(content).error ?? message;
  } catch {
    // Somebody in front of the server said it.
  }
  return new ServerError(message, response.status, Number.isNaN(seconds) ? null : seconds);
}

/** JSON with TensorFlow Serving's NaN and Infinity. */
export function parse(content) {
  const outsideStrings = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;
  const numbers = { Infinity: "1e999", "-Infinity": "-1e999", NaN: "null" };
  return JSON.parse(content.replace(outsideStrings, (found) => numbers[found] ?? found));
}
