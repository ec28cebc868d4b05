"""ops.generate, by the log-probabilities of hypotheses that are forced from end to end.

They take every part of a step; the choice of tokens, where rounding may decide, is left out.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import layer_inputs
from tf_ls.testing.reference_decoder import decoder_model
from tf_ls.testing.shapes import random_heads, random_shape

EOS = 0
LAYERS = 2


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    heads, hidden = random_heads(rng)
    batch, length = random_shape(rng, 2, most=5)
    weights = _weights(rng, hidden, int(rng.integers(1, 100)))
    return {
        **_inputs(rng, batch, int(rng.integers(1, 12)), max(length, 1), hidden),
        **layer_inputs.random_structure(rng, dtype, weights),
        "num_heads": heads,
    }


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    hidden = layer_inputs.TIMED_HIDDEN
    weights = _weights(rng, hidden, layer_inputs.TIMED_FILTER)
    return {
        **_inputs(rng, 16, 40, 20, hidden, vocabulary=8000),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": layer_inputs.TIMED_HEADS,
    }


def _weights(rng, hidden, filter_size):
    layers = [reference.decoder_weights(rng, hidden, filter_size, hidden) for _ in range(LAYERS)]
    return [weight for layer in layers for weight in layer]


def _inputs(rng, batch, source, length, hidden, vocabulary=30) -> Inputs:
    def numbers(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    return {
        "memory": rng.normal(size=[batch, source, hidden]),
        "source_lengths": rng.integers(1, source + 1, batch),
        "start": rng.integers(0, vocabulary, batch),
        "prefix": rng.integers(EOS + 1, vocabulary, [batch, length]),
        "table": numbers(vocabulary, hidden),
        "embedding_norm": [1 + 0.1 * numbers(hidden), 0.1 * numbers(hidden)],
        "norm": [1 + 0.1 * numbers(hidden), 0.1 * numbers(hidden)],
        "output_weights": numbers(vocabulary, hidden) / hidden**0.5,
        "output_bias": numbers(vocabulary),
    }


def _decoder(weights, **parts) -> ops.Decoder:
    of_layer = len(weights) // LAYERS
    layers = [weights[i * of_layer : (i + 1) * of_layer] for i in range(LAYERS)]
    return ops.Decoder(layers=layers, positions=ops.SINUSOIDS, **parts)


def log_probs(memory, source_lengths, start, prefix, **decoder):
    length = prefix.shape[1]
    options = ops.SearchOptions(eos=EOS, method="greedy", max_length=length, max_extra_length=None)
    generated = ops.generate(
        _decoder(**decoder),
        memory,
        source_lengths,
        start,
        options,
        prefix=prefix,
        dtype=memory.dtype,
    )
    return generated.log_probs[:, 0]


def exact(memory, source_lengths, start, prefix, **decoder):
    model_parts = _decoder(**_arrays(decoder))
    memory, source_lengths, start, prefix = _arrays([memory, source_lengths, start, prefix])
    # Without sentences there is no longest hypothesis.
    expected = np.zeros(prefix.shape if len(prefix) else (0, 0))
    for i, tokens in enumerate(prefix.tolist()):
        model = decoder_model(model_parts, memory[i, : source_lengths[i]], int(start[i]))
        for position, token in enumerate(tokens):
            logits = model([tuple(tokens[:position])])[0][0]
            expected[i, position] = logits[token] - np.log(np.exp(logits).sum())
    return expected


def _arrays(parts):
    return tf.nest.map_structure(lambda p: p.numpy() if isinstance(p, tf.Tensor) else p, parts)


CASE = Case(
    "generate",
    make_inputs,
    log_probs,
    reference=exact,
    gradients=False,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSGenerate",),
    output_dtype="float32",
)
