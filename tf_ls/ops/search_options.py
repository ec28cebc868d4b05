"""How to generate: the options of `generate`, of the reference, of models.

docs/generation.md shows them as a table.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import tensorflow as tf

Tokens = tuple[int, ...]

METHODS = ("greedy", "beam_search", "diverse_beam_search", "sampling")
LENGTH_PENALTIES = ("neurst", "lightseq", "exponent", "none")
MAX_BEAM_SIZE = 64


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How to generate. What a method does not use is ignored; all options are always checked.

    A length is a number of tokens of a hypothesis: the forced prefix and EOS count, the start token
    does not.

    Each may also be a scalar tensor (forbidden_tokens a vector), of which a function that generates
    need not be traced again when it changes. Tensors are checked when the operation runs.

    Raises:
        ValueError: an option is out of its range; the message names it, what was expected and what
            came.
    """

    eos: int
    """The token that ends a hypothesis."""

    method: str = "beam_search"
    """greedy: beam search with one beam, and never with `early_stopping`.
    beam_search.
    diverse_beam_search: beam search with `diversity`.
    sampling: `num_hypotheses` independent samples, in the order drawn.

    The searches return hypotheses by descending score.
    """

    beam_size: int = 4
    """Beam search: how many hypotheses a step keeps, 1 to 64. If fewer have a continuation (at the
    first step: if the vocabulary is smaller) it keeps those there are."""

    num_hypotheses: int = 1
    """How many are returned, at most `beam_size`, 1 for greedy. Fewer if the search found fewer."""

    length_penalty: str = "neurst"
    """What the sum of log-probabilities is divided by, for a hypothesis of length n. The quotient
    ranks continuations in the search, finished and unfinished alike, and is the score returned.

    neurst: ((5 + n) / 6) ** alpha (Wu et al. 2016, arXiv:1609.08144, eq. 14); with alpha < 0: n.
    lightseq: the same if alpha >= 0. If alpha < 0, the search ranks sums, undivided, and what it
        found is ranked by the sum divided by n without EOS; EOS alone then scores -inf. (LightSeq
        makes up to two tokens fewer: see `max_length`.)
    exponent: n ** alpha. (CTranslate2's, but there n is without EOS and only finished hypotheses
        are divided, which is the same under `early_stopping` but for EOS.)
    none: 1.
    """

    length_penalty_alpha: float = 0.6
    """-10 to 10, so that nothing overflows in float32; negative only for neurst and lightseq."""

    coverage_penalty: float = 0.0
    """beta: adds beta * sum_s log(min(c_s, 1)) to the score (after the division), in
    the search and in the end, where c_s is the attention that source position s got in all steps of
    the hypothesis, that of EOS included (Wu et al. 2016, eq. 14). c_s below 1e-6 counts as 1e-6.
    (CTranslate2 adds it in the end only, and leaves out positions whose c_s is 0.)"""

    diversity: float = 0.0
    """Diverse beam search, gamma: the search ranks the k-th best continuation (k = 1, 2, ...) of a
    hypothesis by its score less gamma * k; scores themselves stay (Li, Monroe & Jurafsky 2016,
    arXiv:1611.08562; LightSeq's diverse_lambda). A finished hypothesis is its own best
    continuation."""

    early_stopping: bool = False
    """What becomes of finished hypotheses.

    False (NeurST, LightSeq): they keep their places in the beam for as long as their scores are
        among the `beam_size` best, and the search ends when the beam holds nothing else.
    True (CTranslate2): those among the `beam_size` best continuations leave the beam for good; the
        best unfinished continuations take all the places, and the search ends when it has
        `patience` times `beam_size` finished hypotheses, or no unfinished ones.
    """

    patience: float = 1.0
    """With early_stopping: floor(patience * beam_size + 0.5) finished hypotheses, but at least
    `num_hypotheses`, end the search (Kasai et al. 2022, arXiv:2204.05424)."""

    repetition_penalty: float = 1.0
    """r: the logit x of every token of the hypothesis so far, forced ones included, becomes x / r
    if x > 0, else x * r (Keskar et al. 2019, arXiv:1909.05858; CTranslate2). 1 does nothing."""

    no_repeat_ngram_size: int = 0
    """n: excludes tokens that would complete an n-gram that the hypothesis has already, forced
    tokens included. 0 does nothing."""

    min_length: int = 0
    """EOS is excluded as long as it would make a hypothesis shorter than this. (As in NeurST: EOS
    counts; in CTranslate2 it does not.)"""

    max_length: int = 256
    """Hypotheses end at this length, without EOS if it was not the last token; they are scored and
    ranked as they are, beside finished ones. With early_stopping they are ranked only if the search
    did not end by itself. (NeurST, CTranslate2; LightSeq makes at most
    min(max_length, source + max_extra_length) - 2 tokens.)"""

    max_extra_length: int | None = 50
    """With a source of S tokens (a prefix, where there is no source) hypotheses end at
    max(min(max_length, S + max_extra_length), min_length, 1). None: at `max_length`."""

    forbidden_tokens: Tokens = ()
    """Excluded. NeurST's beam search and sampling forbid the unknown token."""

    temperature: float = 1.0
    """Sampling, T: draws from softmax(log-probabilities / T) of tokens that are not excluded."""

    top_k: int = 0
    """Sampling: draws from the k most probable tokens. 0: from all. (NeurST also keeps those that
    are as probable as the k-th.)"""

    top_p: float = 1.0
    """Sampling: draws from the fewest most probable tokens whose probabilities, after temperature
    and `top_k`, add up to at least p. 1: from all. (NeurST refuses it together with top_k, and also
    keeps those that are as probable as the last.)"""

    seed: int = 0
    """Sampling: the same seed and the same row of the batch give the same samples, whatever else is
    in the batch. `gumbel_noise` says how."""

    def __post_init__(self):
        check_integer, check_number = self._check_integer, self._check_number
        check_integer("eos", 0)
        self._check("method", lambda x: x in METHODS, f"one of {METHODS}")
        check_integer("beam_size", 1, MAX_BEAM_SIZE)
        check_integer("num_hypotheses", 1, self._most_hypotheses())
        self._check("length_penalty", lambda x: x in LENGTH_PENALTIES, f"{LENGTH_PENALTIES}")
        check_number("length_penalty_alpha", lambda x: abs(x) <= 10, "-10 to 10")
        if not tf.is_tensor(self.length_penalty) and self.length_penalty in ("exponent", "none"):
            at_least = f"at least 0 with length_penalty {self.length_penalty}"
            check_number("length_penalty_alpha", lambda x: x >= 0, at_least)
        check_number("coverage_penalty", lambda x: x >= 0, "at least 0")
        check_number("diversity", lambda x: x >= 0, "at least 0")
        self._check("early_stopping", lambda x: isinstance(x, bool), "True or False")
        check_number("patience", lambda x: x > 0, "more than 0")
        check_number("repetition_penalty", lambda x: x > 0, "more than 0")
        check_integer("no_repeat_ngram_size", 0)
        check_integer("max_length", 1)
        check_integer("min_length", 0, _known(self.max_length, math.inf))
        if self.max_extra_length is not None:
            check_integer("max_extra_length", 0)
        self._check_tokens("forbidden_tokens")
        check_number("temperature", lambda x: x > 0, "more than 0")
        check_integer("top_k", 0)
        check_number("top_p", lambda x: 0 < x <= 1, "more than 0 and at most 1")
        check_integer("seed", 0, 2**63 - 1)

    def _check(self, name: str, holds: Callable[[Any], bool], expected: str) -> None:
        value = getattr(self, name)
        if not tf.is_tensor(value) and not holds(value):
            raise ValueError(f"{name}: expected {expected}, got {value!r}")

    def _check_integer(self, name: str, low: int, high: float = math.inf) -> None:
        expected = f"an integer of at least {low}" if high == math.inf else f"{low} to {high}"
        self._check(name, lambda x: _is_integer(x) and low <= x <= high, expected)

    def _check_number(self, name: str, holds: Callable[[float], bool], expected: str) -> None:
        self._check(name, lambda x: isinstance(x, Real) and math.isfinite(x) and holds(x), expected)

    def _check_tokens(self, name: str) -> None:
        def are_tokens(tokens: Any) -> bool:
            return isinstance(tokens, tuple) and all(_is_integer(t) and t >= 0 for t in tokens)

        self._check(name, are_tokens, "a tuple of token ids")

    def _most_hypotheses(self) -> float:
        if tf.is_tensor(self.method):
            return math.inf
        most = {"greedy": 1, "sampling": math.inf}
        return most.get(self.method, _known(self.beam_size, math.inf))

    def check_tokens_are_final(self) -> None:
        """Checks that a token stays what it is once it has come, so that it can be streamed.

        Raises:
            ValueError: this is a search that may change its mind.
        """
        if self.method in ("greedy", "sampling"):
            return
        if self.beam_size > 1 or self.early_stopping:
            raise ValueError(
                f"tokens of {self.method} with a beam of {self.beam_size}"
                f"{' and early_stopping' if self.early_stopping else ''} are not final when they"
                " come, so there is nothing to stream: use the method greedy or sampling, or a"
                " beam_size of 1"
            )

    def length_limit(self, source_length: int | None) -> int:
        """Returns the length at which hypotheses end; see `max_extra_length`.

        Args:
            source_length: S; None for no such limit.
        """
        limit = self.max_length
        if source_length is not None and self.max_extra_length is not None:
            limit = min(limit, source_length + self.max_extra_length)
        return max(limit, self.min_length, 1)


def _known(value: Any, otherwise: float) -> Any:
    return otherwise if tf.is_tensor(value) else value


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
