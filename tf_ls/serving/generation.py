"""Requests to models that tf_ls exported, as sentences that may share batches."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from tf_ls.inference.cancellation import Cancellation
from tf_ls.ops.search_options import SearchOptions
from tf_ls.serving.batch_queue import Item
from tf_ls.serving.errors import invalid
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel

SOURCE, SENTENCES = "source", "sentences"

# Signatures that can be answered from batches, by what they take.
_OF_IDS = ("serving_default", "serving_with_options")
_OF_TEXT = ("translate", "translate_with_options")
_NEEDED = ("properties", "default_options", *_OF_IDS)
_NEEDED_FOR_TEXT = ("encode", "decode", *_OF_TEXT)
# Portable models and older exports do without.
_ATTENTION, _TEXT_ATTENTION = "serving_with_attention", "translate_with_attention"
_NEEDED_FOR_TEXT_ATTENTION = (_TEXT_ATTENTION, _ATTENTION, "vocabularies")

Rows = Sequence[np.ndarray]


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


class Work(NamedTuple):
    """A request, ready for the batcher."""

    group: _Group
    items: list[Item]
    tokens: int
    """Of all sources."""


class GenerationModel:
    """What of a loaded model is generation.

    Attributes:
        signatures: the names of those that are answered here.
        ids_input, text_input: what they call what is generated from.
    """

    ids_input, text_input = SOURCE, SENTENCES

    @classmethod
    def of(cls, model: LoadedModel) -> Optional[GenerationModel]:
        """Returns None if tf_ls has not exported the model."""
        return cls(model) if set(_NEEDED) <= model.signatures.keys() else None

    def __init__(self, model: LoadedModel):
        self._model = model
        names = set(_OF_IDS) | {_ATTENTION} & model.signatures.keys()
        if model.signatures.keys() >= set(_NEEDED_FOR_TEXT):
            names |= set(_OF_TEXT)
            if model.signatures.keys() >= set(_NEEDED_FOR_TEXT_ATTENTION):
                names.add(_TEXT_ATTENTION)
                self._vocabularies = model.call("vocabularies", {})
        self.signatures = frozenset(names)
        properties = model.call("properties", {})
        self._source_vocabulary = int(properties["source_vocabulary"])
        self._target_vocabulary = int(properties["target_vocabulary"])
        self._padding_id = int(properties["padding_id"])
        self._padding_is_eos = bool(properties["padding_is_eos"])
        self._eos = int(properties["eos"])
        self._defaults = model.call("default_options", {})
        for name in self.signatures - {"serving_default", "translate"}:
            model.set_defaults(name, self._defaults)

    def warm_up(self) -> None:
        """Generates once, with few and with many rows, so that the first clients need not wait."""
        word = next(i for i in range(self._source_vocabulary) if i != self._padding_id)
        end = [self._padding_id] if self._padding_is_eos else [word]
        short = {"max_length": np.array(2), "min_length": np.array(0)}
        options = self._options({name: short.get(name, d) for name, d in self._defaults.items()})
        for sentences, length in ((1, 4), (16, 16)):
            row = np.array([word] * (length - 1) + end)
            _Group(self, options).run([_Payload([row] * sentences, texts=1)], Cancellation())

    def work(self, signature: str, inputs: Mapping[str, Any], limits: Limits) -> Work:
        """Checks a request and cuts it into items.

        Args:
            signature: one of `signatures`.
            inputs: `source`, int64 [B, S] or rows of any lengths, or `sentences`, bytes [B]; at
                least one; and options as arrays.
            limits: that hold.

        Raises:
            ServingError: something about the request is wrong, or it is too much.
        """
        of_text = SENTENCES in inputs
        attention = signature in (_ATTENTION, _TEXT_ATTENTION)
        options = self._options({k: v for k, v in inputs.items() if k not in (SOURCE, SENTENCES)})
        rows = self._encoded(inputs[SENTENCES], limits) if of_text else inputs[SOURCE]
        rows = [self._checked(index, row) for index, row in enumerate(rows)]
        lengths = [len(row) for row in rows]
        limits.check_generation(lengths, options, attention=attention)
        # Samples depend on a sentence's place in the batch.
        together = options.method == "sampling"
        parts = [rows] if together else [[row] for row in rows]
        group = _Group(self, options, joins=not together, attention=attention)
        texts = (options.num_hypotheses if attention else 1) if of_text else 0
        items = [Item(_Payload(part, texts), len(part), max(map(len, part))) for part in parts]
        return Work(group, items, sum(lengths))

    def outputs(self, signature: str, results: Sequence[Sequence[Hypotheses]]) -> dict[str, Any]:
        """The outputs of a signature from the results of a request's items."""
        found = [hypotheses for result in results for hypotheses in result]
        if signature in _OF_TEXT:
            return {
                "translations": np.array([h.texts[0] for h in found], object),
                "scores": np.array([h.scores[0] for h in found], np.float32),
            }
        longest = [h.lengths.max(initial=0) for h in found]
        tokens = _padded([h.tokens[:, :end] for h, end in zip(found, longest)], self._eos)
        outputs = {
            "tokens": tokens,
            "lengths": np.stack([h.lengths for h in found]),
            "scores": np.stack([h.scores for h in found]),
        }
        if signature in _OF_IDS:
            return outputs
        attention = _padded([h.attention[:, :end] for h, end in zip(found, longest)], 0)
        if signature == _ATTENTION:
            return {**outputs, "attention": attention}
        source_pieces, target_pieces = (
            self._vocabularies[side] for side in ("source_pieces", "target_pieces")
        )
        behind = np.arange(tokens.shape[2]) >= outputs["lengths"][..., np.newaxis]
        return {
            "translations": _padded([np.array(h.texts, object) for h in found], b""),
            "scores": outputs["scores"],
            "attention": attention,
            "source_pieces": _padded([source_pieces[h.source] for h in found], b""),
            "target_pieces": np.where(behind, b"", target_pieces[tokens]),
        }

    def generate(
        self,
        payloads: Sequence[_Payload],
        options: SearchOptions,
        cancellation: Cancellation,
        *,
        attention: bool = False,
    ) -> list[list[Hypotheses]]:
        """Generates from all rows of all payloads at once."""
        rows = [row for payload in payloads for row in payload.rows]
        longest = max(map(len, rows), default=0)
        source = np.full([len(rows), longest], self._padding_id, np.int64)
        for place, row in zip(source, rows):
            place[: len(row)] = row
        values = {name: getattr(options, name) for name in self._defaults}
        if values["max_extra_length"] is None:
            values["max_extra_length"] = -1
        signature = _ATTENTION if attention else "serving_with_options"
        outputs = self._model.call(signature, {SOURCE: source, **values}, cancellation)
        texts = self._texts(payloads, outputs)
        found = zip(rows, outputs["tokens"], outputs["lengths"], outputs["scores"], texts)
        hypotheses = [Hypotheses(*one) for one in found]
        if attention:
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

    def _encoded(self, sentences: np.ndarray, limits: Limits) -> np.ndarray:
        if len(sentences) > limits.sentences:
            raise invalid(
                f"sentences: this server takes at most {limits.sentences}, got {len(sentences)}"
            )
        return self._model.call("encode", {SENTENCES: sentences})[SOURCE]

    def _checked(self, index: int, row: np.ndarray) -> np.ndarray:
        """The row without the padding behind it."""
        outside = (row < 0) | (row >= self._source_vocabulary)
        if outside.any():
            raise invalid(
                f"sentence {index} has {row[outside][0]} at {outside.argmax()}, which is not in the"
                f" vocabulary of {self._source_vocabulary}"
            )
        padding = row == self._padding_id
        if self._padding_is_eos:
            if not padding.any():
                # Its end would depend on whether its batch has longer sentences.
                raise invalid(
                    f"sentence {index} must end with {self._padding_id}, the end of a sentence"
                )
            return row[: padding.argmax() + 1]
        words = np.flatnonzero(~padding)
        return row[: words[-1] + 1] if len(words) else row[:0]

    @functools.cached_property
    def _default_options(self) -> SearchOptions:
        return self._checked_options({})

    def _options(self, given: Mapping[str, np.ndarray]) -> SearchOptions:
        return self._checked_options(given) if given else self._default_options

    def _checked_options(self, given: Mapping[str, np.ndarray]) -> SearchOptions:
        values = {k: _python_value(k, v) for k, v in {**self._defaults, **given}.items()}
        if values["max_extra_length"] == -1:
            values["max_extra_length"] = None
        try:
            options = SearchOptions(eos=self._eos, **values)
        except ValueError as error:
            raise invalid(str(error)) from None
        for token in options.forbidden_tokens:
            if token >= self._target_vocabulary:
                raise invalid(
                    f"forbidden_tokens has {token}, which is not in the vocabulary of"
                    f" {self._target_vocabulary}"
                )
        return options


