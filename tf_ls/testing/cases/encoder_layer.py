"""ops.encoder_layer, from a padded batch to a padded batch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import layer_inputs
from tf_ls.testing.shapes import random_heads, random_lengths


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    heads, hidden = random_heads(rng)
    kind = str(rng.choice(LAYOUTS))
    lengths, length = random_lengths(rng, least=0 if kind == "packed" else 1)
    weights = reference.encoder_weights(rng, hidden, int(rng.integers(1, 100)))
    return {
        **layer_inputs.batch_inputs(rng, dtype, lengths, length, hidden, kind),
        **layer_inputs.random_structure(rng, dtype, weights),
        "num_heads": heads,
        "causal": bool(rng.integers(2)),
        "training": bool(rng.integers(2)),
    }


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    weights = reference.encoder_weights(rng, layer_inputs.TIMED_HIDDEN, layer_inputs.TIMED_FILTER)
    return {
        **layer_inputs.timed_batch_inputs(rng, dtype),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": layer_inputs.TIMED_HEADS,
        "training": True,
    }


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
