"""A Transformer in stock operations: its encoder, and its decoder one position at a time.

What a layer is, is the operations' (`ops.encoder_layer`, `ops.decoder_layer`), and so are weights.
Norms, softmax and logits are computed in float32, whatever the rest is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.portable.checks import require
from tf_ls.ops.layer_attributes import check_layer

KeysAndValues = tuple[tf.Tensor, tf.Tensor]  # [., heads, positions, head size] each


# Embedding ---------------------------------------------------------------------------------------


def _positional(positions: Any, places: tf.Tensor, hidden: int) -> tf.Tensor:
    """Returns what is added to embeddings at places [n], float32 [n, H] or a scalar 0."""
    if positions is None:
        return tf.constant(0.0)
    if not isinstance(positions, str):
        return tf.cast(tf.gather(positions, places), tf.float32)
    waves = hidden // 2
    step = math.log(1e4) / (waves - 1) if waves > 1 else 0.0
    frequencies = tf.exp(-step * tf.range(waves, dtype=tf.float64))
    angles = tf.cast(places, tf.float64)[:, tf.newaxis] * frequencies
    signal = tf.concat([tf.sin(angles), tf.cos(angles)], axis=1)
    return tf.cast(tf.pad(signal, [[0, 0], [0, hidden % 2]]), tf.float32)


def _embed(part: Any, ids: tf.Tensor, places: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns [..., n, H] of ids [..., n], each at one of places [n] or [1]."""
    words = tf.cast(tf.gather(part.table, ids), tf.float32)
    hidden = part.table.shape[1]
    x = tf.cast(words * part.scale + _positional(part.positions, places, hidden), dtype)
    return x if part.embedding_norm is None else _norm(x, *part.embedding_norm, part.epsilon)


# Layers ------------------------------------------------------------------------------------------


def _read(weights: Sequence[tf.Tensor], dtype: tf.DType) -> list[tf.Tensor]:
    return [tf.cast(tf.convert_to_tensor(weight), dtype) for weight in weights]


def _norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    wide = tf.cast(x, tf.float32)
    centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normalized = centred * tf.math.rsqrt(variance + epsilon)
    scaled = normalized * tf.cast(gamma, tf.float32) + tf.cast(beta, tf.float32)
    return tf.cast(scaled, x.dtype)


def _dense(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """x [R, n], or [B, L, n] as one product of rows: tf.matmul would make one for each sentence."""
    if x.shape.rank == 2:
        return tf.matmul(x, kernel) + bias
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(kernel)[1:]], axis=0)
    rows = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel) + bias
    return tf.ensure_shape(tf.reshape(rows, shape), [*x.shape[:-1], kernel.shape[1]])


def _activate(x: tf.Tensor, activation: str) -> tf.Tensor:
    if activation in ("relu", "tanh", "silu"):
        return getattr(tf.nn, activation)(x)
    return tf.nn.gelu(x, approximate=activation == "gelu")


