"""Dropout whose mask is made again, not stored, for the gradient."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.host import on_host


def random_seed() -> tf.Tensor:
    """A new seed for an operation with dropout: int64 [2], drawn by TensorFlow's own generator.

    `tf.random.set_seed` makes it, and so the masks, repeat.
    """
    with on_host():
        return tf.random.uniform([2], tf.int64.min, tf.int64.max, tf.int64)


def seed_for(seed: tf.Tensor | None, *rates: float) -> tf.Tensor:
    """The seed given, or a new one; zeros where nothing will be dropped."""
    if seed is not None:
        return seed
    if any(rates):
        return random_seed()
    with on_host():
        return tf.zeros([2], tf.int64)


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Drops numbers at random and scales what is left by 1 / (1 - rate).

    Args:
        x: float32, float16 or bfloat16, of any shape.
        rate: the probability of a number to be dropped, in [0, 1).
        seed: int64 [2]; the same seed drops the same numbers. None draws one.

    Returns:
        A tensor like x.

    Raises:
        tf.errors.InvalidArgumentError: if the rate is not in [0, 1).
    """
    return library.ops.ls_dropout(x=x, seed=seed_for(seed, rate), rate=rate)


@tf.RegisterGradient("LSDropout")
def _dropout_gradient(op: tf.Operation, dy: tf.Tensor):
    return library.ops.ls_dropout(x=dy, seed=op.inputs[1], rate=op.get_attr("rate")), None
