"""Hypotheses of N searches side by side, and choosing among them.

A place without a hypothesis has a log-probability of -inf, and so has a continuation that a
hypothesis does not have.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

NONE = float("-inf")


class Beams(NamedTuple):
    """What searches have in their beams of K places."""

    tokens: tf.Tensor
    """int64 [N, K, t], EOS behind the end."""

    lengths: tf.Tensor
    """int64 [N, K]."""

    log_probs: tf.Tensor
    """float64 [N, K], sums."""

    ended: tf.Tensor
    """bool [N, K], by EOS, or because no token may follow; not by the maximum length."""

    has_eos: tf.Tensor
    """bool [N, K]."""

    coverage: tf.Tensor
    """float32 [N, K, S], the attention that each source position got."""

    @property
    def exist(self) -> tf.Tensor:
        return self.log_probs > NONE


class Continuations(NamedTuple):
    """What the hypotheses of beams may become, C of each, best first; the first may be itself."""

    beams: Beams
    """What is continued."""

    lengths: tf.Tensor
    """int64 [N, K], of all continuations of a hypothesis."""

    coverage: tf.Tensor
    """float32 [N, K, S], likewise."""

    stays: tf.Tensor
    """bool [N, K], whether a hypothesis has ended, so that its only continuation is itself."""

    each: tf.Tensor
    """int64 [], C."""

    tokens: tf.Tensor
    """int64 [N, K * C], EOS for a hypothesis that stays."""

    log_probs: tf.Tensor
    """float64 [N, K * C], sums."""

    ends: tf.Tensor
    """bool [N, K * C], as `Beams.ended`."""

    def parents(self, places: tf.Tensor) -> tf.Tensor:
        """Returns which hypotheses [N, n] are continued at places, see `take`."""
        return places // self.each

    def take(self, places: tf.Tensor) -> Beams:
        """Returns the hypotheses that continuations become, places int64 [N, n] in 0 to K * C."""
        parents = self.parents(places)

        def of_parents(x: tf.Tensor) -> tf.Tensor:
            return tf.gather(x, parents, batch_dims=1)

        tokens, log_probs, ends = (
            tf.gather(x, places, batch_dims=1) for x in (self.tokens, self.log_probs, self.ends)
        )
        has_eos = tf.where(of_parents(self.stays), of_parents(self.beams.has_eos), ends)
        longer = tf.concat([of_parents(self.beams.tokens), tokens[..., tf.newaxis]], axis=2)
        lengths, coverage = of_parents(self.lengths), of_parents(self.coverage)
        return Beams(longer, lengths, log_probs, ends, has_eos, coverage)


class Found(NamedTuple):
    """Hypotheses to return, n places of each search."""

    tokens: tf.Tensor
    """int64 [N, n, t], EOS behind the end."""

    lengths: tf.Tensor
    """int64 [N, n]."""

    scores: tf.Tensor
    """float64 [N, n]."""

    exist: tf.Tensor
    """bool [N, n]."""

    def best(self, count: tf.Tensor) -> Found:
        """Returns the best, best first; of equals the earlier, and last what does not exist."""
        order = top(rank_keys(self.scores, self.exist), count)
        return Found(*(tf.gather(field, order, batch_dims=1) for field in self))

    def joined(self, others: Found, eos: tf.Tensor) -> Found:
        """Returns these and behind them others, whose tokens are no fewer."""
        missing = tf.shape(others.tokens)[2] - tf.shape(self.tokens)[2]
        padded = tf.pad(self.tokens, [[0, 0], [0, 0], [0, missing]], constant_values=eos)
        pairs = zip(self._replace(tokens=padded), others)
        return Found(*(tf.concat(pair, axis=1) for pair in pairs))


def rank_keys(values: tf.Tensor, exist: tf.Tensor) -> tf.Tensor:
    """Returns values to rank by, such that what exists comes before what does not."""
    return tf.where(exist, tf.maximum(values, values.dtype.min), NONE)


def top(keys: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns the places int64 [N, n] of the largest keys [N, .], of equals the first."""
    return tf.cast(tf.math.top_k(keys, tf.cast(count, tf.int32)).indices, tf.int64)
