"""The reference of generation: every method and option, one sentence at a time, in float64.

This file is the specification of the generation loop; docs/generation.md shows it as a table. It is
written to be read, not to be fast: hypotheses are tuples of tokens, a step makes every continuation
of every hypothesis and sorts them all.

The options act on a step in this order:

1. `repetition_penalty` changes the model's logits.
2. log-softmax makes log-probabilities of them. These are what hypotheses add up and report; nothing
   below changes them, so an excluded token leaves the others' log-probabilities as they are.
3. `prefix`, or where it is over `forbidden_tokens`, `min_length` and `no_repeat_ngram_size` exclude
   tokens. An excluded token, like one of probability 0, is never chosen, whatever else there is. If
   no token is left, the hypothesis ends where it is, without EOS.
4. Greedy search and beam search choose by score: `length_penalty`, `coverage_penalty`, `diversity`.
   Sampling draws: `temperature`, `top_k`, `top_p`, in this order.

Of equals the earlier hypothesis of the beam comes first, then the lower token id.

NeurST's beam search is reproduced by the defaults, token for token, where `forbidden_tokens` holds
its unknown token and `max_extra_length` counts from the longest source of the batch, as NeurST's
does. There, excluded tokens have a log-probability of -1e9, which must be chosen if nothing else is
left, and a beam larger than the vocabulary is an error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Union

import numpy as np

from tf_ls.ops.search_options import SearchOptions, Tokens

Array = np.ndarray

# Gives the logits [n, V] of what follows each of n prefixes of one sentence, and, if wanted, the
# cross-attention weights [n, S] with which they were made.
Model = Callable[[Sequence[Tokens]], Union[Array, tuple[Array, Array]]]

LEAST_COVERAGE = 1e-6


@dataclasses.dataclass(frozen=True)
class Options(SearchOptions):
    """The options of one sentence."""

    prefix: Tokens = ()
    """The tokens that every hypothesis begins with; exclusions do not apply to them. Their
    log-probabilities count like others. (In CTranslate2 they count as 0.) A decoder-only model's
    prompt is a prefix."""

    def __post_init__(self):
        super().__post_init__()
        self._check_tokens("prefix")
        self._check("prefix", lambda x: self.eos not in x, f"no EOS ({self.eos})")
        at_most = f"at most {self.max_length} tokens"
        self._check("prefix", lambda x: len(x) <= self.max_length, at_most)


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """Tokens, EOS included if it came, and what the model gave at each of them."""

    tokens: Tokens = ()
    log_probs: tuple[float, ...] = ()
    attention: tuple[Array, ...] = ()  # [S] each; empty if the model gives none
    ended: bool = False  # by EOS, or because no token may follow; not by the maximum length

    @property
    def log_prob(self) -> float:
        return sum(self.log_probs)


def search(
    model: Model, options: Options, source_length: int | None = None, row: int = 0
) -> list[Hypothesis]:
    """Returns the hypotheses of one sentence; `score` gives their scores.

    Args:
        model: the logits of prefixes, see `Model`.
        options: see there.
        source_length: the number of source tokens; None if there is no source.
        row: the sentence's row of the batch, on which samples depend.

    Raises:
        ValueError: tokens of the options are no tokens of the model, the prefix is too long for the
            source, a coverage penalty without attention, logits that are NaN or of a wrong shape.
    """
    length = len(options.prefix) if source_length is None else source_length
    limit = options.length_limit(length)
    if len(options.prefix) > limit:
        raise ValueError(f"prefix: expected at most {limit} tokens, got {len(options.prefix)}")
    if options.method == "sampling":
        return [_sample(model, options, limit, row, i) for i in range(options.num_hypotheses)]
    if options.method == "greedy":
        one = {"method": "beam_search", "beam_size": 1, "early_stopping": False}
        options = dataclasses.replace(options, **one)
    return _beam_search(model, options, limit)


def score(hypothesis: Hypothesis, options: Options) -> float:
    """Returns the score by which hypotheses are ranked in the end."""
    return _score(hypothesis, options, _length_divisor(hypothesis.tokens, options))


# Greedy search and beam search -------------------------------------------------------------------


def _beam_search(model: Model, options: Options, limit: int) -> list[Hypothesis]:
    beam_size = options.beam_size
    enough = max(options.num_hypotheses, math.floor(options.patience * beam_size + 0.5))
    beam, finished = [Hypothesis()], []
    for _ in range(limit):
        candidates = _candidates(model, beam, options)
        if options.early_stopping:
            finished += [candidate for candidate in candidates[:beam_size] if candidate.ended]
            beam = [candidate for candidate in candidates if not candidate.ended][:beam_size]
            if len(finished) >= enough:
                beam = []
        else:
            beam = candidates[:beam_size]
        if all(hypothesis.ended for hypothesis in beam):
            break
    return _best_first(finished + beam, lambda h: score(h, options))[: options.num_hypotheses]


def _candidates(model: Model, beam: list[Hypothesis], options: Options) -> list[Hypothesis]:
    """Returns all continuations of a beam's hypotheses, best first."""
    diversity = options.diversity if options.method == "diverse_beam_search" else 0.0
    ranked = []
    for continuations in _continuations(model, beam, options):
        scored = [(_search_score(c, options), c) for c in continuations]
        for k, (value, candidate) in enumerate(_best_first(scored, lambda pair: pair[0]), start=1):
            ranked.append((value - diversity * k, candidate))
    return [candidate for _, candidate in _best_first(ranked, lambda pair: pair[0])]


