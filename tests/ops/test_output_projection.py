"""ops.output_projection against the float64 reference."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadInput

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS, random_batch, rounded
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import assert_close

HIDDEN, VOCABULARY = 24, 50
LENGTHS = [7, 0, 1, 5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no_bias"])
def test_output_and_gradients(dtype, kind, with_bias):
    rng = np.random.default_rng(0)
    lengths = LENGTHS if kind == "packed" else [7] * 4  # a dense layout computes padding too
    batch = random_batch(rng, lengths, HIDDEN, kind=kind, dtype=dtype)
    weights = rng.normal(size=[VOCABULARY, HIDDEN]).astype(np.float32)
    bias = rng.normal(size=[VOCABULARY]).astype(np.float32) if with_bias else None
    cotangent = rounded(rng.normal(size=[4, 7, VOCABULARY]), dtype)

    arguments = [tf.constant(batch.values, dtype), tf.constant(weights)]
    arguments += [tf.constant(bias)] if with_bias else []
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        logits = ops.output_projection(
            batch.to_rows(arguments[0], layout),
            layout,
            arguments[1],
            arguments[2] if with_bias else None,
            tf.constant([4, 7]),
        )
    gradients = tape.gradient(logits, arguments, tf.constant(cotangent, dtype))
    assert logits.dtype == dtype
    assert logits.shape == [4, 7, VOCABULARY]
    assert [g.dtype for g in gradients] == [a.dtype for a in arguments]

    expected = batch.each_sentence(lambda x, *_: reference.output_projection(x, weights, bias))
    assert_close(logits, expected, dtype)

    cotangent = cotangent.astype(np.float64) * batch.real[..., None]
    flat = cotangent.reshape(-1, VOCABULARY)
    x = batch.values.reshape(-1, HIDDEN)
    expected = [cotangent @ weights, flat.T @ x, flat.sum(0)]
    for name, actual, want in zip(("x", "weights", "bias"), gradients, expected):
        assert_close(actual, want, dtype, f"gradient of {name}")


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_nothing(shape):
    batch = random_batch(np.random.default_rng(0), [0] * shape[0], 8, length=shape[1])
    arguments = [tf.constant(batch.values), tf.ones([5, 8]), tf.ones([5])]
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        rows = batch.to_rows(arguments[0], layout)
        logits = ops.output_projection(rows, layout, *arguments[1:], tf.constant(shape))
    assert logits.shape == [*shape, 5]
    for argument, gradient in zip(arguments, tape.gradient(logits, arguments)):
        np.testing.assert_array_equal(gradient, np.zeros(argument.shape))


def call(*, x=(64, 8), weights=(5, 8), bias=(5,), size=(2, 3)):
    batch = random_batch(np.random.default_rng(0), [3, 2], 8)
    return ops.output_projection(
        tf.zeros(x), batch.layout(), tf.zeros(weights), tf.zeros(bias), tf.constant(size)
    )


def test_good_input_is_good():
    assert call().shape == [2, 3, 5]


@pytest.mark.parametrize(
    "change",
    [
        {"x": (64,)},
        {"x": (64, 9)},
        {"x": (128, 8)},
        {"weights": (5,)},
        {"weights": (5, 9)},
        {"weights": (1, 5, 8)},
        {"bias": (6,)},
        {"bias": (1, 5)},
        {"size": (1, 3)},
        {"size": (2,)},
        {"size": (2, -3)},
    ],
    ids=str,
)
def test_bad_shape(change):
    with pytest.raises(BadInput):
        call(**change)
