"""Steps of an optimizer on variables and gradients that are the same each time."""

import numpy as np
import tensorflow as tf

SHAPES = [(33, 5), (7,), (), (120, 6), (50, 8)]


def make_variables(dtype="float32", make=tf.Variable):
    rng = np.random.default_rng(0)
    return [make(tf.constant(rng.normal(size=shape), dtype)) for shape in SHAPES]


def make_gradients(step, dtype="float32", sparse=True):
    """Gradients of one step; the last is of slices that repeat, or the same as a dense tensor."""
    rng = np.random.default_rng(step + 1)
    gradients = [tf.constant(rng.normal(size=shape), dtype) for shape in SHAPES]
    indices = tf.constant([*rng.choice(50, 20), 49, 49])
    values = tf.constant(rng.normal(size=[22, 8]), dtype)
    gradients[-1] = tf.IndexedSlices(values, indices, tf.constant([50, 8]))
    if not sparse:
        gradients[-1] = tf.convert_to_tensor(gradients[-1])
    return gradients


def train(optimizer, variables, steps=20, first=0, sparse=True, in_function=True):
    """Applies the gradients of `steps` steps."""

    def step(gradients):
        optimizer.apply_gradients(zip(gradients, variables))

    if in_function:
        step = tf.function(step)
    for i in range(first, first + steps):
        step(make_gradients(i, sparse=sparse))


def assert_same(actual, expected, tolerance=1e-5):
    """Relative error of each variable."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        error = np.linalg.norm(a.numpy() - e.numpy()) / max(np.linalg.norm(e.numpy()), 1e-30)
        assert error < tolerance, f"{e.name}: {error:.2g}"
