"""The options of a search, checked, as tensors that the loop reads."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.portable.checks import require
from tf_ls.ops.generation import option_tensors
from tf_ls.ops.search_options import LENGTH_PENALTIES, MAX_BEAM_SIZE, METHODS

_MOST = 2**31 - 1


class Options(NamedTuple):
    """What `ops.SearchOptions` says of all methods, as scalars (forbidden_tokens: a vector).

    A sample is a search of its own, with a beam of one. Without a comment: as in `SearchOptions`.
    """

    eos: tf.Tensor
    samples: tf.Tensor  # int64, of each sentence; 1 unless they are drawn
    draws: tf.Tensor  # bool, whether the method is sampling
    beam_size: tf.Tensor  # 1 for greedy and for sampling
    found: tf.Tensor  # int64, how many hypotheses a search returns
    length_penalty: tf.Tensor
    length_penalty_alpha: tf.Tensor
    coverage_penalty: tf.Tensor
    diversity: tf.Tensor  # 0 unless it is of the method
    early_stopping: tf.Tensor  # False unless it is of the method
    enough: tf.Tensor  # float64, how many finished hypotheses end a search with early_stopping
    repetition_penalty: tf.Tensor  # float32
    no_repeat_ngram_size: tf.Tensor
    min_length: tf.Tensor
    max_length: tf.Tensor
    max_extra_length: tf.Tensor  # -1 for none
    forbidden_tokens: tf.Tensor
    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    seed: tf.Tensor

    def length_limits(self, source_lengths: tf.Tensor) -> tf.Tensor:
        """Returns the lengths [B] at which hypotheses of sources of lengths int64 [B] end."""
        extra = tf.minimum(self.max_extra_length, _MOST)  # so that nothing overflows
        limits = tf.where(
            extra < 0, self.max_length, tf.minimum(self.max_length, source_lengths + extra)
        )
        return tf.maximum(limits, tf.maximum(self.min_length, 1))


def checked(options: ops.SearchOptions, vocabulary: tf.Tensor) -> Options:
    """Returns options for a vocabulary of a size int64 [].

    Raises:
        tf.errors.InvalidArgumentError: an option is out of its range; in the operation's words.
    """
    given = option_tensors(options)
    greedy, draws, diverse = (
        given["method"] == name for name in ("greedy", "sampling", "diverse_beam_search")
    )
    with tf.control_dependencies(_requirements(given, vocabulary)):
        given = {name: tf.identity(value) for name, value in given.items()}
    searches = ~(greedy | draws)
    count, one = given["num_hypotheses"], tf.constant(1, tf.int64)
    beam_size = tf.where(searches, given["beam_size"], 1)
    own = {name: given[name] for name in Options._fields if name in given}
    patient = tf.floor(given["patience"] * tf.cast(beam_size, tf.float64) + 0.5)
    return Options(
        **{
            **own,
            "samples": tf.where(draws, count, 1),
            "draws": draws,
            "beam_size": beam_size,
            "found": tf.where(draws, one, count),
            "diversity": tf.where(diverse, given["diversity"], 0.0),
            "early_stopping": given["early_stopping"] & searches,
            "enough": tf.maximum(tf.cast(count, tf.float64), patient),
            "repetition_penalty": tf.cast(given["repetition_penalty"], tf.float32),
        }
    )


def _requirements(given: dict[str, tf.Tensor], vocabulary: tf.Tensor) -> list:
    def check(name: str, holds: tf.Tensor, *expected) -> list:
        return require(holds, name, " must be ", *expected, ", got ", given[name])

    def integer(name: str, low: int, high=None) -> list:
        value = given[name]
        if high is None:
            return check(name, value >= low, f"at least {low}")
        return check(name, (value >= low) & (value <= high), f"from {low} to ", high)

    def number(name: str, holds: tf.Tensor, expected: str) -> list:
        return check(name, tf.math.is_finite(given[name]) & holds, expected)

    def one_of(name: str, names: tuple[str, ...]) -> list:
        listed = f"{', '.join(names[:-1])} or {names[-1]}"
        return check(name, tf.reduce_any(given[name] == tf.constant(names)), listed)

    def token(name: str) -> list:
        tokens = tf.reshape(given[name], [-1])
        bad = tf.boolean_mask(tokens, (tokens < 0) | (tokens >= vocabulary))
        expected = (" must be from 0 to ", vocabulary - 1, " in a vocabulary of ", vocabulary)
        return require(tf.size(bad) == 0, name, *expected, ", got ", bad)

    method, alpha, penalty = (
        given[name] for name in ("method", "length_penalty_alpha", "repetition_penalty")
    )
    any_number = tf.constant(_MOST, tf.int64)
    of_search = tf.where(method == "greedy", tf.constant(1, tf.int64), given["beam_size"])
    most = tf.where(method == "sampling", any_number, of_search)
    may_be_negative = (given["length_penalty"] == "neurst") | (
        given["length_penalty"] == "lightseq"
    )
    single = tf.cast(penalty, tf.float32)  # as it is used
    requirements = [
        token("eos"),
        one_of("method", METHODS),
        integer("beam_size", 1, tf.constant(MAX_BEAM_SIZE, tf.int64)),
        integer("num_hypotheses", 1, most),
        one_of("length_penalty", LENGTH_PENALTIES),
        number("length_penalty_alpha", tf.abs(alpha) <= 10, "from -10 to 10"),
        check(
            "length_penalty_alpha",
            (alpha >= 0) | may_be_negative,
            "at least 0 unless length_penalty is neurst or lightseq",
        ),
        number("coverage_penalty", given["coverage_penalty"] >= 0, "at least 0"),
        number("diversity", given["diversity"] >= 0, "at least 0"),
        number("patience", given["patience"] > 0, "more than 0"),
        number("repetition_penalty", tf.math.is_finite(single) & (single > 0), "more than 0"),
        integer("no_repeat_ngram_size", 0),
        integer("max_length", 1, any_number),
        integer("min_length", 0, given["max_length"]),
        integer("max_extra_length", -1),
        token("forbidden_tokens"),
        number("temperature", given["temperature"] > 0, "more than 0"),
        integer("top_k", 0),
        number("top_p", (given["top_p"] > 0) & (given["top_p"] <= 1), "more than 0 and at most 1"),
        integer("seed", 0),
    ]
    return [operation for operations in requirements for operation in operations]
