"""Sentences by which to measure what a change of weights does to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.export.translation_model import TranslationModel
from tf_ls.export.weights import map_weights, replaced

MOST_SENTENCES = 128

Sentence = Union[str, Sequence[int]]

_BATCH = 32


class _Batch(NamedTuple):
    """Sentences of about the same length, and what the model makes of them."""

    ids: tf.Tensor
    """int64 [B, S]."""

    padding: tf.Tensor
    """bool [B, S]."""

    memory: ops.Encoded

    targets: tf.Tensor
    """int64 [B, T], the model's translations without EOS."""

    lengths: tf.Tensor
    """int64 [B], of the targets."""

    log_probs: np.ndarray
    """float32 [B, T], of the targets' tokens; 0 behind them."""


class Calibration:
    """Some sentences and their greedy translations by a model.

    All runs on the CPU, in the operations of an exported model.
    """

    def __init__(self, model: TranslationModel, dtype: tf.DType, sentences: Sequence[Sentence]):
        """Translates sentences.

        Args:
            model: of float weights.
            dtype: what layers compute in.
            sentences: text, or lists of ids; or ids with blanks between them, if nobody knows the
                model's text. The first MOST_SENTENCES are used.

        Raises:
            ValueError: sentences that are none of the model's; nothing comes of them.
        """
        self._model, self._dtype = model, dtype
        with tf.device("/CPU:0"):
            self._weights = model.weights
            self._encoder = ops.PackedEncoder(model.weights.encoder, dtype)
            self._decoder = ops.PackedDecoder(model.weights.decoder, dtype)
            self._batches = [self._translated(ids) for ids in _batches(model, sentences)]
        self._tokens = sum(int(tf.reduce_sum(batch.lengths)) for batch in self._batches)
        if self._tokens == 0:
            raise ValueError("calibration: the model translates none of the sentences to a token")

    def loss(self, replacements: Mapping[int, Any]) -> float:
        """Returns what a change of weights does to the log-probabilities of the translations.

        Args:
            replacements: of the model's weights, by their id().

        Returns:
            The mean of |log p - log p of the model as it is| over all tokens but EOS, in nats.
        """
        encoder, decoder = (
            replaced(part, replacements) for part in (self._weights.encoder, self._weights.decoder)
        )
        total = 0.0
        with tf.device("/CPU:0"):
            packed_encoder, packed_decoder = self._encoder, self._decoder
            changes_encoder = _uses(self._weights.encoder, replacements)
            if changes_encoder:
                packed_encoder = ops.PackedEncoder(encoder, self._dtype)
            if _uses(self._weights.decoder, replacements):
                packed_decoder = ops.PackedDecoder(decoder, self._dtype)
            for batch in self._batches:
                memory = batch.memory
                if changes_encoder:
                    memory = ops.encode(packed_encoder, batch.ids, batch.padding)
                log_probs = self._log_probs(packed_decoder, memory, batch.targets, batch.lengths)
                total += float(np.abs(log_probs - batch.log_probs).sum())
        return total / self._tokens

    def _translated(self, ids: np.ndarray) -> _Batch:
        source = tf.constant(ids)
        padding = self._model.padding(source)
        memory = ops.encode(self._encoder, source, padding)
        own = self._model.options
        options = ops.SearchOptions(
            eos=own.eos,
            method="greedy",
            max_length=own.max_length,
            max_extra_length=own.max_extra_length,
            forbidden_tokens=own.forbidden_tokens,
        )
        found = ops.generate(self._decoder, *memory, self._starts(len(ids)), options)
        tokens, lengths = found.tokens[:, 0], found.lengths[:, 0]
        has_eos = tf.gather(tokens, tf.maximum(lengths - 1, 0), batch_dims=1) == own.eos
        lengths -= tf.cast(has_eos, tf.int64)
        targets = tokens[:, : tf.reduce_max(lengths)]
        log_probs = self._log_probs(self._decoder, memory, targets, lengths)
        return _Batch(source, padding, memory, targets, lengths, log_probs)

    def _log_probs(
        self,
        decoder: ops.PackedDecoder,
        memory: ops.Encoded,
        targets: tf.Tensor,
        lengths: tf.Tensor,
    ) -> np.ndarray:
        longest = int(tf.reduce_max(lengths))
        if longest == 0:
            return np.zeros(targets.shape, np.float32)
        options = ops.SearchOptions(
            eos=self._model.options.eos,
            method="greedy",
            max_length=longest,
            max_extra_length=None,
        )
        found = ops.generate(
            decoder,
            *memory,
            self._starts(len(targets)),
            options,
            prefix=targets,
            prefix_lengths=lengths,
        )
        is_forced = tf.sequence_mask(lengths, longest).numpy()
        return np.where(is_forced, found.log_probs.numpy()[:, 0, :longest], 0.0)

    def _starts(self, count: int) -> tf.Tensor:
        return tf.fill([count], tf.constant(self._model.start, tf.int64))


def _uses(part: Any, replacements: Mapping[int, Any]) -> bool:
    used = []
    map_weights(lambda weight: used.append(id(weight) in replacements), part)
    return any(used)


def _batches(model: TranslationModel, sentences: Sequence[Sentence]) -> list[np.ndarray]:
    """Returns ids int64 [B, S], batches of sentences of about the same length."""
    rows = [_ids(model, i, sentence) for i, sentence in enumerate(sentences[:MOST_SENTENCES])]
    rows = sorted((row for row in rows if len(row)), key=len)
    batches = []
    for first in range(0, len(rows), _BATCH):
        batch = rows[first : first + _BATCH]
        ids = np.full([len(batch), len(batch[-1])], model.padding_id, np.int64)
        for place, row in zip(ids, batch):
            place[: len(row)] = row
        batches.append(ids)
    return batches


def _ids(model: TranslationModel, index: int, sentence: Sequence[int] | str) -> np.ndarray:
    if isinstance(sentence, str):
        sentence = _ids_of_text(model, index, sentence)
    ids, words = np.array(sentence), model.weights.encoder.table.shape[0]
    if ids.size == 0:
        ids = ids.astype(np.int64)
    is_ids = ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer)
    if not is_ids or ((ids < 0) | (ids >= words)).any():
        raise ValueError(
            f"calibration: sentence {index} must be ids from 0 to {words - 1}, got {sentence!r}"
        )
    return ids


def _ids_of_text(model: TranslationModel, index: int, text: str) -> Sequence[int]:
    if model.ids_of is not None:
        return model.ids_of(text)
    if model.source_text is not None:
        return model.source_text.encode(tf.constant([text]), model.padding_id)[0].numpy()
    try:
        return [int(word) for word in text.split()]
    except ValueError:
        raise ValueError(
            f"calibration: sentence {index} must be ids, because {model.no_text_because}; got"
            f" {text!r}"
        ) from None
