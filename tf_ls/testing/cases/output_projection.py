"""ops.output_projection, from a padded batch to padded logits."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import layer_inputs
from tf_ls.testing.shapes import random_lengths

TIMED_VOCABULARY = 8000


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    hidden, vocabulary = (int(n) for n in rng.integers(1, 150, 2))
    lengths, length = random_lengths(rng)
    inputs = layer_inputs.batch_inputs(
        rng, dtype, lengths, length, hidden, str(rng.choice(LAYOUTS))
    )
    return {**inputs, **_weights(rng, vocabulary, hidden, bias=bool(rng.integers(2)))}


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    inputs = layer_inputs.timed_batch_inputs(rng, dtype)
    return {**inputs, **_weights(rng, TIMED_VOCABULARY, layer_inputs.TIMED_HIDDEN, bias=True)}


def _weights(rng, vocabulary, hidden, bias) -> Inputs:
    return {
        "weights": tf.constant(rng.normal(size=[vocabulary, hidden]), tf.float32),
        "bias": tf.constant(rng.normal(size=[vocabulary]), tf.float32) if bias else None,
    }


def operation(x, batch, layout, weights, bias):
    rows, size = batch.to_rows(x, layout), tf.constant(x.shape[:2].as_list())
    return ops.output_projection(rows, layout, weights, bias, size)


def exact(x, batch, layout, weights, bias):
    return batch.each_sentence(
        lambda sentence, *_: reference.output_projection(sentence, weights, bias),
        width=weights.shape[0],
    )


def stock(x, batch, layout, weights, bias):
    return batch.without_padding(reference.output_projection_tf(x, weights, bias))


CASE = Case(
    "output_projection",
    make_inputs,
    operation,
    reference=exact,
    gradient_reference=stock,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSOutputProjection", "LSOutputProjectionGrad", "LSPack", "LSUnpack"),
)
