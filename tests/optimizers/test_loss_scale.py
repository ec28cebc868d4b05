"""LSLossScaleOptimizer takes the steps of Keras' LossScaleOptimizer (Keras 2)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.keras_version import KERAS_3

if KERAS_3:
    pytest.skip("Keras 3 has loss scaling of another kind", allow_module_level=True)

from tf_ls.optimizers import LSAdam
from tf_ls.optimizers.loss_scale import LSLossScaleOptimizer

SCALING = {"initial_scale": 8.0, "dynamic_growth_steps": 3}


def stock(**kwargs):
    inner = tf.keras.optimizers.legacy.Adam(0.1, **kwargs)
    return tf.keras.mixed_precision.LossScaleOptimizer(inner, **SCALING)


def ours(**kwargs):
    return LSLossScaleOptimizer(LSAdam(0.1, **kwargs), **SCALING)


def run(optimizer, in_graph, overflows, strategy=None):
    """Values of a dense and a sparsely read variable, loss scale and step after each step."""
    with (strategy or tf.distribute.get_strategy()).scope():
        dense = tf.Variable([[1.0, -2.0], [3.0, 0.5]])
        table = tf.Variable(tf.reshape(tf.range(8.0), [4, 2]) / 8.0)

    def step(factor):
        with tf.GradientTape() as tape:
            rows = tf.gather(table, [1, 3, 1])
            loss = factor * tf.reduce_sum(tf.square(rows @ dense))
            scaled = optimizer.get_scaled_loss(loss)
        gradients = tape.gradient(scaled, [dense, table])
        gradients = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(zip(gradients, [dense, table]))

    def on_replicas(factor):
        if strategy is None:
            step(factor)
        else:
            strategy.run(step, args=(factor,))

    if in_graph:
        on_replicas = tf.function(on_replicas)
    seen = []
    for overflow in overflows:
        on_replicas(tf.constant(np.inf if overflow else 1.0))
        values = [x.numpy() for x in (dense, table)]
        seen.append((values, float(optimizer.loss_scale), int(optimizer.iterations.numpy())))
    return seen


def assert_same(actual, expected):
    for (values, scale, step), (stock_values, stock_scale, stock_step) in zip(actual, expected):
        for value, stock_value in zip(values, stock_values):
            np.testing.assert_allclose(value, stock_value, rtol=1e-5, atol=1e-6)
        assert (scale, step) == (stock_scale, stock_step)


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("clipping", [{}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5}], ids=str)
def test_steps_scales_and_skipped_steps_are_those_of_keras(in_graph, clipping):
    overflows = [False] * 4 + [True, True] + [False] * 4
    expected = run(stock(**clipping), in_graph, overflows)
    assert_same(run(ours(**clipping), in_graph, overflows), expected)
    assert {scale for _, scale, _ in expected} == {4.0, 8.0, 16.0}  # it grew and shrank


def test_the_scale_does_not_fall_below_one():
    overflows = [True] * 5
    assert_same(run(ours(), True, overflows), run(stock(), True, overflows))


def test_on_replicas():
    def mirrored():
        return tf.distribute.MirroredStrategy(["CPU:0"])

    overflows = [False, True, False, False, False]
    strategy = mirrored()
    with strategy.scope():
        expected = run(stock(), True, overflows, strategy)
    strategy = mirrored()
    with strategy.scope():
        assert_same(run(ours(), True, overflows, strategy), expected)


def test_gradients_that_were_not_scaled_are_applied_as_they_are():
    optimizer, variable = ours(), tf.Variable([1.0, 2.0])
    reference, stock_variable = stock(), tf.Variable([1.0, 2.0])
    for gradient in ([0.5, -3.0], [0.1, 0.2]):
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        reference.apply_gradients([(tf.constant(gradient), stock_variable)])
    np.testing.assert_allclose(variable, stock_variable, rtol=1e-6)


def test_what_lsadam_cannot_do_keras_does():
    class Lenient(LSAdam):
        def _refuse(self, reason):
            pass

    optimizer = LSLossScaleOptimizer(Lenient(0.1, amsgrad=True), **SCALING)
    overflows = [False, True, False]
    assert_same(run(optimizer, True, overflows), run(stock(amsgrad=True), True, overflows))
