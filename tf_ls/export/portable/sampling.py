"""The draw of a token: argmax(log-probability / T + Gumbel noise) of those that options leave."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.export.portable.noise import Draw, noise_of_tokens, noise_of_vocabulary
from tf_ls.export.portable.options import Options


def draw_tokens(logits: tf.Tensor, options: Options, draw: Draw) -> tf.Tensor:
    """Returns a token int64 [R] of each row.

    Args:
        logits: float32 [R, V], -inf where tokens are excluded. Where all are, any token comes.
        options: temperature, top_k and top_p.
        draw: which draw it is.
    """
    size = tf.shape(logits, tf.int64)[1]

    def of_all() -> tf.Tensor:
        largest = tf.reduce_max(logits, axis=1, keepdims=True)
        return tf.argmax(
            _scaled(logits, largest, options) + noise_of_vocabulary(draw, size), axis=1
        )

    def of_best() -> tf.Tensor:
        count = tf.where(options.top_k > 0, tf.minimum(options.top_k, size), size)
        best, tokens = tf.math.top_k(logits, tf.cast(count, tf.int32))
        tokens = tf.cast(tokens, tf.int64)
        scaled = _scaled(best, best[:, :1], options)
        scaled = tf.where(_within_top_p(scaled, options.top_p), scaled, float("-inf"))
        drawn = tf.argmax(scaled + noise_of_tokens(draw, tokens), axis=1)
        return tf.gather(tokens, drawn, batch_dims=1)

    return tf.cond((options.top_k > 0) | (options.top_p < 1), of_best, of_all)


def _scaled(logits: tf.Tensor, largest: tf.Tensor, options: Options) -> tf.Tensor:
    """Returns log-probabilities over temperature, but for a row's constant, float64."""
    largest = tf.where(tf.math.is_finite(largest), largest, 0.0)
    differences = tf.cast(logits, tf.float64) - tf.cast(largest, tf.float64)
    return differences / options.temperature


def _within_top_p(scaled: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """Returns bool [R, n], best first: whether those before add up to less than p."""
    weights = tf.exp(scaled)
    before = tf.cumsum(weights, axis=1, exclusive=True)
    return (top_p >= 1) | (before < top_p * tf.reduce_sum(weights, axis=1, keepdims=True))
