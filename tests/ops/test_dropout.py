"""Dropout: by statistics, by seeds, and forward and backward drawing the same masks.

Weights that turn a layer's block into a constant make its masks visible in its output.
"""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import random_batch
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import relative_error

SEED = tf.constant([1, 2], tf.int64)
OTHER_SEED = tf.constant([1, 3], tf.int64)
RATES = (0.1, 0.5, 0.9)


def assert_keeps(kept: np.ndarray, rate: float) -> None:
    """Asserts that a share of 1 - rate is kept, within five standard deviations."""
    deviation = np.sqrt(rate * (1.0 - rate) / kept.size)
    assert abs(kept.mean() - (1.0 - rate)) < 5.0 * deviation


# The operation alone -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", RATES)
def test_rate_and_scale(dtype, rate):
    output = tf.cast(ops.dropout(tf.ones([200, 333], dtype), rate, SEED), tf.float32).numpy()
    kept = output != 0.0
    assert_keeps(kept, rate)
    scale = tf.cast(tf.cast(1.0 / (1.0 - rate), dtype), tf.float32)
    np.testing.assert_allclose(output[kept], scale, rtol=1e-2 if dtype != "float32" else 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_has_the_same_mask(dtype):
    x = tf.ones([50, 50], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = ops.dropout(x, 0.3, SEED)
    np.testing.assert_array_equal(tape.gradient(output, x), output)


def test_seeds():
    x = tf.ones([50, 50])
    np.testing.assert_array_equal(ops.dropout(x, 0.5, SEED), ops.dropout(x, 0.5, SEED))
    same = (ops.dropout(x, 0.5, SEED).numpy() == ops.dropout(x, 0.5, OTHER_SEED).numpy()).mean()
    assert 0.4 < same < 0.6


def test_without_seed_every_call_differs_and_set_seed_repeats():
    x = tf.ones([50, 50])

    def two_calls():
        tf.random.set_seed(5)
        return ops.dropout(x, 0.5).numpy(), ops.dropout(x, 0.5).numpy()

    first, second = two_calls()
    assert (first != second).any()
    for actual, want in zip(two_calls(), (first, second)):
        np.testing.assert_array_equal(actual, want)


def test_without_seed_every_call_of_a_function_differs():
    function = tf.function(lambda x: ops.dropout(x, 0.5))
    x = tf.ones([50, 50])
    assert (function(x).numpy() != function(x).numpy()).any()


def test_rate_zero_changes_nothing():
    x = tf.random.normal([5, 7])
    np.testing.assert_array_equal(ops.dropout(x, 0.0, SEED), x)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4, 5)])
def test_any_shape(shape):
    assert ops.dropout(tf.ones(shape), 0.5, SEED).shape == shape


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_rate(rate):
    with pytest.raises(BadInput):
        ops.dropout(tf.ones([3]), rate, SEED)


@pytest.mark.parametrize("seed", [[1], [1, 2, 3], [[1, 2]]], ids=str)
def test_bad_seed(seed):
    with pytest.raises(BadInput):
        ops.dropout(tf.ones([3]), 0.5, tf.constant(seed, tf.int64))


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_bad_dtype(dtype):
    with pytest.raises(BadDtype):
        ops.dropout(tf.ones([3], dtype), 0.5, SEED)


# Inside a layer ----------------------------------------------------------------------------------

HIDDEN, HEADS, SENTENCES = 32, 4, 400


def constant_weights(block: str) -> list:
    """Returns weights of an encoder layer that adds 1 to x in the block and 0 in the other.

    In "attention" every value is 1 and goes through the attention weights, in "self" the output's
    bias is 1; in "activation" every activation is 1, in "ffn" the output's bias is 1.
    """
    shapes = reference.self_attention_shapes(HIDDEN) + reference.ffn_shapes(HIDDEN, HIDDEN)
    weights = [np.zeros(shape, np.float32) for shape in shapes]
    weights[0][:] = weights[6][:] = 1.0
    if block == "attention":
        weights[3][2 * HIDDEN :] = 1.0
        weights[4][:] = np.eye(HIDDEN)
    elif block == "self":
        weights[5][:] = 1.0
    elif block == "activation":
        weights[9][:] = 1.0
        weights[10][:] = np.eye(HIDDEN)
    elif block == "ffn":
        weights[11][:] = 1.0
    return weights


def layer_masks(block: str, dtype="float32", seed=SEED, training=True, **rates) -> np.ndarray:
    """Returns what the layer adds to 400 sentences of one token, [400, HIDDEN]."""
    x = tf.zeros([SENTENCES, 1, HIDDEN], dtype)
    (layout,) = ops.pack_layouts([tf.zeros([SENTENCES, 1], tf.bool)])
    rows = ops.encoder_layer(
        ops.pack(x, layout),
        layout,
        constant_weights(block),
        num_heads=HEADS,
        training=training,
        seed=seed,
        **rates,
    )
    output = ops.unpack(rows, layout, tf.constant([SENTENCES, 1]))
    return tf.cast(output, tf.float32).numpy()[:, 0]


