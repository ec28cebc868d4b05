"""ops.encoder_layer, from a padded batch to a padded batch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS, random_batch
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.shapes import random_heads, random_lengths

ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox")
TIMED = {"hidden": 256, "heads": 4, "filter_size": 1024}
TIMED_LENGTHS = [7, 33, 12, 20, 25, 18, 40, 9, 15, 28, 22, 11, 30, 5, 17, 24]


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    heads, hidden = random_heads(rng)
    kind = str(rng.choice(LAYOUTS))
    lengths, length = random_lengths(rng, least=0 if kind == "packed" else 1)
    weights = reference.encoder_weights(rng, hidden, int(rng.integers(1, 100)))
    activation = str(rng.choice(ACTIVATIONS))
    if activation == "relu" and dtype != "float32":
        reference.keep_away_from_kink(weights)
    return {
        **batch_inputs(rng, dtype, lengths, length, hidden, kind),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": heads,
        "pre_norm": bool(rng.integers(2)),
        "activation": activation,
        "causal": bool(rng.integers(2)),
        "training": bool(rng.integers(2)),
    }


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    hidden = TIMED["hidden"]
    weights = reference.encoder_weights(rng, hidden, TIMED["filter_size"])
    return {
        **batch_inputs(rng, dtype, TIMED_LENGTHS, max(TIMED_LENGTHS), hidden, "packed"),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": TIMED["heads"],
        "training": True,
    }


def batch_inputs(rng, dtype, lengths, length, hidden, kind) -> Inputs:
    """Returns x [B, L, H], the batch it is from, and the layout, which is not what is checked."""
    batch = random_batch(rng, lengths, hidden, kind=kind, dtype=dtype, length=length)
    return {"x": batch.values, "batch": batch, "layout": batch.layout()}


def operation(x, batch, layout, weights, **options):
    rows = ops.encoder_layer(batch.to_rows(x, layout), layout, weights, **options)
    return batch.from_rows(rows, layout)


def exact(x, batch, layout, weights, num_heads, training, **options):
    return batch.each_sentence(
        lambda sentence, keys, _: reference.encoder_layer(
            sentence, weights, num_heads, keys=keys, **options
        )
    )


def stock(x, batch, layout, weights, num_heads, training, **options):
    output = reference.encoder_layer_tf(x, batch.lengths, weights, num_heads, **options)
    return batch.without_padding(output)


CASE = Case(
    "encoder_layer",
    make_inputs,
    operation,
    reference=exact,
    gradient_reference=stock,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSEncoderLayer", "LSEncoderLayerGrad", "LSPack", "LSUnpack"),
)
