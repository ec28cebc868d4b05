"""What options do to logits: repetition is penalized, tokens are excluded."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.export.portable.options import Options

_EXCLUDED = float("-inf")


def penalize_repetition(logits: tf.Tensor, tokens: tf.Tensor, options: Options) -> tf.Tensor:
    """Returns logits [R, V] in which those of tokens [R, t] are divided or multiplied."""

    def penalized() -> tf.Tensor:
        penalty = options.repetition_penalty
        seen = tf.gather(logits, tokens, batch_dims=1)
        changed = tf.where(seen > 0, seen / penalty, seen * penalty)
        return tf.tensor_scatter_nd_update(logits, _places(tokens), changed)  # equals of equals

    return tf.cond(options.repetition_penalty == 1, lambda: logits, penalized)


def exclude(logits: tf.Tensor, tokens: tf.Tensor, options: Options) -> tf.Tensor:
    """Returns logits [R, V] with -inf where a token may not follow tokens [R, t]."""
    vocabulary = tf.shape(logits, tf.int64)[1:]
    too_short = tf.shape(tokens, tf.int64)[1] + 1 < options.min_length
    forbidden = tf.concat(
        [options.forbidden_tokens, tf.boolean_mask(options.eos[tf.newaxis], too_short[tf.newaxis])],
        axis=0,
    )
    never = tf.tensor_scatter_nd_update(
        tf.zeros(vocabulary), forbidden[:, tf.newaxis], tf.fill(tf.shape(forbidden), _EXCLUDED)
    )
    return tf.cond(
        options.no_repeat_ngram_size == 0,
        lambda: logits + never,
        lambda: _exclude_repeating(logits + never, tokens, options.no_repeat_ngram_size),
    )


def _exclude_repeating(logits: tf.Tensor, tokens: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Excludes tokens that would complete an n-gram of a size that is there already."""
    length = tf.shape(tokens, tf.int64)[1]
    size = tf.minimum(size, length + 1)  # of which there is none either
    # The n-grams that there are, and what would be the first n - 1 tokens of the next.
    starts = tf.range(length - size + 1)
    heads = tf.gather(tokens, starts[:, tf.newaxis] + tf.range(size - 1), axis=1)
    last = tokens[:, tf.newaxis, length - size + 1 :]
    repeats = tf.reduce_all(heads == last, axis=2)
    ends = tf.gather(tokens, starts + size - 1, axis=1)
    bounds = tf.where(repeats, _EXCLUDED, float("inf"))
    return tf.tensor_scatter_nd_min(logits, _places(ends), bounds)


def _places(tokens: tf.Tensor) -> tf.Tensor:
    """Returns the places [R, t, 2] of tokens [R, t] in rows of logits."""
    rows = tf.range(tf.shape(tokens, tf.int64)[0])[:, tf.newaxis] + tf.zeros_like(tokens)
    return tf.stack([rows, tokens], axis=-1)
