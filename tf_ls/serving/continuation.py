"""Requests to decoder-only models that tf_ls exported, as prompts that may share batches."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from tf_ls.inference.cancellation import Cancellation
from tf_ls.inference.growing_text import GrowingText
from tf_ls.ops.search_options import SearchOptions
from tf_ls.ops.token_stream import NewTokens, TokenStream
from tf_ls.serving.batch_queue import Item
from tf_ls.serving.errors import invalid
from tf_ls.serving.generation import GenerationModel, Work
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel
from tf_ls.serving.token_events import Assembly, Listener, Told

log = logging.getLogger(__name__)

PROMPT, PROMPTS = "prompt", "prompts"

# What does not stand for a stream's number is no business of clients'.
_STREAM = "stream"
_OF_IDS = ("serving_default", "serving_with_options")
_OF_TEXT = ("generate", "generate_with_options")
_NEEDED = ("properties", "default_options", _STREAM, *_OF_IDS)
_NEEDED_FOR_TEXT = ("encode", "decode", *_OF_TEXT)


class Continuations(NamedTuple):
    """What was generated behind one prompt: n hypotheses, best first."""

    tokens: np.ndarray
    """int64 [n, T]"""

    lengths: np.ndarray
    """int64 [n]"""

    scores: np.ndarray
    """float32 [n]"""

    text: Optional[bytes]
    """Of the first, if it was asked for."""


class StreamedWork(NamedTuple):
    """A request whose tokens are told while it runs."""

    work: Work
    assembly: Assembly


class ContinuationModel(GenerationModel):
    """What of a loaded model is generation, of one that continues prompts."""

    ids_input, text_input = PROMPT, PROMPTS

    @classmethod
    def of(cls, model: LoadedModel) -> Optional[ContinuationModel]:
        """Returns None if the model is not a decoder-only one that tf_ls has exported."""
        if not set(_NEEDED) <= model.signatures.keys():
            return None
        return cls(model) if PROMPT in model.signature(_OF_IDS[0]).inputs else None

    def __init__(self, model: LoadedModel):
        self._model = model
        has_text = set(_NEEDED_FOR_TEXT) <= model.signatures.keys()
        self.signatures = frozenset(_OF_IDS + (_OF_TEXT if has_text else ()))
        properties = model.call("properties", {})
        self._target_vocabulary = int(properties["vocabulary"])
        self._eos, self._padding_id = int(properties["eos"]), int(properties["padding_id"])
        self._has_start = int(properties["start"]) >= 0
        self._defaults = model.call("default_options", {})
        for name in self.signatures & {"serving_with_options", "generate_with_options"}:
            model.set_defaults(name, self._defaults)
        model.hide(_STREAM)

    def warm_up(self) -> None:
        """Generates once, with few and with many rows, so that the first clients need not wait."""
        word = next(i for i in range(self._target_vocabulary) if i != self._eos)
        short = {"max_length": np.array(4), "min_length": np.array(0)}
        options = self._options({name: short.get(name, d) for name, d in self._defaults.items()})
        for prompts, length in ((1, 1), (16, 3)):
            rows = [np.array([word] * length)] * prompts
            _Group(self, options).run([_Payload(rows, text=True)], Cancellation())

    def work(self, signature: str, inputs: Mapping[str, Any], limits: Limits) -> Work:
        """Checks a request and cuts it into items.

        Args:
            signature: one of `signatures`.
            inputs: `prompt`, int64 [B, P] or rows of any lengths, or `prompts`, bytes [B]; at least
                one; and options as arrays.
            limits: that hold.

        Raises:
            ServingError: something about the request is wrong, or it is too much.
        """
        options, rows = self._read(inputs, limits)
        return self._work(signature, options, rows, None)

    def streamed_work(
        self, signature: str, inputs: Mapping[str, Any], limits: Limits, listener: Listener
    ) -> StreamedWork:
        """The same of a request whose tokens are told while it runs.

        Args:
            signature, inputs, limits: as for `work`.
            listener: is told them, in another thread.

        Raises:
            ServingError: as for `work`; the options are for a search whose tokens are not final.
        """
        options, rows = self._read(inputs, limits)
        width = 1 if options.method in ("greedy", "sampling") else options.beam_size
        early = options.early_stopping and options.method not in ("greedy", "sampling")
        if width > 1 or early:
            raise invalid(
                f"tokens of {options.method} with a beam of {width}"
                f"{' and early_stopping' if early else ''} are not final when they come, so there"
                " is nothing to stream: use the method greedy or sampling, or a beam_size of 1"
            )
        count = options.num_hypotheses if options.method == "sampling" else 1
        left = [options.length_limit(len(row)) - len(row) for row in rows]
        work = self._work(signature, options, rows, listener)
        return StreamedWork(work, Assembly(left, count, self._eos))

    def outputs(
        self, signature: str, results: Sequence[Sequence[Continuations]]
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature from the results of a request's items."""
        found = [continuations for result in results for continuations in result]
        if signature in _OF_TEXT:
            return {
                "continuations": np.array([c.text for c in found], object),
                "scores": np.array([c.scores[0] for c in found], np.float32),
            }
        longest = max(int(c.lengths.max(initial=0)) for c in found)
        tokens = np.full([len(found), len(found[0].lengths), longest], self._eos, np.int64)
        for place, continuations in zip(tokens, found):
            width = min(longest, continuations.tokens.shape[1])
            place[:, :width] = continuations.tokens[:, :width]
        return {
            "tokens": tokens,
            "lengths": np.stack([c.lengths for c in found]),
            "scores": np.stack([c.scores for c in found]),
        }

    def generate(
        self, payloads: Sequence[_Payload], options: SearchOptions, cancellation: Cancellation
    ) -> list[list[Continuations]]:
        """Continues all prompts of all payloads at once."""
        rows = [row for payload in payloads for row in payload.rows]
        inputs = {PROMPT: self._padded(rows)}
        inputs.update({name: getattr(options, name) for name in self._defaults})
        if inputs["max_extra_length"] is None:
            inputs["max_extra_length"] = -1
        if any(payload.listener is not None for payload in payloads):
            outputs = self._call_streamed(payloads, inputs, cancellation)
        else:
            outputs = self._model.call("serving_with_options", inputs, cancellation)
        texts = self._first_texts(payloads, rows, outputs)
        found = zip(outputs["tokens"], outputs["lengths"], outputs["scores"], texts)
        continuations = iter([Continuations(*one) for one in found])
        return [[next(continuations) for _ in payload.rows] for payload in payloads]

    def texts(self, prompts: Sequence[np.ndarray], tokens: Sequence[np.ndarray]) -> list[str]:
        """The texts of prompts with what follows them."""
        rows = [np.concatenate(pair) for pair in zip(prompts, tokens)]
        inputs = {"tokens": self._padded(rows), "lengths": np.array(list(map(len, rows)), np.int64)}
        decoded = self._model.call("decode", inputs)["sentences"]
        return [text.decode(errors="replace") for text in decoded]

    def _read(
        self, inputs: Mapping[str, Any], limits: Limits
    ) -> tuple[SearchOptions, list[np.ndarray]]:
        options = self._options({k: v for k, v in inputs.items() if k not in (PROMPT, PROMPTS)})
        rows = self._encoded(inputs[PROMPTS], limits) if PROMPTS in inputs else inputs[PROMPT]
        rows = [self._checked_prompt(index, row, options) for index, row in enumerate(rows)]
        limits.check_generation(list(map(len, rows)), options)
        return options, rows

    def _work(
        self,
        signature: str,
        options: SearchOptions,
        rows: list[np.ndarray],
        listener: Optional[Listener],
    ) -> Work:
        # Samples depend on a prompt's place in the batch.
        together = options.method == "sampling"
        size = len(rows) if together else 1
        items = []
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            payload = _Payload(part, signature in _OF_TEXT, listener, first)
            # As many steps as it may take: a short prompt may have a long continuation.
            longest = max(options.length_limit(len(row)) for row in part)
            items.append(Item(payload, len(part), longest))
        group = _Group(self, options, joins=not together)
        return Work(group, items, sum(map(len, rows)))

    def _encoded(self, prompts: np.ndarray, limits: Limits) -> np.ndarray:
        if len(prompts) > limits.sentences:
            raise invalid(
                f"prompts: this server takes at most {limits.sentences}, got {len(prompts)}"
            )
        return self._model.call("encode", {PROMPTS: prompts})[PROMPT]

    def _checked_prompt(self, index: int, row: np.ndarray, options: SearchOptions) -> np.ndarray:
        """The row without the padding behind it."""
        words = np.flatnonzero(row != self._padding_id)
        row = row[: words[-1] + 1] if len(words) else row[:0]
        outside = (row < 0) | (row >= self._target_vocabulary)
        if outside.any():
            raise invalid(
                f"prompt {index} has {row[outside][0]} at {outside.argmax()}, which is not in the"
                f" vocabulary of {self._target_vocabulary}"
            )
        if not self._has_start and not len(row):
            raise invalid(f"prompt {index} must have a token: the model has no start token")
        is_end = row == self._eos
        is_end[:1] &= self._has_start  # what a model without a start token begins with may be any
        if is_end.any():
            raise invalid(
                f"prompt {index} has the end, {self._eos}, at {is_end.argmax()}, where it goes on"
            )
        limit = options.length_limit(len(row))
        if len(row) > limit:
            raise invalid(
                f"prompt {index} has {len(row)} tokens, and with its continuation it may have"
                f" {limit} by max_length"
            )
        return row

    def _padded(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        padded = np.full([len(rows), max(map(len, rows), default=0)], self._padding_id, np.int64)
        for place, row in zip(padded, rows):
            place[: len(row)] = row
        return padded

    def _first_texts(
        self,
        payloads: Sequence[_Payload],
        rows: Sequence[np.ndarray],
        outputs: Mapping[str, np.ndarray],
    ) -> list[Optional[bytes]]:
        """What the first hypotheses add to the text of their prompts, where it is wanted."""
        wanted = [payload.text for payload in payloads for _ in payload.rows]
        places = np.flatnonzero(wanted)
        texts: list[Optional[bytes]] = [None] * len(wanted)
        if len(places) and "decode" in self._model.signatures:
            prompts = [rows[place] for place in places]
            tokens = [outputs["tokens"][i, 0, : outputs["lengths"][i, 0]] for i in places]
            before = self.texts(prompts, [row[:0] for row in prompts])
            for place, begin, text in zip(places, before, self.texts(prompts, tokens)):
                texts[place] = text[len(begin) :].encode()
        return texts

    def _call_streamed(
        self,
        payloads: Sequence[_Payload],
        inputs: Mapping[str, Any],
        cancellation: Cancellation,
    ) -> dict[str, np.ndarray]:
        """Generates, and tells tokens to those who listen while it does."""
        with TokenStream() as stream:
            reader = threading.Thread(
                target=_deliver, args=(self, payloads, stream), name="stream", daemon=True
            )
            reader.start()
            try:
                return self._model.call(_STREAM, {**inputs, "stream": stream.number}, cancellation)
            except BaseException:
                stream.close()  # the call may have failed before it began
                raise
            finally:
                reader.join()


@dataclasses.dataclass(frozen=True, eq=False)
class _Payload:
    rows: Sequence[np.ndarray]
    text: bool
    listener: Optional[Listener] = None
    first: int = 0
    """The first row's place in the request."""


@dataclasses.dataclass(frozen=True)
class _Group:
    """What differs in nothing but its prompts; alone if it does not join."""

    model: ContinuationModel
    options: SearchOptions
    joins: bool = True

    def run(self, payloads: list[_Payload], cancellation: Cancellation) -> list[Any]:
        return self.model.generate(payloads, self.options, cancellation)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, _Group)
            and self.joins
            and other.joins
            and self.model is other.model
            and self.options == other.options
        )

    def __hash__(self) -> int:
        return hash((id(self.model), self.options))


