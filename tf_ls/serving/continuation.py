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
from tf_ls.inference.ids import padded, without_padding
from tf_ls.ops.search_options import SearchOptions
from tf_ls.ops.token_stream import NewTokens, TokenStream
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
)
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel
from tf_ls.serving.token_events import Assembly, Listener, Told

log = logging.getLogger(__name__)

PROMPT, PROMPTS = "prompt", "prompts"

# What does not stand for a stream's number is no business of clients'.
_STREAM = "stream"
_OF_TEXT = ("generate", "generate_with_options")
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
        is_one = {*NEEDED, _STREAM} <= model.signatures.keys()
        return cls(model) if is_one and PROMPT in model.signature(WITH_OPTIONS).inputs else None

    def __init__(self, model: LoadedModel):
        has_text = set(_NEEDED_FOR_TEXT) <= model.signatures.keys()
        super().__init__(model, [*OF_IDS, *(_OF_TEXT if has_text else ())], "vocabulary")
        self._has_start = int(self._properties["start"]) >= 0
        model.hide(_STREAM)

    def warm_up(self) -> None:
        word = next(i for i in range(self._target_vocabulary) if i != self._eos)
        options = self._checked_options({"max_length": np.array(4), "min_length": np.array(0)})
        for prompts, length in ((1, 1), (16, 3)):
            rows = [np.array([word] * length)] * prompts
            Group(self, options).run([_Payload(rows, text=True)], Cancellation())

    def work(self, signature: str, inputs: Mapping[str, Any], limits: Limits) -> Work:
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
        try:
            options.check_tokens_are_final()
        except ValueError as error:
            raise invalid(str(error)) from None
        count = options.num_hypotheses if options.method == "sampling" else 1
        left = [options.length_limit(len(row)) - len(row) for row in rows]
        work = self._work(signature, options, rows, listener)
        return StreamedWork(work, Assembly(left, count, self._eos))

    def outputs(
        self, signature: str, results: Sequence[Sequence[Continuations]]
    ) -> dict[str, np.ndarray]:
        found = [continuations for result in results for continuations in result]
        if signature in _OF_TEXT:
            return {
                "continuations": np.array([c.text for c in found], object),
                "scores": np.array([c.scores[0] for c in found], np.float32),
            }
        return self._ids_outputs(found)

    def generate(
        self,
        signature: str,
        payloads: Sequence[_Payload],
        options: SearchOptions,
        cancellation: Cancellation,
    ) -> list[list[Continuations]]:
        rows = [row for payload in payloads for row in payload.rows]
        inputs = {PROMPT: padded(rows, self._padding_id), **self._option_inputs(options)}
        if any(payload.listener is not None for payload in payloads):
            outputs = self._call_streamed(payloads, inputs, cancellation)
        else:
            outputs = self._model.call(signature, inputs, cancellation)
        texts = self._first_texts(payloads, rows, outputs)
        found = zip(outputs["tokens"], outputs["lengths"], outputs["scores"], texts)
        continuations = iter([Continuations(*one) for one in found])
        return [[next(continuations) for _ in payload.rows] for payload in payloads]

    def texts(self, prompts: Sequence[np.ndarray], tokens: Sequence[np.ndarray]) -> list[str]:
        """The texts of prompts with what follows them."""
        rows = [np.concatenate(pair) for pair in zip(prompts, tokens)]
        inputs = {
            "tokens": padded(rows, self._padding_id),
            "lengths": np.array(list(map(len, rows)), np.int64),
        }
        decoded = self._model.call("decode", inputs)["sentences"]
        return [text.decode(errors="replace") for text in decoded]

    def _read(self, inputs: Mapping[str, Any], limits: Limits) -> tuple[SearchOptions, Rows]:
        """What a request asks for: options, and prompts without padding."""
        options = self._options_of(inputs)
        given = enumerate(self._rows(inputs, limits))
        rows = [self._checked_prompt(index, row, options) for index, row in given]
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
        group = Group(self, options, joins=not together)
        return Work(group, items, sum(map(len, rows)))

    def _checked_prompt(self, index: int, row: np.ndarray, options: SearchOptions) -> np.ndarray:
        """The row without the padding behind it."""
        row = without_padding(row, self._padding_id)
        check_ids(f"prompt {index}", row, self._target_vocabulary)
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