@dataclasses.dataclass(frozen=True)
class _Payload:
    rows: Rows
    texts: int
    """Of each row, how many hypotheses are wanted as text."""


@dataclasses.dataclass(frozen=True)
class _Group:
    """What differs in nothing but its sentences; alone if it does not join."""

    model: GenerationModel
    options: SearchOptions
    joins: bool = True
    attention: bool = False

    def run(self, payloads: list[_Payload], cancellation: Cancellation) -> list[list[Hypotheses]]:
        return self.model.generate(payloads, self.options, cancellation, attention=self.attention)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, _Group)
            and self.joins
            and other.joins
            and self.model is other.model
            and self.options == other.options
            and self.attention == other.attention
        )

    def __hash__(self) -> int:
        return hash((id(self.model), self.options))


def _padded(arrays: Rows, filler: Any) -> np.ndarray:
    """Arrays of one rank and any shapes as one, with a filler behind each."""
    shape = np.max([array.shape for array in arrays], axis=0)
    joined = np.full([len(arrays), *shape], filler, arrays[0].dtype)
    for place, array in zip(joined, arrays):
        place[tuple(map(slice, array.shape))] = array
    return joined


def _python_value(name: str, value: np.ndarray) -> Any:
    if value.ndim > 1 or (value.ndim == 1) != (name == "forbidden_tokens"):
        expected = "a vector" if name == "forbidden_tokens" else "a scalar"
        raise invalid(f"{name} must be {expected}, got the shape {list(value.shape)}")
    if value.ndim == 1:
        return tuple(value.tolist())
    item = value.item()
    return item.decode(errors="replace") if isinstance(item, bytes) else item