def _residual(
    part: Any, x: tf.Tensor, norm: Sequence[tf.Tensor], function: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    if part.pre_norm:
        return x + function(_norm(x, *norm, part.epsilon))
    return _norm(x + function(x), *norm, part.epsilon)


def _feed_forward(part: Any, x: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
    *norm, kernel1, bias1, kernel2, bias2 = weights
    activation = check_layer(weights, part.num_heads, part.activation)

    def function(y: tf.Tensor) -> tf.Tensor:
        return _dense(_activate(_dense(y, kernel1, bias1), activation), kernel2, bias2)

    return _residual(part, x, norm, function)


def _heads(x: tf.Tensor, count: int) -> tf.Tensor:
    """[B, n, H] as [B, heads, n, head size]."""
    shape = tf.shape(x)
    split = tf.reshape(x, [shape[0], shape[1], count, x.shape[2] // count])
    return tf.transpose(split, [0, 2, 1, 3])


def _merged(x: tf.Tensor) -> tf.Tensor:
    """[B, heads, n, head size] as [B, n, H]."""
    shape = tf.shape(x)
    return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [shape[0], shape[2], x.shape[1] * x.shape[3]])


def _attend(
    queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, visible: Optional[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns contexts [B, heads, n, head size] and the weights float32 [B, heads, n, positions].

    visible: bool, broadcasts to the weights' shape; a query that sees nothing gets zeros. None: all
    see all.
    """
    scale = queries.shape[-1] ** -0.5
    logits = tf.cast(tf.matmul(queries * scale, keys, transpose_b=True), tf.float32)
    if visible is None:
        weights = tf.nn.softmax(logits)
    else:
        weights = tf.nn.softmax(tf.where(visible, logits, logits.dtype.min))
        weights = tf.where(visible, weights, 0.0)
    return tf.matmul(tf.cast(weights, values.dtype), values), weights


# The encoder -------------------------------------------------------------------------------------


def encode(encoder: ops.Encoder, ids: tf.Tensor, padding: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns what a decoder attends to, [B, S, H]; of no meaning at padding. Tokens are of type 0.

    Args:
        encoder: whose weights are of any dtype.
        ids: int64 [B, S]. Those at padding may be anything.
        padding: bool [B, S], True at padding, which may be anywhere.
        dtype: float32 or bfloat16, what to compute in.

    Raises:
        tf.errors.InvalidArgumentError: an id is not in the vocabulary, a sentence is longer than
            the table of positions.
    """
    ids = _checked_ids(encoder, ids, padding)
    places = tf.range(tf.shape(ids)[1])
    visible = ~padding[:, tf.newaxis, tf.newaxis]
    if encoder.causal:
        visible &= places[:, tf.newaxis] >= places
    if tf.is_tensor(encoder.positions):
        places = tf.minimum(places, tf.shape(encoder.positions)[0] - 1)  # where padding may be
    x = _embed(encoder, ids, places, dtype)
    for layer in encoder.layers:
        weights = _read(layer, dtype)

        def attend(y: tf.Tensor, weights=weights) -> tf.Tensor:
            qkv = tf.split(_dense(y, *weights[2:4]), 3, axis=-1)
            context, _ = _attend(*(_heads(part, encoder.num_heads) for part in qkv), visible)
            return _dense(_merged(context), *weights[4:6])

        x = _residual(encoder, x, weights[:2], attend)
        x = _feed_forward(encoder, x, weights[6:])
    return x if encoder.norm is None else _norm(x, *encoder.norm, encoder.epsilon)


def _checked_ids(encoder: ops.Encoder, ids: tf.Tensor, padding: tf.Tensor) -> tf.Tensor:
    vocabulary = tf.shape(encoder.table, tf.int64)[0]
    bad = tf.where(~padding & ((ids < 0) | (ids >= vocabulary)))[:1]
    requirements = require(
        tf.size(bad) == 0,
        *("ids must be from 0 to ", vocabulary - 1, " in a vocabulary of ", vocabulary),
        *(", got ", tf.gather_nd(ids, bad), " at [", bad, "]"),
    )
    if tf.is_tensor(encoder.positions):
        rows = tf.shape(encoder.positions, tf.int64)[0] // encoder.token_types
        behind = tf.where(~padding & (tf.range(tf.shape(ids, tf.int64)[1]) >= rows))[:1]
        requirements += require(
            tf.size(behind) == 0,
            *("the table of positions has ", rows, " rows, but there is a token at [", behind, "]"),
        )
    with tf.control_dependencies(requirements):
        return tf.where(padding, tf.zeros_like(ids), ids)


# The decoder -------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What one position of R rows gives."""

    logits: tf.Tensor
    """float32 [R, V]."""

    attention: tf.Tensor
    """float32 [R, S], the last layer's cross-attention, averaged over the heads."""

    caches: list[KeysAndValues]
    """Of each layer: the positions so far."""


class DecoderSteps:
    """A decoder that attends to sentences, of which it has made keys and values once.

    Rows are hypotheses, those of one sentence side by side, as many of each.
    """

    def __init__(
        self, decoder: ops.Decoder, memory: tf.Tensor, padding: tf.Tensor, rows: tf.Tensor
    ):
        """Reads the weights, and computes in the memory's dtype, float32 or bfloat16.

        Args:
            decoder: whose weights are of any dtype.
            memory: [B, S, M].
            padding: bool [B, S], True where the memory has padding.
            rows: how many each sentence has.
        """
        self._decoder = decoder
        self._dtype = memory.dtype
        size = decoder.table.shape[1] // decoder.num_heads
        # The shape of all heads, and of rows by sentence.
        self._shape = tf.stack([tf.shape(memory, tf.int64)[0], rows, decoder.num_heads, size])
        self._visible = ~padding[:, tf.newaxis, tf.newaxis]
        self._layers = [_read(layer, self._dtype) for layer in decoder.layers]
        self._norm = None if decoder.norm is None else _read(decoder.norm, tf.float32)
        output = decoder.table if decoder.output_weights is None else decoder.output_weights
        [self._output] = _read([output], tf.float32)
        self._bias = decoder.output_bias
        self._memories = [
            self._keys_and_values(memory, *weights[10:12]) for weights in self._layers
        ]

    def _keys_and_values(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> KeysAndValues:
        keys, values = tf.split(_dense(x, kernel, bias), 2, axis=-1)
        heads = self._decoder.num_heads
        return _heads(keys, heads), _heads(values, heads)

    def empty_caches(self) -> list[KeysAndValues]:
        """Returns caches without positions."""
        heads, hidden = self._decoder.num_heads, self._decoder.table.shape[1]
        rows = self._shape[0] * self._shape[1]
        empty = tf.zeros([rows, heads, 0, hidden // heads], self._dtype)
        return [(empty, empty) for _ in self._layers]

    def __call__(self, tokens: tf.Tensor, position: tf.Tensor, caches: list[KeysAndValues]) -> Step:
        """Makes the next position of all rows.

        Args:
            tokens: int64 [R], of the vocabulary.
            position: int64 [], of the tokens.
            caches: the positions before.
        """
        decoder = self._decoder
        x = _embed(decoder, tokens, position[tf.newaxis], self._dtype)
        weights_of_memory, new_caches = None, []
        for weights, cache, memory in zip(self._layers, caches, self._memories):
            x, cache = self._self_attention(x, weights[:6], cache)
            x, weights_of_memory = self._cross_attention(x, weights[6:14], memory)
            x = _feed_forward(decoder, x, weights[14:])
            new_caches.append(cache)
        attention = tf.reduce_mean(weights_of_memory, axis=1)
        attention = tf.reshape(attention, tf.stack([tf.size(tokens), tf.shape(attention)[2]]))
        if self._norm is not None:
            x = _norm(x, *self._norm, decoder.epsilon)
        logits = tf.matmul(tf.cast(x, tf.float32), self._output, transpose_b=True)
        if self._bias is not None:
            logits += tf.cast(self._bias, tf.float32)
        return Step(logits, attention, new_caches)

    def _self_attention(
        self, x: tf.Tensor, weights: Sequence[tf.Tensor], cache: KeysAndValues
    ) -> tuple[tf.Tensor, KeysAndValues]:
        *norm, kernel, bias, out_kernel, out_bias = weights
        extended = []

        def attend(y: tf.Tensor) -> tf.Tensor:
            heads, hidden = self._decoder.num_heads, y.shape[1]
            shape = [-1, 3, heads, 1, hidden // heads]
            queries, *added = tf.unstack(tf.reshape(_dense(y, kernel, bias), shape), axis=1)
            extended[:] = [tf.concat(pair, axis=2) for pair in zip(cache, added)]
            context, _ = _attend(queries, *extended, visible=None)
            return _dense(tf.reshape(context, [-1, hidden]), out_kernel, out_bias)

        y = _residual(self._decoder, x, norm, attend)
        return y, tuple(extended)

    def _cross_attention(
        self, x: tf.Tensor, weights: Sequence[tf.Tensor], memory: KeysAndValues
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x [R, H], and with what weights [B, heads, rows, S] it attended."""
        *norm, kernel, bias, _, _, out_kernel, out_bias = weights
        attention = []

        def attend(y: tf.Tensor) -> tf.Tensor:
            by_sentence = tf.reshape(_dense(y, kernel, bias), self._shape)
            queries = tf.transpose(by_sentence, [0, 2, 1, 3])
            context, weights = _attend(queries, *memory, visible=self._visible)
            attention.append(weights)
            context = tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [-1, y.shape[1]])
            return _dense(context, out_kernel, out_bias)

        y = _residual(self._decoder, x, norm, attend)
        return y, attention[0]
