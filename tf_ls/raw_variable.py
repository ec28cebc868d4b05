"""What operations read of a Keras variable."""

from __future__ import annotations

import tensorflow as tf


def raw(variable: tf.Variable) -> tf.Variable:
    """The float32 variable behind one that casts itself under a mixed precision policy."""
    inner = getattr(variable, "_variable", None)
    return variable if inner is None else inner
