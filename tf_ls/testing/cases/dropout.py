"""ops.dropout: by statistics, and forward and backward dropping the same numbers.

There is no reference for which numbers are dropped. It is the operation's own mask, of ones in
float32: values, dtype and direction must not change it.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.shapes import random_shape

_COUNTED = [100, 333]


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    shape = random_shape(rng, int(rng.integers(0, 4)))
    return _inputs(rng, [*shape, int(rng.integers(1, 40))], float(rng.choice([0.0, 0.1, 0.5, 0.9])))


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    return {**_inputs(rng, [4096, 512], 0.1), "statistics": False}


def _inputs(rng, shape, rate) -> Inputs:
    seed = rng.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, 2)
    return {"x": rng.normal(size=shape), "rate": rate, "seed": seed, "statistics": True}


def operation(x, rate, seed, statistics):
    dropped = ops.dropout(x, rate, seed)
    if not statistics:
        return dropped
    kept, others = (_mask(_COUNTED, rate, s) for s in (seed, seed + 1))
    return {
        "dropped": dropped,
        "share that is kept": _is_share(kept, 1.0 - rate),
        "share that seeds agree on": _is_share(kept == others, (1.0 - rate) ** 2 + rate**2),
    }


def _mask(shape, rate, seed):
    return ops.dropout(tf.ones(shape), rate, seed) != 0.0


def _is_share(chosen, share):
    """Whether about that share is chosen, within five standard deviations."""
    deviation = np.sqrt(share * (1.0 - share) / np.prod(_COUNTED))
    actual = tf.reduce_mean(tf.cast(chosen, tf.float64))
    return tf.abs(actual - share) <= 5.0 * deviation + 1e-9


def exact(x, rate, seed, statistics):
    mask = tf.cast(_mask(x.shape, rate, seed), x.dtype)
    true = tf.constant(True)
    return {
        "dropped": x * mask / (1.0 - rate),
        "share that is kept": true,
        "share that seeds agree on": true,
    }


def stock(x, rate, seed, statistics):
    return tf.nn.dropout(x, rate)


CASE = Case(
    "dropout",
    make_inputs,
    operation,
    reference=exact,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSDropout",),
)
