"""A Transformer encoder-decoder as weights, whoever's they are, and generating with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tf_ls import ops
from tf_ls.ops.host import int64, on_host


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """An encoder and a decoder that attends to it."""

    encoder: ops.Encoder | ops.PackedEncoder
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
        encoded = ops.encode(self.encoder, ids, padding, dtype=dtype)
        with on_host():
            start = tf.broadcast_to(int64(start, "start"), tf.shape(encoded.lengths))
        return ops.generate(self.decoder, *encoded, start, options, **more)
