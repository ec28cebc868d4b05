"""Encoding: from sentences to what a decoder attends to."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.embedding import embedding
from tf_ls.ops.encoder import Encoder
from tf_ls.ops.encoder_layer import encoder_layer
from tf_ls.ops.host import int64, on_host
from tf_ls.ops.int8_weight import scales_of
from tf_ls.ops.layer_norm import layer_norm
from tf_ls.ops.packed_encoder import PackedEncoder
from tf_ls.ops.packing import pack_layouts, unpack


class Encoded(NamedTuple):
    """B encoded sentences, as `generate` takes them."""

    memory: tf.Tensor
    """[B, S, H], the tokens of each sentence side by side; zeros behind them."""

    lengths: tf.Tensor
    """int64 [B], how many tokens each has."""


def encode(
    encoder: Encoder | PackedEncoder,
    ids: tf.Tensor,
    padding: tf.Tensor,
    *,
    types: tf.Tensor | None = None,
    dtype: tf.DType | str | None = None,
) -> Encoded:
    """Encodes sentences, with a PackedEncoder in one operation.

    The weights of an Encoder are read, cast and laid out for products in each call, those of a
    PackedEncoder were when it was packed.

    Args:
        encoder: the model.
        ids: integers [B, S].
        padding: bool [B, S], True at padding, which may be anywhere and is neither read nor
            computed. A token's position is its place in its row.
        types: integers [B, S], the type of each token (BERT's segments), of an encoder with
            `token_types`; None: all are of type 0. Those at padding may be anything.
        dtype: what to compute in, and of the memory; None: the table's dtype, or that of the
            PackedEncoder, which has no other.

    Returns:
        What layers attend to. It has no gradient if the encoder is packed.

    Raises:
        tf.errors.InvalidArgumentError: shapes that do not fit each other, an id that is not in the
            vocabulary, a type that is not among the encoder's, a sentence that is longer than the
            table of positions, another dtype than the PackedEncoder's.
        ValueError: the same, where it is known when a graph is built; an Encoder with matrices in
            int8.
        TypeError: ids or types that are no integers.
    """
    if isinstance(encoder, PackedEncoder):
        return _encode_packed(encoder, ids, padding, types, tf.as_dtype(dtype or encoder.dtype))
    if scales_of([encoder.table, *(weight for layer in encoder.layers for weight in layer)]):
        raise ValueError(
            "an encoder with matrices in int8 encodes when it is packed: PackedEncoder"
        )
    with on_host():
        lengths = tf.reduce_sum(tf.cast(~padding, tf.int64), axis=1)
        shape = tf.shape(padding)
        # The same rows in the same order, once where they come from and once where they go to.
        layout, side_by_side = pack_layouts([padding, ~tf.sequence_mask(lengths, shape[1])])
    rows = embedding(
        ids,
        encoder.table,
        indices=layout,
        scale=encoder.scale,
        positions=encoder.positions,
        types=types,
        token_types=encoder.token_types,
        dtype=dtype,
    )
    rows = _normalized(rows, encoder.embedding_norm, encoder.epsilon)
    for weights in encoder.layers:
        rows = encoder_layer(
            rows,
            layout,
            weights,
            num_heads=encoder.num_heads,
            pre_norm=encoder.pre_norm,
            activation=encoder.activation,
            epsilon=encoder.epsilon,
            causal=encoder.causal,
        )
    rows = _normalized(rows, encoder.norm, encoder.epsilon)
    return Encoded(unpack(rows, side_by_side, shape), lengths)


def _normalized(
    rows: tf.Tensor, norm: tuple[tf.Tensor, tf.Tensor] | None, epsilon: float
) -> tf.Tensor:
    if norm is None:
        return rows
    gamma, beta = (tf.cast(parameter, tf.float32) for parameter in norm)
    return layer_norm(rows, gamma, beta, epsilon)


def _encode_packed(
    encoder: PackedEncoder,
    ids: tf.Tensor,
    padding: tf.Tensor,
    types: tf.Tensor | None,
    dtype: tf.DType,
) -> Encoded:
    with on_host():
        ids = int64(ids, "ids")
        types = [] if types is None else [int64(types, "types")]
    encoded = library.ops.ls_encode_packed(
        ids=ids, padding=padding, types=types, encoder=encoder.resource_handle, T=dtype
    )
    memory = tf.ensure_shape(encoded.memory, [None, None, encoder.encoder.table.shape[1]])
    return Encoded(memory, encoded.lengths)


tf.no_gradient("LSEncodePacked")
