"""Requests to models that translate, as sentences that may share batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from tf_ls.inference.cancellation import Cancellation
from tf_ls.inference.ids import padded, without_padding
from tf_ls.ops.search_options import SearchOptions
from tf_ls.serving.batch_queue import Item
from tf_ls.serving.errors import invalid
from tf_ls.serving.generation import (
    NEEDED,
    OF_IDS,
    WITH_OPTIONS,
    GenerationModel,
    Group,
    Rows,
    Work,
    check_ids,
    joined,
)
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel

SOURCE, SENTENCES = "source", "sentences"

# Signatures of models that have text, and what these need for it.
_OF_TEXT = ("translate", "translate_with_options")
_NEEDED_FOR_TEXT = ("encode", "decode", *_OF_TEXT)
# Portable models and older exports do without.
_ATTENTION, _TEXT_ATTENTION = "serving_with_attention", "translate_with_attention"
_NEEDED_FOR_TEXT_ATTENTION = (_TEXT_ATTENTION, _ATTENTION, "vocabularies")


class Hypotheses(NamedTuple):
    """What was generated from one sentence: n hypotheses, best first."""

    source: np.ndarray
    """int64 [S]"""

    tokens: np.ndarray
    """int64 [n, T]"""

    lengths: np.ndarray
    """int64 [n]"""

    scores: np.ndarray
    """float32 [n]"""

    texts: Sequence[bytes] = ()
    """Of the first ones, as many as were asked for."""

    attention: Optional[np.ndarray] = None
    """float32 [n, T, S], if it was asked for."""


class TranslationModel(GenerationModel):
    """What of a loaded model is generation, of one that translates."""

    ids_input, text_input = SOURCE, SENTENCES

    @classmethod
    def of(cls, model: LoadedModel) -> Optional[TranslationModel]:
        is_one = set(NEEDED) <= model.signatures.keys()
        return cls(model) if is_one and SOURCE in model.signature(WITH_OPTIONS).inputs else None

    def __init__(self, model: LoadedModel):
        names = [*OF_IDS, *({_ATTENTION} & model.signatures.keys())]
        if model.signatures.keys() >= set(_NEEDED_FOR_TEXT):
            names += _OF_TEXT
            if model.signatures.keys() >= set(_NEEDED_FOR_TEXT_ATTENTION):
                names.append(_TEXT_ATTENTION)
                self._vocabularies = model.call("vocabularies", {})
        super().__init__(model, names, "target_vocabulary")
        self._source_vocabulary = int(self._properties["source_vocabulary"])
        self._padding_is_eos = bool(self._properties["padding_is_eos"])

    def warm_up(self) -> None:
        word = next(i for i in range(self._source_vocabulary) if i != self._padding_id)
        end = [self._padding_id] if self._padding_is_eos else [word]
        options = self._checked_options({"max_length": np.array(2), "min_length": np.array(0)})
        for sentences, length in ((1, 4), (16, 16)):
            row = np.array([word] * (length - 1) + end)
            Group(self, options).run([_Payload([row] * sentences, texts=1)], Cancellation())

    def work(self, signature: str, inputs: Mapping[str, Any], limits: Limits) -> Work:
        has_attention = signature in (_ATTENTION, _TEXT_ATTENTION)
        options = self._options_of(inputs)
        rows = [self._checked(index, row) for index, row in enumerate(self._rows(inputs, limits))]
        lengths = [len(row) for row in rows]
        limits.check_generation(lengths, options, attention=has_attention)
        # Samples depend on a sentence's place in the batch.
        together = options.method == "sampling"
        parts = [rows] if together else [[row] for row in rows]
        computed_by = _ATTENTION if has_attention else WITH_OPTIONS
        group = Group(self, options, joins=not together, signature=computed_by)
        texts = 0
        if SENTENCES in inputs:
            texts = options.num_hypotheses if has_attention else 1
        items = [Item(_Payload(part, texts), len(part), max(map(len, part))) for part in parts]
        return Work(group, items, sum(lengths))

    def outputs(self, signature: str, results: Sequence[Sequence[Hypotheses]]) -> dict[str, Any]:
        found = [hypotheses for result in results for hypotheses in result]
        if signature in _OF_TEXT:
            return {
                "translations": np.array([h.texts[0] for h in found], object),
                "scores": np.array([h.scores[0] for h in found], np.float32),
            }
        outputs = self._ids_outputs(found)
        if signature in OF_IDS:
            return outputs
        attention = joined([h.attention[:, : h.lengths.max(initial=0)] for h in found], 0)
        if signature == _ATTENTION:
            return {**outputs, "attention": attention}
        source_pieces, target_pieces = (
            self._vocabularies[side] for side in ("source_pieces", "target_pieces")
        )
        tokens = outputs["tokens"]
        behind = np.arange(tokens.shape[2]) >= outputs["lengths"][..., np.newaxis]
        return {
            "translations": joined([np.array(h.texts, object) for h in found], b""),
            "scores": outputs["scores"],
            "attention": attention,
            "source_pieces": joined([source_pieces[h.source] for h in found], b""),
            "target_pieces": np.where(behind, b"", target_pieces[tokens]),
        }

    def generate(
        self,
        signature: str,
        payloads: Sequence[_Payload],
        options: SearchOptions,
        cancellation: Cancellation,
    ) -> list[list[Hypotheses]]:
        rows = [row for payload in payloads for row in payload.rows]
        inputs = {SOURCE: padded(rows, self._padding_id), **self._option_inputs(options)}
        outputs = self._model.call(signature, inputs, cancellation)
        texts = self._texts(payloads, outputs)
        found = zip(rows, outputs["tokens"], outputs["lengths"], outputs["scores"], texts)
        hypotheses = [Hypotheses(*one) for one in found]
        if signature == _ATTENTION:
            hypotheses = [
                one._replace(attention=weights[:, :, : len(one.source)])
                for one, weights in zip(hypotheses, outputs["attention"])
            ]
        of_row = iter(hypotheses)
        return [[next(of_row) for _ in payload.rows] for payload in payloads]

    def _texts(
        self, payloads: Sequence[_Payload], outputs: Mapping[str, np.ndarray]
    ) -> list[list[bytes]]:
        """Of each row, the texts of its first hypotheses, as many as are wanted."""
        wanted = np.array([payload.texts for payload in payloads for _ in payload.rows], np.int64)
        texts: list[list[bytes]] = [[] for _ in wanted]
        if wanted.any() and "decode" in self._model.signatures:
            chosen = np.arange(outputs["lengths"].shape[1]) < wanted[:, np.newaxis]
            decoded = self._model.call(
                "decode",
                {"tokens": outputs["tokens"][chosen], "lengths": outputs["lengths"][chosen]},
            )
            for place, text in zip(np.nonzero(chosen)[0], decoded[SENTENCES]):
                texts[place].append(text)
        return texts

    def _checked(self, index: int, row: np.ndarray) -> np.ndarray:
        """The row without the padding behind it."""
        check_ids(f"sentence {index}", row, self._source_vocabulary)
        if not self._padding_is_eos:
            return without_padding(row, self._padding_id)
        padding = row == self._padding_id
        if not padding.any():
            # Its end would depend on whether its batch has longer sentences.
            raise invalid(
                f"sentence {index} must end with {self._padding_id}, the end of a sentence"
            )
        return row[: padding.argmax() + 1]


@dataclasses.dataclass(frozen=True)
class _Payload:
    rows: Rows
    texts: int
    """Of each row, how many hypotheses are wanted as text."""
