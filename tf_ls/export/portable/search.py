"""The loop: hypotheses of all searches, a token longer in each step, until no search goes on.

A sentence has one search, with a beam; or with sampling one for each sample, whose beam is a single
hypothesis and whose only continuation is the token drawn. A search that has ended goes through the
steps of the others, and keeps what it has.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tf_ls.export.portable.beams import NONE, Beams, Continuations, Found, rank_keys, top
from tf_ls.export.portable.checks import require
from tf_ls.export.portable.exclusion import exclude, penalize_repetition
from tf_ls.export.portable.model import DecoderSteps, KeysAndValues
from tf_ls.export.portable.noise import Draw
from tf_ls.export.portable.options import Options
from tf_ls.export.portable.sampling import draw_tokens
from tf_ls.export.portable.scores import coverage_penalties, scores


class State(NamedTuple):
    """What a step takes and leaves."""

    step: tf.Tensor
    """int64 [], how many tokens a hypothesis has that goes on."""

    active: tf.Tensor
    """bool [N], which searches go on."""

    beams: Beams

    finished: Found
    """With early stopping: the best of the hypotheses that have left the beam."""

    finished_counts: tf.Tensor
    """int64 [N], how many have left it."""

    caches: list[KeysAndValues]
    """Of the decoder's layers, rows [N * K, ...]."""


