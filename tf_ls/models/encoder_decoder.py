"""A Transformer encoder-decoder as weights, whoever's they are, and generating with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_ls import ops
from tf_ls.ops.host import int64, on_host


class Memory(NamedTuple):
    """B encoded sentences."""

    values: tf.Tensor
    """[B, S, H], the tokens of each sentence side by side; zeros behind them."""

    lengths: tf.Tensor
    """int64 [B], how many tokens each has."""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The weights and the structure of an encoder, with what is in front of it and behind it.

    Weights are tensors or variables of one dtype, float32, float16 or bfloat16.
    """

    layers: Sequence[Sequence[tf.Tensor]]
    """The weights of each layer, as for `ops.encoder_layer`."""

    table: tf.Tensor
    """[V, H], the embedding of tokens."""

    num_heads: int
    """As pre_norm, activation, epsilon and causal: as for `ops.encoder_layer`."""

    scale: float = 1.0
    """What the table's numbers are multiplied by."""

    positions: tf.Tensor | str | None = None
    """As for `ops.embedding`."""

    norm: tuple[tf.Tensor, tf.Tensor] | None = None
    """gamma and beta [H] of a layer norm behind the last layer."""

    pre_norm: bool = True
    activation: str = "relu"
    epsilon: float = 1e-6
    causal: bool = False

    def __call__(self, ids: tf.Tensor, padding: tf.Tensor, dtype: tf.DType | str) -> Memory:
        """Encodes sentences.

        Args:
            ids: integers [B, S].
            padding: bool [B, S], True at padding, which may be anywhere and is neither read nor
                computed. A token's position is its place in its row.
            dtype: what to compute in, and of the memory.

        Raises:
            tf.errors.InvalidArgumentError: an id is not in the vocabulary.
        """
        with on_host():
            lengths = tf.reduce_sum(tf.cast(~padding, tf.int64), axis=1)
            shape = tf.shape(padding)
            # The same rows in the same order, once where they come from and once where they go to.
            layout, side_by_side = ops.pack_layouts([padding, ~tf.sequence_mask(lengths, shape[1])])
        rows = ops.embedding(
            ids,
            self.table,
            indices=layout,
            scale=self.scale,
            positions=self.positions,
            dtype=dtype,
        )
        for weights in self.layers:
            rows = ops.encoder_layer(
                rows,
                layout,
                weights,
                num_heads=self.num_heads,
                pre_norm=self.pre_norm,
                activation=self.activation,
                epsilon=self.epsilon,
                causal=self.causal,
            )
        if self.norm is not None:
            gamma, beta = (tf.cast(parameter, tf.float32) for parameter in self.norm)
            rows = ops.layer_norm(rows, gamma, beta, self.epsilon)
        return Memory(ops.unpack(rows, side_by_side, shape), lengths)


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """An encoder and a decoder that attends to it."""

    encoder: Encoder
    decoder: ops.Decoder | ops.PackedDecoder

    def generate(
        self,
        ids: tf.Tensor,
        padding: tf.Tensor,
        start: tf.Tensor | int,
        options: ops.SearchOptions,
        *,
        dtype: tf.DType | str,
        **more: Any,
    ) -> ops.Generated:
        """Encodes sentences once, and generates from them in one operation.

        Args:
            ids: integers [B, S].
            padding: bool [B, S], True at padding, which may be anywhere.
            start: the token in front of each sentence's hypotheses: an integer, or integers [B].
            options: what to generate.
            dtype: what to compute in: float32, bfloat16 or float16.
            **more: prefix, prefix_lengths and return_attention of `ops.generate`.

        Returns:
            The hypotheses. Attention's source positions count tokens, without padding.

        Raises:
            tf.errors.InvalidArgumentError: an id is not in the vocabulary, and what
                `ops.generate` raises.
        """
        memory = self.encoder(ids, padding, dtype)
        with on_host():
            start = tf.broadcast_to(int64(start, "start"), tf.shape(memory.lengths))
        return ops.generate(self.decoder, *memory, start, options, **more)
