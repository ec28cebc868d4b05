"""Refusing input at run time, in stock operations."""

from __future__ import annotations

from typing import Union

import tensorflow as tf


def require(condition: tf.Tensor, *message: Union[str, tf.Tensor]) -> list[tf.Operation]:
    """Fails with InvalidArgument unless a scalar condition holds.

    Args:
        condition: bool [].
        *message: strings, and tensors, of which all numbers are shown, with commas between them.

    Returns:
        For tf.control_dependencies of what relies on the condition.
    """
    parts = [part if isinstance(part, str) else _text(part) for part in message]
    operation = tf.debugging.Assert(condition, [tf.strings.join(parts)])
    return [] if operation is None else [operation]  # None: it has run already, eagerly


def _text(tensor: tf.Tensor) -> tf.Tensor:
    if tensor.dtype != tf.string:
        tensor = tf.strings.as_string(tensor, shortest=tensor.dtype.is_floating)
    return tf.strings.reduce_join(tf.reshape(tensor, [-1]), separator=", ")
