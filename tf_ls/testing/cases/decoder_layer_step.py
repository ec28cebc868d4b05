"""ops.decoder_layer_step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import layer_inputs
from tf_ls.testing.shapes import random_heads, random_shape


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    heads, hidden = random_heads(rng)
    batch, steps = random_shape(rng, 2, most=5)
    before, seen = (int(n) for n in rng.integers(0, 15, 2))
    memory_length = seen if rng.random() < 0.75 and seen else None
    weights = reference.decoder_weights(
        rng, hidden, int(rng.integers(1, 100)), memory_length and hidden
    )
    lag = int(rng.integers(0, 15)) if memory_length and rng.integers(2) else None
    return {
        **_inputs(rng, batch, steps, before, memory_length, heads, hidden),
        **layer_inputs.random_structure(rng, dtype, weights),
        "num_heads": heads,
        "memory_lag": lag,
    }


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    """A step of 16 sentences with 4 hypotheses each."""
    hidden, heads = layer_inputs.TIMED_HIDDEN, layer_inputs.TIMED_HEADS
    weights = reference.decoder_weights(rng, hidden, layer_inputs.TIMED_FILTER, hidden)
    return {
        **_inputs(rng, 64, 1, 20, 40, heads, hidden),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": heads,
    }


def _inputs(rng, batch, steps, before, memory_length, heads, hidden) -> Inputs:
    def cached(length):
        return rng.normal(size=[batch, length, heads, hidden // heads])

    memory = dict.fromkeys(("memory_keys", "memory_values", "memory_lengths"))
    if memory_length is not None:
        memory = {
            "memory_keys": cached(memory_length),
            "memory_values": cached(memory_length),
            "memory_lengths": rng.integers(0, memory_length + 1, batch).astype(np.int32),
        }
    return {
        "x": rng.normal(size=[batch, steps, hidden]),
        "cache_keys": cached(before),
        "cache_values": cached(before),
        **memory,
    }


def exact(
    x,
    cache_keys,
    cache_values,
    memory_keys,
    memory_values,
    memory_lengths,
    weights,
    num_heads,
    **options,
):
    outputs = []
    for b in range(x.shape[0]):
        memory = (None, None)
        if memory_keys is not None:
            memory = (part[b, : int(memory_lengths[b])] for part in (memory_keys, memory_values))
        outputs.append(
            reference.decoder_layer_step(
                x[b], cache_keys[b], cache_values[b], *memory, weights, **options
            )
        )
    if outputs:
        return [np.stack(parts) for parts in zip(*outputs)]
    _, before, *head = cache_keys.shape
    return [np.zeros(x.shape), *np.zeros([2, 0, before + x.shape[1], *head])]


def stock(
    x,
    cache_keys,
    cache_values,
    memory_keys,
    memory_values,
    memory_lengths,
    weights,
    num_heads,
    **options,
):
    return reference.decoder_layer_step_tf(
        x, cache_keys, cache_values, memory_keys, memory_values, memory_lengths, weights, **options
    )


CASE = Case(
    "decoder_layer_step",
    make_inputs,
    ops.decoder_layer_step,
    reference=exact,
    gradient_reference=stock,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSDecoderLayerStep", "LSDecoderLayerStepGrad"),
)
