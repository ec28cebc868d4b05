"""ops.layer_norm against the float64 reference."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import rounded
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import assert_close, relative_error


def check(shape, *, dtype="float32", epsilon=1e-6, offset=0.0):
    rng = np.random.default_rng(0)
    x = rounded(rng.normal(size=shape) + offset, dtype)
    gamma, beta = (rng.normal(size=shape[-1:]).astype(np.float32) for _ in range(2))
    cotangent = rounded(rng.normal(size=shape), dtype)

    arguments = [tf.constant(x, dtype), tf.constant(gamma), tf.constant(beta)]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = ops.layer_norm(*arguments, epsilon)
    gradients = tape.gradient(output, arguments, tf.constant(cotangent, dtype))
    assert output.dtype == dtype
    assert [g.dtype for g in gradients] == [a.dtype for a in arguments]
    assert_close(output, reference.layer_norm(x, gamma, beta, epsilon), dtype)

    exact = [tf.constant(a, tf.float64) for a in (x, gamma, beta)]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected = reference.layer_norm_tf(*exact, epsilon)
    expected = tape.gradient(expected, exact, tf.constant(cotangent, tf.float64))
    for name, actual, want in zip(("x", "gamma", "beta"), gradients, expected):
        assert_close(actual, want, dtype, f"gradient of {name}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (5, 24), (3, 4, 33), (2, 3, 2, 5), (64, 512), (1, 1500)])
def test_output_and_gradients(dtype, shape):
    check(shape, dtype=dtype)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3, 1.0])
def test_epsilon(epsilon):
    check((5, 24), epsilon=epsilon)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5], ids=["bert", "gpt-2"])
@pytest.mark.parametrize("number", [0.1, -10.1, 777.7])
def test_equal_numbers_are_beta(number, epsilon, dtype):
    """Exactly: 1 / sqrt(epsilon) would make much of a mean that is rounded."""
    beta = np.random.default_rng(0).normal(size=768).astype(np.float32)
    x = tf.fill([3, 768], tf.constant(number, dtype))
    output = ops.layer_norm(x, tf.ones([768]), tf.constant(beta), epsilon)
    np.testing.assert_array_equal(output, tf.broadcast_to(tf.cast(beta, dtype), [3, 768]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5], ids=["bert", "gpt-2"])
def test_numbers_that_differ_little(epsilon, dtype):
    """By no more than the deviation that epsilon stands for."""
    rng = np.random.default_rng(0)
    x = rounded(np.sqrt(epsilon) * rng.normal(size=[4, 96]), dtype)
    output = ops.layer_norm(tf.constant(x, dtype), tf.ones([96]), tf.zeros([96]), epsilon)
    expected = reference.layer_norm(x, np.ones(96), np.zeros(96), epsilon)
    assert_close(output, expected, dtype)


def test_mean_far_from_zero():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=[4, 64]) + 1000.0).astype(np.float32)
    output = ops.layer_norm(x, tf.ones([64]), tf.zeros([64]), 1e-6)
    expected = reference.layer_norm(x, np.ones(64), np.zeros(64), 1e-6)
    # The mean itself is rounded to 1000 * 2^-24.
    assert relative_error(output, expected) < 1e-4


def test_constant_rows_become_beta():
    beta = tf.constant([1.0, 2.0, 3.0])
    output = ops.layer_norm(tf.fill([2, 3], 5.0), tf.ones([3]), beta, 1e-6)
    np.testing.assert_allclose(output, [[1.0, 2.0, 3.0]] * 2, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8)])
def test_nothing(shape):
    arguments = [tf.zeros(shape), tf.ones([8]), tf.zeros([8])]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = ops.layer_norm(*arguments, 1e-6)
    assert output.shape == shape
    for argument, gradient in zip(arguments, tape.gradient(output, arguments)):
        np.testing.assert_array_equal(gradient, np.zeros(argument.shape))


def test_gradient_is_the_derivative():
    rng = np.random.default_rng(0)
    arguments = [tf.constant(rng.normal(size=s), tf.float32) for s in ([3, 7], [7], [7])]
    theoretical, numerical = tf.test.compute_gradient(
        lambda x, gamma, beta: ops.layer_norm(x, gamma, beta, 1e-6), arguments, delta=1e-2
    )
    for actual, want in zip(theoretical, numerical):
        assert relative_error(actual, want) < 5e-3


@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows=st.integers(1, 200), width=st.integers(5, 300))
def test_random_shapes(rows, width):
    check((rows, width))


def test_static_shape():
    @tf.function(input_signature=[tf.TensorSpec([None, 3, 8])])
    def function(x):
        output = ops.layer_norm(x, tf.ones([8]), tf.zeros([8]), 1e-6)
        assert output.shape.as_list() == [None, 3, 8]
        return output

    function(tf.zeros([2, 3, 8]))


@pytest.mark.parametrize(
    ("x", "gamma", "beta"),
    [([], [8], [8]), ([2, 8], [7], [8]), ([2, 8], [8], [9]), ([2, 8], [1, 8], [8]), ([8], [], [8])],
    ids=str,
)
def test_bad_shape(x, gamma, beta):
    with pytest.raises(BadInput):
        ops.layer_norm(tf.zeros(x), tf.zeros(gamma), tf.zeros(beta), 1e-6)


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_bad_dtype(dtype):
    with pytest.raises(BadDtype):
        ops.layer_norm(tf.zeros([2, 8], dtype), tf.ones([8]), tf.zeros([8]), 1e-6)


@pytest.mark.parametrize("epsilon", [-1.0, float("nan")])
def test_bad_epsilon(epsilon):
    with pytest.raises(BadInput):
        ops.layer_norm(tf.zeros([2, 8]), tf.ones([8]), tf.zeros([8]), epsilon)