BLOCKS = [
    ("attention", "attention_dropout"),
    ("self", "residual_dropout"),
    ("activation", "activation_dropout"),
    ("ffn", "residual_dropout"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("block", "dropout"), BLOCKS, ids=[b for b, _ in BLOCKS])
def test_rate_and_scale_in_a_layer(block, dropout, rate, dtype):
    added = layer_masks(block, dtype, **{dropout: rate})
    if block == "attention":  # one weight for each head
        added = added.reshape(SENTENCES, HEADS, -1)
        np.testing.assert_array_equal(added, np.broadcast_to(added[..., :1], added.shape))
        added = added[..., 0]
    kept = added != 0.0
    assert_keeps(kept, rate)
    np.testing.assert_allclose(
        added[kept], 1.0 / (1.0 - rate), rtol=1e-6 if dtype == "float32" else 1e-2
    )


@pytest.mark.parametrize(("block", "dropout"), BLOCKS, ids=[b for b, _ in BLOCKS])
def test_seeds_in_a_layer(block, dropout):
    first = layer_masks(block, **{dropout: 0.5})
    np.testing.assert_array_equal(first, layer_masks(block, **{dropout: 0.5}))
    assert 0.4 < (first == layer_masks(block, seed=OTHER_SEED, **{dropout: 0.5})).mean() < 0.6
    unseeded = [layer_masks(block, seed=None, **{dropout: 0.5}) for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


def test_blocks_draw_different_masks():
    first, second = (layer_masks(block, residual_dropout=0.5) for block in ("self", "ffn"))
    assert 0.4 < (first == second).mean() < 0.6


def test_rows_and_columns_draw_different_masks():
    mask = layer_masks("ffn", residual_dropout=0.5) != 0.0
    assert 0.4 < (mask[1:] == mask[:-1]).mean() < 0.6
    assert 0.4 < (mask[:, 1:] == mask[:, :-1]).mean() < 0.6


@pytest.mark.parametrize(("block", "dropout"), BLOCKS, ids=[b for b, _ in BLOCKS])
def test_none_outside_training(block, dropout):
    added = layer_masks(block, training=False, **{dropout: 0.5})
    np.testing.assert_allclose(added, np.ones_like(added), rtol=1e-6)


ALL_RATES = {"attention_dropout": 0.3, "activation_dropout": 0.2, "residual_dropout": 0.25}


def layer_function(kind: str, **options):
    """Returns a decoder layer with memory as a function of (x, memory, *weights), and arguments."""
    rng = np.random.default_rng(0)
    batch, memory = random_batch(rng, [4, 3], 6), random_batch(rng, [3, 5], 4)
    layout, memory_layout = batch.layout(), memory.layout()

    def encoder(x, *weights):
        rows = ops.encoder_layer(batch.to_rows(x, layout), layout, weights, num_heads=2, **options)
        return batch.from_rows(rows, layout)

    def decoder(x, memory_values, *weights):
        rows = ops.decoder_layer(
            batch.to_rows(x, layout),
            layout,
            memory.to_rows(memory_values, memory_layout),
            memory_layout,
            weights,
            num_heads=2,
            **options,
        )
        return batch.from_rows(rows, layout)

    inputs = [np.where(b.real[..., None], b.values, 0.0) for b in (batch, memory)]
    if kind == "encoder":
        arguments = [inputs[0], *reference.encoder_weights(rng, 6, 5)]
    else:
        arguments = [*inputs, *reference.decoder_weights(rng, 6, 5, 4)]
    return (
        {"encoder": encoder, "decoder": decoder}[kind],
        [tf.constant(a, tf.float32) for a in arguments],
    )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
def test_backward_draws_the_masks_of_the_forward(kind, pre_norm):
    function, arguments = layer_function(
        kind, training=True, seed=SEED, pre_norm=pre_norm, activation="tanh", **ALL_RATES
    )
    theoretical, numerical = tf.test.compute_gradient(function, arguments, delta=1e-2)
    for i, (actual, want) in enumerate(zip(theoretical, numerical)):
        assert relative_error(actual, want) < 5e-3, i


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_gradient_outside_training_is_that_of_training_without_dropout(kind):
    gradients = []
    for options in ({"training": False, **ALL_RATES}, {"training": True}):
        function, arguments = layer_function(kind, **options)
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            output = function(*arguments)
        gradients.append(tape.gradient(output, arguments))
    for first, second in zip(*gradients):
        np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_mean_over_seeds_is_near_the_output_without_dropout(kind):
    rates = {name: 0.05 for name in ALL_RATES}
    exact, arguments = layer_function(kind, training=False)
    outputs = []
    for i in range(300):
        seed = tf.constant([i, 0], tf.int64)
        outputs.append(layer_function(kind, training=True, seed=seed, **rates)[0](*arguments))
    assert relative_error(tf.add_n(outputs) / 300.0, exact(*arguments)) < 0.05
