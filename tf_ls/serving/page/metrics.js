// The server's metrics: what Prometheus would read, and what it would make of it.

/**
 * Reads Prometheus' text format.
 *
 * @param {string} text
 * @return {Map<string, Array<{labels: Object, value: number}>>} samples by name.
 */
export function parseMetrics(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (found === null) continue;
    const [, name, inside, value] = found;
    const labels = {};
    for (const [, key, escaped] of (inside ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = escaped.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: number(value) });
  }
  return samples;
}

const number = (text) => Number(text.replace(/^([+-]?)Inf$/, "$1Infinity"));

/** The value below which a share of what a histogram counted lies, linear within its buckets. */
export function quantile(share, buckets) {
  const total = buckets.at(-1)?.count ?? 0;
  if (total <= 0) return null;
  const index = buckets.findIndex((bucket) => bucket.count >= share * total);
  const { bound, count } = buckets[index];
  const below = buckets[index - 1] ?? { bound: 0, count: 0 };
  if (bound === Infinity) return below.bound;
  const part = (share * total - below.count) / (count - below.count);
  return below.bound + part * (bound - below.bound);
}

/** What is kept of one reading. */
function reading(seconds, samples) {
  const sum = (name, labels = {}) => {
    let total = 0;
    for (const sample of samples.get(name) ?? []) {
      const fits = Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
      if (fits) total += sample.value;
    }
    return total;
  };
  const buckets = (samples.get("tf_ls_stage_seconds_bucket") ?? [])
    .filter((sample) => sample.labels.stage === "total")
    .map((sample) => ({ bound: number(sample.labels.le), count: sample.value }))
    .sort((a, b) => a.bound - b.bound);
  return {
    seconds,
    buckets,
    requests: sum("tf_ls_requests_total"),
    tokens: sum("tf_ls_tokens_total", { direction: "out" }),
    batches: sum("tf_ls_batch_fill_ratio_count"),
    fill: sum("tf_ls_batch_fill_ratio_sum"),
    sentences: sum("tf_ls_batch_sentences_sum"),
    waiting: sum("tf_ls_queue_sentences"),
  };
}

/** What happened between two readings. */
function between(before, now) {
  const counts = new Map(before.buckets.map(({ bound, count }) => [bound, count]));
  const latencies = now.buckets.map(({ bound, count }) => ({
    bound,
    count: count - (counts.get(bound) ?? 0),
  }));
  const seconds = now.seconds - before.seconds;
  const batches = now.batches - before.batches;
  return {
    seconds: now.seconds,
    p50: quantile(0.5, latencies),
    p99: quantile(0.99, latencies),
    requests: (now.requests - before.requests) / seconds,
    tokens: (now.tokens - before.tokens) / seconds,
    waiting: now.waiting,
    fill: batches > 0 ? (now.fill - before.fill) / batches : null,
    sentences: batches > 0 ? (now.sentences - before.sentences) / batches : null,
  };
}

const NOTHING = {
  p50: null, p99: null, requests: null, tokens: null, waiting: null, fill: null, sentences: null,
};

/** The last minutes as points of charts. */
export class History {
  /**
   * @param {number} span - seconds that are kept.
   * @param {number} smoothed - seconds over which rates and quantiles are taken.
   */
  constructor(span, smoothed) {
    this.span = span;
    this.smoothed = smoothed;
    this.points = [];
    this.readings = [];
  }

  /** Adds what /metrics said at a time in seconds; nothing, if it did not answer. */
  add(seconds, text) {
    this.points = this.points.filter((point) => point.seconds > seconds - this.span);
    if (text === null) {
      this.readings = [];
      this.points.push({ ...NOTHING, seconds });
      return;
    }
    const now = reading(seconds, parseMetrics(text));
    const last = this.readings.at(-1);
    // A server that was started again counts from zero.
    if (last && (now.requests < last.requests || now.batches < last.batches)) this.readings = [];
    const since = seconds - this.smoothed;
    while (this.readings.length > 1 && this.readings[1].seconds <= since) this.readings.shift();
    const before = this.readings[0];
    this.readings.push(now);
    this.points.push(before ? between(before, now) : { ...NOTHING, seconds, waiting: now.waiting });
  }
}
