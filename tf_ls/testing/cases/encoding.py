"""ops.encode with a PackedEncoder."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import layer_inputs
from tf_ls.testing.reference_encoder import encode
from tf_ls.testing.shapes import random_heads, random_shape

LAYERS = 2


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    heads, hidden = random_heads(rng)
    weights = _weights(rng, hidden, int(rng.integers(1, 100)))
    return {
        **_inputs(rng, dtype, random_shape(rng, 2), hidden, token_types=int(rng.integers(1, 4))),
        **layer_inputs.random_structure(rng, dtype, weights),
        "num_heads": heads,
        "causal": bool(rng.integers(2)),
    }


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    hidden = layer_inputs.TIMED_HIDDEN
    weights = _weights(rng, hidden, layer_inputs.TIMED_FILTER)
    return {
        **_inputs(rng, dtype, [16, 40], hidden, vocabulary=8000),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": layer_inputs.TIMED_HEADS,
    }


def _weights(rng, hidden, filter_size):
    layers = [reference.encoder_weights(rng, hidden, filter_size) for _ in range(LAYERS)]
    return [weight for layer in layers for weight in layer]


def _inputs(rng, dtype, shape, hidden, vocabulary=30, token_types=1) -> Inputs:
    def numbers(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    return {
        "ids": rng.integers(0, vocabulary, shape),
        "padding": rng.random(shape) < 0.2,
        "types": rng.integers(0, token_types, shape),
        "token_types": token_types,
        "table": numbers(vocabulary, hidden),
        "positions": numbers(token_types * shape[1], hidden),
        "embedding_norm": [1 + 0.1 * numbers(hidden), 0.1 * numbers(hidden)],
        "norm": [1 + 0.1 * numbers(hidden), 0.1 * numbers(hidden)],
        "dtype": dtype,
    }


def _encoder(weights, **parts) -> ops.Encoder:
    of_layer = len(weights) // LAYERS
    layers = [weights[i * of_layer : (i + 1) * of_layer] for i in range(LAYERS)]
    return ops.Encoder(layers=layers, **parts)


def pack(inputs: Inputs) -> Inputs:
    parts = dict(inputs)
    batch = {name: parts.pop(name) for name in ("ids", "padding", "types")}
    dtype = parts.pop("dtype")
    return {**batch, "encoder": ops.PackedEncoder(_encoder(**parts), dtype)}


def operation(ids, padding, types, encoder):
    return ops.encode(encoder, ids, padding, types=types)._asdict()


def exact(ids, padding, types, dtype, **encoder):
    model = _encoder(**_arrays(encoder))
    ids, padding, types = _arrays([ids, padding, types])
    memory = np.zeros([*ids.shape, model.table.shape[1]])
    for row, (sentence, gaps) in enumerate(zip(ids, padding)):
        places = np.flatnonzero(~gaps)
        memory[row, : len(places)] = encode(model, sentence[places], places, types[row][places])
    return {"memory": memory, "lengths": np.sum(~padding, axis=1, dtype=np.int64)}


def _arrays(parts):
    return tf.nest.map_structure(lambda p: p.numpy() if isinstance(p, tf.Tensor) else p, parts)


CASE = Case(
    "encode",
    make_inputs,
    operation,
    reference=exact,
    gradients=False,
    make_timing_inputs=make_timing_inputs,
    prepare=pack,
    kernels=("LSPackEncoder", "LSEncodePacked"),
)
