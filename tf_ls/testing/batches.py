"""Ragged batches, in the layouts that the operations take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_ls import ops

LAYOUTS = ("packed", "dense")


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Returns float32 values that the dtype can represent."""
    return tf.cast(tf.cast(values, dtype), tf.float32).numpy()


@dataclasses.dataclass(frozen=True)
class Batch:
    """Sentences [B, L, width] with large numbers where there is padding; none may leak out."""

    values: np.ndarray
    lengths: Sequence[int]
    kind: str  # of layout

    @property
    def real(self) -> np.ndarray:
        """Returns bool [B, L], True at real tokens."""
        return np.arange(self.values.shape[1]) < np.asarray(self.lengths, int)[:, None]

    @property
    def padding(self) -> tf.Tensor:
        return tf.constant(~self.real)

    def layout(self) -> ops.RowLayout:
        if self.kind == "packed":
            return ops.pack_layouts([self.padding])[0]
        return ops.dense_layout(self.padding)

    def to_rows(self, values: tf.Tensor, layout: ops.RowLayout) -> tf.Tensor:
        """Returns [R, width] from [B, L, width]."""
        if self.kind == "packed":
            return ops.pack(values, layout)
        return tf.reshape(values, [-1, values.shape[-1]])

    def from_rows(self, rows: tf.Tensor, layout: ops.RowLayout) -> tf.Tensor:
        """Returns [B, L, width] from [R, width]; zeros at padding if packed."""
        batch_and_length = tf.constant(self.values.shape[:2], tf.int32)
        if self.kind == "packed":
            return ops.unpack(rows, layout, batch_and_length)
        return tf.reshape(rows, [*self.values.shape[:2], rows.shape[-1]])

    def without_padding(self, values: tf.Tensor) -> tf.Tensor:
        """Returns [B, L, ...] with zeros at padding if packed, as `from_rows` leaves them."""
        if self.kind != "packed":
            return values
        real = tf.reshape(self.real, [*self.real.shape, *[1] * (len(values.shape) - 2)])
        return tf.where(real, values, tf.zeros([], values.dtype))

    def cotangent(self, rng: np.random.Generator, width: int, dtype: str) -> np.ndarray:
        """Returns a gradient for the output [B, L, width]; zeros where packing leaves rows out."""
        cotangent = rounded(rng.normal(size=[*self.values.shape[:2], width]), dtype)
        return cotangent * self.real[..., None] if self.kind == "packed" else cotangent

    def each_sentence(self, function, width: int | None = None) -> np.ndarray:
        """Returns [B, L, ...]: function(sentence [n, width], keys, b) for each, rest zeros.

        A packed sentence has its real tokens; a dense one all L, of which `keys` are real. The
        result is [0, L, width] if there are no sentences, as wide as the batch unless given.
        """
        outputs = []
        for b, length in enumerate(self.lengths):
            n = length if self.kind == "packed" else self.values.shape[1]
            output = function(self.values[b, :n], length, b)
            pad = [(0, self.values.shape[1] - n), *[(0, 0)] * (output.ndim - 1)]
            outputs.append(np.pad(output, pad))
        if outputs:
            return np.stack(outputs)
        return np.zeros([*self.values.shape[:2], width or self.values.shape[2]])


def random_batch(
    rng: np.random.Generator,
    lengths: Sequence[int],
    width: int,
    *,
    kind: str = "packed",
    dtype: str = "float32",
    length: int | None = None,
) -> Batch:
    length = max([*lengths, 0]) if length is None else length
    values = rng.normal(size=[len(lengths), length, width])
    padding = np.arange(length) >= np.asarray(lengths, int)[:, None]
    values[padding] = 100.0 if kind == "packed" else values[padding] * 3.0
    return Batch(rounded(values, dtype), lengths, kind)
