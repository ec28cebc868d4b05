"""What ranks hypotheses: sums of log-probabilities, divided by a penalty, and coverage."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.export.portable.options import Options

_LEAST_COVERAGE = 1e-6


def scores(
    options: Options,
    log_probs: tf.Tensor,
    lengths: tf.Tensor,
    coverage_penalties: tf.Tensor,
    has_eos: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns the scores float64 [...] of hypotheses, which broadcast.

    Args:
        options: see there.
        log_probs: float64, sums; -inf where there is no hypothesis.
        lengths: int64.
        coverage_penalties: float64, see below.
        has_eos: bool, whether EOS is the last token. None: for the ranking in the search, where
            nobody asks.
    """
    divisors = _length_divisors(options, tf.cast(lengths, tf.float64), has_eos)
    divided = tf.where(divisors == 0, tf.constant(float("-inf"), tf.float64), log_probs / divisors)
    return divided + coverage_penalties


def _length_divisors(options: Options, lengths: tf.Tensor, has_eos: tf.Tensor | None) -> tf.Tensor:
    alpha = options.length_penalty_alpha
    ones = tf.ones_like(lengths)
    without_eos = ones if has_eos is None else lengths - tf.cast(has_eos, tf.float64)
    wu = ((5 + lengths) / 6) ** alpha
    divisors = {
        "neurst": tf.where(alpha < 0, lengths, wu),
        "lightseq": tf.where(alpha < 0, without_eos, wu),
        "exponent": lengths**alpha,
    }
    chosen = ones
    for name, values in divisors.items():
        chosen = tf.where(options.length_penalty == name, values, chosen)
    return chosen


def coverage_penalties(options: Options, coverage: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    """Returns what coverage adds to scores, float64 [N, K].

    Args:
        options: see there.
        coverage: float32 [N, K, S], the attention that each source position got.
        visible: bool [N, 1, S], False at padding.
    """
    logs = tf.math.log(tf.clip_by_value(tf.cast(coverage, tf.float64), _LEAST_COVERAGE, 1.0))
    return options.coverage_penalty * tf.reduce_sum(tf.where(visible, logs, 0.0), axis=2)
