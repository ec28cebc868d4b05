"""Rows of tokens without padding between them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_ls.library import library


class RowLayout(NamedTuple):
    """Which rows belong to which sentence.

    Attributes:
        offsets: int32 [B + 1], the row where each sentence begins; the last one is the number of
            rows that belong to a sentence.
        lengths: int32 [B], how many rows of each sentence may be attended to, its first ones.
        indices: int32 [R], the position b * L + l of each row in the padded tensor [B, L]; -1 for a
            row that belongs to no sentence.
    """

    offsets: tf.Tensor
    lengths: tf.Tensor
    indices: tf.Tensor


def pack_layouts(paddings: Sequence[tf.Tensor]) -> list[RowLayout]:
    """Layouts that leave padding out, one for each tensor of paddings.

    Args:
        paddings: tensors [B, L] of one dtype (float32, float16, bfloat16, int32, int64 or bool),
            nonzero where a position is padding; anywhere in a sentence.

    Returns:
        A RowLayout for each, its number of rows rounded up to a multiple of 64.

    Raises:
        tf.errors.InvalidArgumentError: if a padding is not of rank 2, or has a NaN.
    """
    return _layouts(paddings, packed=True)


def dense_layout(padding: tf.Tensor) -> RowLayout:
    """A layout that keeps every position as a row, but lets none attend to padding.

    Args:
        padding: as for `pack_layouts`; padding must come last in each sentence.

    Raises:
        tf.errors.InvalidArgumentError: also if padding comes before a token.
    """
    return _layouts([padding], packed=False)[0]


def _layouts(paddings: Sequence[tf.Tensor], packed: bool) -> list[RowLayout]:
    if not paddings:
        raise ValueError("paddings must be at least one tensor, got none")
    outputs = library.ops.ls_layout(
        paddings=[tf.convert_to_tensor(padding) for padding in paddings], packed=packed
    )
    return [RowLayout(*parts) for parts in zip(outputs.offsets, outputs.lengths, outputs.indices)]


tf.no_gradient("LSLayout")


def pack(x: tf.Tensor, layout: RowLayout) -> tf.Tensor:
    """Takes the rows of a layout out of a padded tensor.

    Args:
        x: [B, L, H], float32, float16 or bfloat16.
        layout: of R rows.

    Returns:
        [R, H]; zeros in rows that belong to no sentence.

    Raises:
        tf.errors.InvalidArgumentError: if the layout is not one of [B, L].
    """
    return library.ops.ls_pack(x=x, indices=layout.indices)


@tf.RegisterGradient("LSPack")
def _pack_gradient(op: tf.Operation, dy: tf.Tensor):
    x, indices = op.inputs
    return library.ops.ls_unpack(x=dy, indices=indices, batch_and_length=tf.shape(x)[:2]), None


def unpack(x: tf.Tensor, layout: RowLayout, batch_and_length: tf.Tensor) -> tf.Tensor:
    """Puts rows back to where `pack` took them from.

    Args:
        x: [R, H], float32, float16 or bfloat16.
        layout: of R rows.
        batch_and_length: int32 [2], the B and L of the result.

    Returns:
        [B, L, H]; zeros where no row belongs.

    Raises:
        tf.errors.InvalidArgumentError: if the layout does not fit R, B and L.
    """
    return library.ops.ls_unpack(x=x, indices=layout.indices, batch_and_length=batch_and_length)


@tf.RegisterGradient("LSUnpack")
def _unpack_gradient(op: tf.Operation, dy: tf.Tensor):
    return library.ops.ls_pack(x=dy, indices=op.inputs[1]), None, None