class Search:
    """Searches in all sentences of a batch."""

    def __init__(
        self,
        decoder: DecoderSteps,
        options: Options,
        start: tf.Tensor,
        limits: tf.Tensor,
        visible: tf.Tensor,
    ):
        """Says where to start.

        Args:
            decoder: with rows for beam_size hypotheses of each search.
            options: see there.
            start: int64 [B], the tokens in front of the hypotheses.
            limits: int64 [B], the lengths at which they end.
            visible: bool [B, S], False where the source has padding.
        """
        self._decoder, self._options = decoder, options
        sentences, samples = tf.shape(start, tf.int64)[0], options.samples
        self._start, self._limits, visible, self._sentences = (
            tf.repeat(x, samples, axis=0) for x in (start, limits, visible, tf.range(sentences))
        )
        self._visible = visible[:, tf.newaxis]
        self._samples = tf.tile(tf.range(samples), [sentences])

    def run(self) -> Found:
        """Returns the hypotheses of each search, best first."""
        first = self._first_state()
        [last] = tf.while_loop(
            lambda state: tf.reduce_any(state.active),
            lambda state: [self._next_state(state)],
            [first],
            shape_invariants=[tf.nest.map_structure(_any_size, first)],
        )
        options = self._options
        return last.finished.joined(self._found(last.beams), options.eos).best(options.found)

    def _first_state(self) -> State:
        """A beam has one hypothesis, without tokens."""
        options, (count, _, positions) = self._options, _sizes(self._visible)
        beam, found = [count, options.beam_size], [count, options.found]
        is_first = tf.range(options.beam_size) == 0
        zero = tf.constant(0.0, tf.float64)
        return State(
            step=tf.constant(0, tf.int64),
            active=tf.fill([count], True),
            beams=Beams(
                tokens=tf.zeros([*beam, 0], tf.int64),
                lengths=tf.zeros(beam, tf.int64),
                log_probs=tf.where(tf.fill(beam, True) & is_first, zero, NONE),
                ended=tf.fill(beam, False),
                has_eos=tf.fill(beam, False),
                coverage=tf.zeros([*beam, positions]),
            ),
            finished=Found(
                tokens=tf.zeros([*found, 0], tf.int64),
                lengths=tf.zeros(found, tf.int64),
                scores=tf.zeros(found, tf.float64),
                exist=tf.fill(found, False),
            ),
            finished_counts=tf.zeros([count], tf.int64),
            caches=self._decoder.empty_caches(),
        )

    def _next_state(self, state: State) -> State:
        options, active = self._options, state.active[:, tf.newaxis]
        continuations, caches = self._continue(state)
        keys = self._rank(continuations)
        # What ends leaves the beam with early stopping, if it is among the best of all; others take
        # the places. A search that has ended keeps its hypotheses, the first continuation of each.
        leaves = continuations.ends & options.early_stopping & active
        log_probs = tf.where(~leaves, continuations.log_probs, NONE)
        chosen = top(tf.where(~leaves, keys, NONE), options.beam_size)
        chosen = tf.where(active, chosen, tf.range(options.beam_size) * continuations.each)
        beams = continuations._replace(log_probs=log_probs).take(chosen)

        def with_finished() -> tuple[Found, tf.Tensor]:
            best = continuations.take(top(keys, options.beam_size))
            leave = best.exist & best.ended & active
            best = best._replace(log_probs=tf.where(leave, best.log_probs, NONE))
            counts = state.finished_counts + tf.reduce_sum(tf.cast(leave, tf.int64), axis=1)
            finished = state.finished.joined(self._found(best), options.eos)
            return finished.best(options.found), counts

        finished, counts = tf.cond(
            options.early_stopping, with_finished, lambda: (state.finished, state.finished_counts)
        )
        nothing = tf.constant(NONE, tf.float64)
        enough = options.early_stopping & (tf.cast(counts, tf.float64) >= options.enough)
        log_probs = tf.where(enough[:, tf.newaxis], nothing, beams.log_probs)
        beams = beams._replace(log_probs=log_probs)
        step = state.step + 1
        goes_on = tf.reduce_any(beams.exist & ~beams.ended, axis=1)
        return State(
            step=step,
            active=state.active & goes_on & (step < self._limits),
            beams=beams,
            finished=finished,
            finished_counts=counts,
            caches=_of_parents(caches, continuations.parents(chosen)),
        )

    # The model ------------------------------------------------------------------------------------

    def _continue(self, state: State) -> tuple[Continuations, list[KeysAndValues]]:
        """Runs the model; returns what hypotheses may become, and the caches with this step."""
        options, beams = self._options, state.beams
        count, places = _sizes(beams.log_probs)
        last = tf.concat([tf.fill([count, places, 1], self._options.eos), beams.tokens], 2)[..., -1]
        last = tf.where(state.step == 0, self._start[:, tf.newaxis], last)
        made = self._decoder(tf.reshape(last, [-1]), state.step, state.caches)
        goes_on = state.active[:, tf.newaxis] & beams.exist & ~beams.ended

        def by_search(x: tf.Tensor) -> tf.Tensor:
            return tf.reshape(x, [count, places, tf.shape(x, tf.int64)[1]])

        tokens, log_probs = map(by_search, self._next_tokens(made.logits, goes_on, state))
        stays = ~(goes_on & tf.reduce_any(log_probs > NONE, axis=2))
        each = tf.shape(tokens, tf.int64)[2]
        once = tf.range(each) == 0
        sums = beams.log_probs[..., tf.newaxis]
        stays_here = stays[..., tf.newaxis]
        covered = beams.coverage + by_search(made.attention)
        all_of_search = tf.stack([count, places * each])
        continuations = Continuations(
            beams=beams,
            lengths=tf.where(stays, beams.lengths, state.step + 1),
            coverage=tf.where(stays_here, beams.coverage, covered),
            stays=stays,
            each=each,
            tokens=tf.reshape(tf.where(stays_here, options.eos, tokens), all_of_search),
            log_probs=tf.reshape(
                tf.where(stays_here, tf.where(once, sums, NONE), sums + log_probs), all_of_search
            ),
            ends=tf.reshape(stays_here | (tokens == options.eos), all_of_search),
        )
        return continuations, made.caches

    def _next_tokens(
        self, logits: tf.Tensor, goes_on: tf.Tensor, state: State
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns tokens int64 [R, C] of each row, best first, and their log-probabilities."""
        options = self._options
        rows, vocabulary = _sizes(logits)
        tokens = tf.reshape(state.beams.tokens, [rows, state.step])
        logits = penalize_repetition(logits, tokens, options)
        log_sums = tf.reduce_logsumexp(logits, axis=1, keepdims=True)
        with tf.control_dependencies(self._check(log_sums, goes_on, state.step)):
            logits = exclude(tf.identity(logits), tokens, options)

        def best() -> tf.Tensor:
            return top(logits, tf.minimum(options.beam_size + 1, vocabulary))

        def drawn() -> tf.Tensor:
            draw = Draw(options.seed, state.step, self._samples, self._sentences)
            return draw_tokens(logits, options, draw)[:, tf.newaxis]

        chosen = tf.cond(options.draws, drawn, best)
        log_probs = tf.gather(logits, chosen, batch_dims=1) - log_sums
        return chosen, tf.cast(log_probs, tf.float64)

    def _check(self, log_sums: tf.Tensor, goes_on: tf.Tensor, step: tf.Tensor) -> list:
        """Refuses logits that are no probabilities, of hypotheses that go on."""
        bad = goes_on & ~tf.reshape(tf.math.is_finite(log_sums), tf.shape(goes_on))
        sentences = tf.boolean_mask(self._sentences, tf.reduce_any(bad, axis=1))
        return require(
            tf.size(sentences) == 0,
            "the model's logits must be numbers, got NaN or infinity (or nothing but minus"
            " infinity) for sentence ",
            *(sentences[:1], " at position ", step),
        )

    # Ranking --------------------------------------------------------------------------------------

    def _rank(self, continuations: Continuations) -> tf.Tensor:
        """Returns by what continuations are ranked, float64 [N, K * C]."""
        options, log_probs, each = self._options, continuations.log_probs, continuations.each
        penalties = coverage_penalties(options, continuations.coverage, self._visible)
        places = tf.range(options.beam_size * each)
        parents, ranks = places // each, 1 + places % each
        lengths, penalties = (
            tf.gather(x, parents, axis=1) for x in (continuations.lengths, penalties)
        )
        values = scores(options, log_probs, lengths, penalties)
        values -= options.diversity * tf.cast(ranks, tf.float64)
        return rank_keys(values, log_probs > NONE)

    def _found(self, beams: Beams) -> Found:
        options = self._options
        penalties = coverage_penalties(options, beams.coverage, self._visible)
        values = scores(options, beams.log_probs, beams.lengths, penalties, beams.has_eos)
        return Found(beams.tokens, beams.lengths, values, beams.exist)


def _of_parents(caches: list[KeysAndValues], parents: tf.Tensor) -> list[KeysAndValues]:
    """Returns the caches of rows that hypotheses [N, K] of the beams before have become."""
    count, places = _sizes(parents)
    same = tf.range(places)
    rows = tf.reshape(tf.range(count)[:, tf.newaxis] * places + parents, [-1])
    return tf.cond(
        tf.reduce_all(parents == same),
        lambda: caches,
        lambda: tf.nest.map_structure(lambda cache: tf.gather(cache, rows), caches),
    )


def _sizes(x: tf.Tensor) -> list[tf.Tensor]:
    return tf.unstack(tf.shape(x, tf.int64))


def _any_size(x: tf.Tensor) -> tf.TensorShape:
    """What steps leave of the shape of a variable of the loop: its rank, a cache's head sizes."""
    rank = x.shape.rank
    return tf.TensorShape([None, x.shape[1], None, x.shape[3]] if rank == 4 else [None] * rank)
