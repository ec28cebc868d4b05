"""Random numbers that depend on what they are for and on nothing else: Philox, as Gumbel noise.

The same numbers as those of `gumbel_noise` of tf_ls/testing/reference_search.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

WORDS = 4  # that a counter gives

_MASK = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


class Draw(NamedTuple):
    """What the noise of R rows is for."""

    seed: tf.Tensor
    """int64 [], not negative."""

    step: tf.Tensor
    """int64 [], the position of the token in its hypothesis, from 0."""

    samples: tf.Tensor
    """int64 [R], which of a sentence's samples each row is."""

    sentences: tf.Tensor
    """int64 [R], the sentence of each, by its row in the batch."""


def noise_of_vocabulary(draw: Draw, size: tf.Tensor) -> tf.Tensor:
    """Returns the noise float64 [R, V] of all tokens of a vocabulary of a size []."""
    words = _words(draw, tf.range((size + WORDS - 1) // WORDS)[tf.newaxis])
    return _gumbel(tf.reshape(words, [tf.shape(words)[0], -1])[:, :size])


def noise_of_tokens(draw: Draw, tokens: tf.Tensor) -> tf.Tensor:
    """Returns the noise float64 [R, n] of tokens int64 [R, n]."""
    words = _words(draw, tokens // WORDS)
    return _gumbel(tf.gather(words, tokens % WORDS, axis=2, batch_dims=2))


def _gumbel(words: tf.Tensor) -> tf.Tensor:
    uniform = (tf.cast(words, tf.float64) + 0.5) / 2.0**32
    return -tf.math.log(-tf.math.log1p(-uniform))


def _words(draw: Draw, quads: tf.Tensor) -> tf.Tensor:
    """Returns the four words [R, n, 4] of counters whose first words are given [R or 1, n]."""
    of_row = [draw.samples[:, tf.newaxis], draw.sentences[:, tf.newaxis]]
    shape = tf.broadcast_dynamic_shape(tf.shape(quads), tf.shape(of_row[0]))
    counter = [tf.broadcast_to(word, shape) for word in (quads, draw.step, *of_row)]
    return tf.stack(philox(draw.seed, counter), axis=-1)


def philox(key: tf.Tensor, counter: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the four random words of counters of four words, of one shape [...].

    Philox 4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Words are
    int64 tensors of 32-bit words; their products' 64 bits wrap around into the sign.
    """
    xor = tf.bitwise.bitwise_xor
    rank = counter[0].shape.rank
    pair = [2] + [1] * rank
    keys = tf.stack([_low(key), _high(key)]) + tf.range(_ROUNDS, dtype=tf.int64)[:, None] * _WEYL
    keys = tf.reshape(_low(keys), [_ROUNDS, *pair])

    def mix(i: tf.Tensor, even: tf.Tensor, odd: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """One round of words 0 and 2, and 1 and 3: [2, ...] each."""
        products = even * tf.reshape(tf.constant(_MULTIPLIERS, tf.int64), pair)
        even = xor(xor(tf.reverse(_high(products), [0]), odd), keys[i])
        return i + 1, even, tf.reverse(_low(products), [0])

    words = [tf.constant(0), tf.stack(counter[::2]), tf.stack(counter[1::2])]
    _, even, odd = tf.while_loop(lambda i, *_: i < _ROUNDS, mix, words)
    return [even[0], odd[0], even[1], odd[1]]


def _low(x: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(x, tf.constant(_MASK, tf.int64))


def _high(x: tf.Tensor) -> tf.Tensor:
    return _low(tf.bitwise.right_shift(x, tf.constant(32, tf.int64)))  # which keeps the sign