def _best_first(items: list, key: Callable) -> list:
    return sorted(items, key=key, reverse=True)  # stable: the first of equals stays first


def _search_score(hypothesis: Hypothesis, options: Options) -> float:
    if options.length_penalty == "lightseq" and options.length_penalty_alpha < 0:
        return _score(hypothesis, options, 1.0)
    return score(hypothesis, options)


def _length_divisor(tokens: Tokens, options: Options) -> float:
    length, alpha = len(tokens), options.length_penalty_alpha
    if options.length_penalty == "none":
        return 1.0
    if options.length_penalty == "exponent":
        return length**alpha
    if alpha >= 0:
        return ((5 + length) / 6) ** alpha
    if options.length_penalty == "neurst":
        return length
    return len([token for token in tokens if token != options.eos])


def _score(hypothesis: Hypothesis, options: Options, divisor: float) -> float:
    value = hypothesis.log_prob / divisor if divisor else -math.inf
    if options.coverage_penalty and hypothesis.attention:
        coverage = np.clip(sum(hypothesis.attention), LEAST_COVERAGE, 1.0)
        value += options.coverage_penalty * np.log(coverage).sum()
    return value


# Sampling ----------------------------------------------------------------------------------------


def _sample(model: Model, options: Options, limit: int, row: int, sample: int) -> Hypothesis:
    hypothesis = Hypothesis()
    for step in range(limit):
        [continuations] = _continuations(model, [hypothesis], options)
        if len(continuations) == 1:
            hypothesis = continuations[0]
        else:
            tokens = np.array([c.tokens[-1] for c in continuations])
            probs = sampling_probs(np.array([c.log_probs[-1] for c in continuations]), options)
            noise = gumbel_noise(options.seed, row, sample, step, tokens)
            with np.errstate(divide="ignore"):
                drawn = np.argmax(np.log(probs) + noise)  # a draw from probs
            hypothesis = continuations[drawn]
        if hypothesis.ended:
            break
    return hypothesis


def sampling_probs(log_probs: Array, options: Options) -> Array:
    """Returns the probabilities [n] with which tokens of given log-probabilities [n] are drawn."""
    order = np.argsort(-log_probs, kind="stable")
    if options.top_k:
        order = order[: options.top_k]
    probs = np.exp(_log_softmax(log_probs[order] / options.temperature))
    if options.top_p < 1:
        of_more_probable = np.concatenate([[0.0], np.cumsum(probs)[:-1]])
        probs[of_more_probable >= options.top_p] = 0.0
    drawn = np.zeros_like(log_probs)
    drawn[order] = probs / probs.sum()
    return drawn


