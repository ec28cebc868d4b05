"""What operations read on the host: where it is best computed, and its dtype."""

from __future__ import annotations

from contextlib import AbstractContextManager

import tensorflow as tf


def on_host() -> AbstractContextManager:
    """Puts what is computed inside on the CPU.

    Operations on a GPU read ids, layouts, seeds and hyperparameters in host memory, where they
    check them. If the GPU made these, a step would have to wait for it.
    """
    return tf.device("/CPU:0")


def int64(integers: tf.Tensor | int, name: str) -> tf.Tensor:
    """Returns integers of any dtype as int64.

    Raises:
        TypeError: they are no integers.
    """
    integers = tf.convert_to_tensor(integers)
    if not integers.dtype.is_integer:
        raise TypeError(f"{name} must be integers, got {integers.dtype.name}")
    return tf.cast(integers, tf.int64)
