"""Cases of a user: an operation that is right, and the same with something wrong."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls.testing import Case
from tf_ls.testing.shapes import random_shape


def make_inputs(rng: np.random.Generator, dtype: str):
    shape = [*random_shape(rng, 2), int(rng.integers(1, 40))]
    return {"x": rng.normal(size=shape), "gain": tf.constant(rng.normal(size=shape[-1:]), dtype)}


def gated(x, gain):
    return gain * tf.tanh(x)


def gated_numpy(x, gain):
    return np.asarray(gain) * np.tanh(x)


def case(name="gated", operation=gated, **changes) -> Case:
    arguments = {"reference": gated, **changes}
    return Case(name, arguments.pop("make_inputs", make_inputs), operation, **arguments)


def wrong_gradient(x, gain):
    @tf.custom_gradient
    def function(x, gain):
        def gradient(dy):
            dgain = tf.reduce_sum(dy * tf.tanh(x), [0, 1])
            return dy * gain * (1.0 - tf.tanh(x) ** 2), 1.1 * dgain

        return gated(x, gain), gradient

    return function(x, gain)


def not_a_number(x, gain):
    return tf.where(x > 0.5, x / 0.0, gated(x, gain))


CASES = [case(stock=gated)]