def gumbel_noise(seed: int, row: int, sample: int, step: int, tokens: Array) -> Array:
    """Returns the noise [n] of tokens [n] in one step (0 at a hypothesis' first token) of a sample.

    Each is -log(-log1p(-u)), u = (w + 0.5) / 2**32, where w is word token % 4 of Philox 4x32-10
    with the counter (token // 4, step, sample, row) under the key `seed` (cc/core/philox.h).
    """
    tokens = np.asarray(tokens, np.uint64)
    counter = [tokens // 4, *(np.full_like(tokens, number) for number in (step, sample, row))]
    words = np.stack(philox(seed, counter))
    word = np.take_along_axis(words, (tokens % 4).astype(np.int64)[None], axis=0)[0]
    return -np.log(-np.log1p(-(word + 0.5) / 2.0**32))


def philox(key: int, counter: Sequence[Array]) -> list[Array]:
    """Returns the four random words of counters of four words each (uint64 arrays of 32-bit words).

    Philox 4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = counter
    for i in range(10):
        key0 = np.uint64(((key & 0xFFFFFFFF) + i * 0x9E3779B9) & 0xFFFFFFFF)
        key1 = np.uint64(((key >> 32) + i * 0xBB67AE85) & 0xFFFFFFFF)
        product0, product1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (product1 >> half) ^ c1 ^ key0,
            product1 & mask,
            (product0 >> half) ^ c3 ^ key1,
            product0 & mask,
        )
    return [c0, c1, c2, c3]


# One step ----------------------------------------------------------------------------------------


def _continuations(
    model: Model, beam: list[Hypothesis], options: Options
) -> list[list[Hypothesis]]:
    """Returns what each hypothesis may become, by token id: itself if it ended or has to."""
    unfinished = [hypothesis for hypothesis in beam if not hypothesis.ended]
    steps = iter(_run(model, [hypothesis.tokens for hypothesis in unfinished], options))
    continuations = []
    for hypothesis in beam:
        if hypothesis.ended:
            continuations.append([hypothesis])
            continue
        logits, attention = next(steps)
        log_probs = _log_softmax(_penalize_repetition(logits, hypothesis.tokens, options))
        allowed = [
            token
            for token in range(len(log_probs))
            if _is_allowed(token, hypothesis.tokens, options) and log_probs[token] > -math.inf
        ]
        continued = [
            Hypothesis(
                (*hypothesis.tokens, token),
                (*hypothesis.log_probs, float(log_probs[token])),
                (*hypothesis.attention, *attention),
                ended=token == options.eos,
            )
            for token in allowed
        ]
        continuations.append(continued or [dataclasses.replace(hypothesis, ended=True)])
    return continuations


def _run(
    model: Model, prefixes: list[Tokens], options: Options
) -> list[tuple[Array, tuple[Array, ...]]]:
    """Returns the logits [V] and the attention ([S] or nothing) of each prefix, checked."""
    result = model(prefixes)
    logits, attention = result if isinstance(result, tuple) else (result, None)
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 2 or len(logits) != len(prefixes):
        raise ValueError(f"logits: expected [{len(prefixes)}, V], got {list(logits.shape)}")
    if np.isnan(logits).any() or (logits == math.inf).any():
        raise ValueError("logits: expected numbers or -inf, got NaN or inf")
    vocabulary = logits.shape[1]
    for name in ("eos", "prefix", "forbidden_tokens"):
        tokens = np.ravel(getattr(options, name))
        if tokens.size and tokens.max() >= vocabulary:
            raise ValueError(f"{name}: expected ids below {vocabulary}, got {int(tokens.max())}")
    if attention is None:
        if options.coverage_penalty:
            raise ValueError("coverage_penalty: expected a model that returns attention")
        return [(row, ()) for row in logits]
    return [(row, (np.asarray(weights, np.float64),)) for row, weights in zip(logits, attention)]


def _log_softmax(logits: Array) -> Array:
    largest = logits.max()
    if largest == -math.inf:
        return logits
    return logits - largest - np.log(np.exp(logits - largest).sum())


def _penalize_repetition(logits: Array, tokens: Tokens, options: Options) -> Array:
    logits = logits.copy()
    for token in set(tokens):
        if logits[token] > 0:
            logits[token] /= options.repetition_penalty
        else:
            logits[token] *= options.repetition_penalty
    return logits


def _is_allowed(token: int, tokens: Tokens, options: Options) -> bool:
    length = len(tokens) + 1
    if length <= len(options.prefix):
        return token == options.prefix[length - 1]
    if token in options.forbidden_tokens:
        return False
    if token == options.eos and length < options.min_length:
        return False
    n = options.no_repeat_ngram_size
    if n == 0:
        return True
    grams = [(*tokens, token)[i : i + n] for i in range(length - n + 1)]
    return not grams or grams[-1] not in grams[:-1]
