"""The rows of a batch that a stack of operations computes."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.ops.host import on_host

_HIDDEN = -10000.0  # what transformers adds to the scores of padding


class Rows:
    """A batch [B, L, H] as operations take it, and the way back.

    Args:
        x: [B, L, H].
        padding: bool [B, L], True at padding; None: there is none.
        remove_padding: whether padding has no rows, and comes back as zeros; else every position
            is a row, as in the layers of other libraries, but padding has to be at the end.
    """

    def __init__(self, x: tf.Tensor, padding: Optional[tf.Tensor], remove_padding: bool):
        self._shape = x.shape
        self._batch_and_length = tf.shape(x)[:2]
        self._packed = padding is not None and remove_padding
        if self._packed:
            (self.layout,) = ops.pack_layouts([padding])
            self.values = ops.pack(x, self.layout)
        else:
            if padding is None:
                padding = tf.zeros(self._batch_and_length, tf.bool)
            self.layout = ops.dense_layout(padding)
            self.values = tf.reshape(x, [-1, x.shape[-1]])

    def padded(self, rows: tf.Tensor) -> tf.Tensor:
        """[B, L, H] of [R, H]."""
        if self._packed:
            batch = ops.unpack(rows, self.layout, self._batch_and_length)
        else:
            batch = tf.reshape(rows, [*tf.unstack(self._batch_and_length), rows.shape[-1]])
        return tf.ensure_shape(batch, self._shape)


def is_padding_mask(mask: Optional[tf.Tensor]) -> bool:
    """Whether an additive mask is the same for all heads and queries: None or [B, 1, 1, L]."""
    return mask is None or (mask.shape.rank == 4 and mask.shape[1] == mask.shape[2] == 1)


def padding_of(mask: Optional[tf.Tensor]) -> Optional[tf.Tensor]:
    """Where an additive mask [B, 1, 1, L] hides a position: bool [B, L]; None of None.

    Raises:
        tf.errors.InvalidArgumentError: the mask does anything else than to hide positions or not.
    """
    if mask is None:
        return None
    with on_host():
        mask = tf.squeeze(mask, [1, 2])
        padding = tf.equal(mask, tf.cast(_HIDDEN, mask.dtype))
        all_or_nothing = tf.reduce_all(tf.logical_or(padding, tf.equal(mask, 0)))
        check = tf.debugging.Assert(
            all_or_nothing,
            [
                "an accelerated model expects an attention_mask of zeros and ones, got one that"
                " adds to attention scores:",
                mask,
            ],
        )
        with tf.control_dependencies([] if check is None else [check]):
            return tf.identity(padding)