def _deliver(model: ContinuationModel, payloads: Sequence[_Payload], stream: TokenStream) -> None:
    """Hands out what comes, until nothing more does."""
    try:
        deliveries = _Deliveries(model, payloads)
        while (tokens := stream.read()) is not None:
            deliveries.hand_out(tokens)
    except Exception:  # who waits for the rest is told when the call has ended
        log.exception("tokens could not be handed out")


class _Deliveries:
    """Who listens to which rows of a batch, and how far each hypothesis is."""

    def __init__(self, model: ContinuationModel, payloads: Sequence[_Payload]):
        self._model = model
        self._payloads = [payload for payload in payloads for _ in payload.rows]
        self._places = [p.first + i for p in payloads for i in range(len(p.rows))]
        self._prompts = [row for payload in payloads for row in payload.rows]
        self._tokens: dict[tuple[int, int], list[int]] = {}
        self._texts: dict[tuple[int, int], GrowingText] = {}

    def hand_out(self, new: NewTokens) -> None:
        of_listener: dict[Listener, list[Told]] = {}
        columns = zip(*[column.tolist() for column in new])
        heard = [one for one in columns if self._payloads[one[0]].listener is not None]
        grown = []
        for row, sample, token, _, _ in heard:
            tokens = self._tokens.setdefault((row, sample), [])
            if token >= 0:
                tokens.append(token)
            grown.append(np.array(tokens, np.int64))
        texts = self._pieces(heard, grown)
        for (row, sample, token, log_prob, is_last), tokens, text in zip(heard, grown, texts):
            told = Told(self._places[row], sample, len(tokens) - 1, token, log_prob, text, is_last)
            of_listener.setdefault(self._payloads[row].listener, []).append(told)
        for listener, events in of_listener.items():
            listener(events)

    def _pieces(self, heard: Sequence[tuple], grown: Sequence[np.ndarray]) -> list[Optional[str]]:
        """What each new token adds to the text of its hypothesis."""
        texts: list[Optional[str]] = [None] * len(heard)
        places = [i for i, (row, *_) in enumerate(heard) if self._payloads[row].text]
        if not places:
            return texts
        prompts = [self._prompts[heard[i][0]] for i in places]
        first = [i for i in places if heard[i][:2] not in self._texts]
        if first:
            before = [self._prompts[heard[i][0]] for i in first]
            for i, text in zip(first, self._model.texts(before, [row[:0] for row in before])):
                self._texts.setdefault(heard[i][:2], GrowingText(text))
        for i, text in zip(places, self._model.texts(prompts, [grown[i] for i in places])):
            texts[i] = self._texts[heard[i][:2]].piece(text, is_last=heard[i][4])
        return texts
