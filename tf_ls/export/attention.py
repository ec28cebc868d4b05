"""Attention that is read beside the ids that it belongs to."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.ops.host import on_host


def at_positions(attention: tf.Tensor, padding: tf.Tensor) -> tf.Tensor:
    """Returns attention with a column for each position of the ids, zero at padding.

    Args:
        attention: float32 [B, n, T, S]; its source positions count tokens, without padding.
        padding: bool [B, S], True at padding, wherever it is.
    """
    with on_host():
        place = tf.maximum(tf.cumsum(tf.cast(~padding, tf.int32), axis=1) - 1, 0)
        spread = tf.gather(attention, place, axis=3, batch_dims=1)
        return tf.where(padding[:, tf.newaxis, tf.newaxis], 0.0, spread)
