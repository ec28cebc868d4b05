"""A decoder without cross-attention, of random weights."""

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference

HIDDEN, FILTER, HEADS, VOCABULARY = 12, 20, 3, 11
START, EOS = 7, 2


def build(vocabulary=VOCABULARY, seed=0, memory_size=None, **structure):
    """An ops.Decoder of variables; with cross-attention, if there is a size of memory."""
    rng = np.random.default_rng(seed)

    def variables(part):
        if isinstance(part, (list, tuple)):
            return [variables(element) for element in part]
        return tf.Variable(np.float32(part)) if isinstance(part, np.ndarray) else part

    bias = 0.3 * rng.normal(size=vocabulary)
    bias[EOS] += 0.7
    parts = {
        "layers": [reference.decoder_weights(rng, HIDDEN, FILTER, memory_size) for _ in range(2)],
        "table": rng.normal(size=(vocabulary, HIDDEN)),
        "scale": 2.0,
        "positions": "sinusoids",
        "norm": (1.0 + 0.1 * rng.normal(size=HIDDEN), 0.1 * rng.normal(size=HIDDEN)),
        "output_bias": bias,
        **structure,
    }
    return ops.Decoder(num_heads=HEADS, **{k: variables(part) for k, part in parts.items()})


def continuations(decoder, options, prompts, start=START):
    """What `ops.generate` finds behind each prompt alone: tokens, log-probabilities and scores.

    The first two are lists of what each hypothesis has behind the prompt.
    """
    found = []
    for prompt in prompts:
        generated = ops.generate(
            decoder,
            None,
            None,
            tf.constant([start]),
            ops.SearchOptions(**options),
            prefix=tf.constant([prompt], tf.int64, [1, len(prompt)]),
        )
        ends = generated.lengths.numpy()[0]
        rows = [generated.tokens.numpy()[0], generated.log_probs.numpy()[0]]
        tokens, log_probs = (
            [row[len(prompt) : end].tolist() for row, end in zip(part, ends)] for part in rows
        )
        found.append((tokens, log_probs, generated.scores.numpy()[0]))
    return found
