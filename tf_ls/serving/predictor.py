"""One prediction, whichever protocol asked for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from tf_ls.inference.cancellation import Cancellation
from tf_ls.serving.batch_queue import Item
from tf_ls.serving.batcher import Batcher
from tf_ls.serving.continuation import ContinuationModel
from tf_ls.serving.errors import ServingError, internal, invalid
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel, Signature
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.model_store import ModelStore, Version
from tf_ls.serving.token_events import End, Told
from tf_ls.serving.translation import TranslationModel


class Servable:
    """A loaded version: a SavedModel, and what of it is generation."""

    def __init__(self, path: Path):
        """Loads a SavedModel, and warms it up if tf_ls has exported it.

        Raises:
            Exception: anything, if the SavedModel is broken.
        """
        self.model = LoadedModel(path)
        self.generation = ContinuationModel.of(self.model) or TranslationModel.of(self.model)
        if self.generation is not None:
            self.generation.warm_up()

    def generates(self, signature: str) -> bool:
        """Whether a signature's requests go through batches."""
        return self.generation is not None and signature in self.generation.signatures

    def is_ragged(self, signature: str, name: str) -> bool:
        """Whether an input may be given as rows of different lengths."""
        return self.generates(signature) and name == self.generation.ids_input

    def rows(self, inputs: Mapping[str, Any]) -> Any:
        """What is to be generated from: ids or text, one for each row."""
        if self.generation is None:
            return ()
        names = (self.generation.ids_input, self.generation.text_input)
        return next((inputs[name] for name in names if name in inputs), ())


class Predictor:
    """Answers predictions."""

    def __init__(self, store: ModelStore, batcher: Batcher, limits: Limits, metrics: Metrics):
        self.store, self.limits, self.metrics = store, limits, metrics
        self._batcher = batcher
        # Text is cut into pieces beside what runs, not behind it.
        self._text_thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="text")
        self._in_flight = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def close(self) -> None:
        """Takes no more requests."""
        self._closed = True

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """The context of a request, from when it is read until its answer is written.

        Raises:
            ServingError: the server is shutting down.
        """
        if self._closed:
            raise ServingError("UNAVAILABLE", "the server is shutting down", retry_after=1)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def deadline(self, seconds: Optional[float]) -> float:
        """When, by the event loop's clock, a client's patience or the server's ends."""
        limit = self.limits.timeout
        return asyncio.get_running_loop().time() + min(limit, limit if seconds is None else seconds)

    async def predict(
        self, version: Version, signature: Signature, inputs: Mapping[str, Any], deadline: float
    ) -> dict[str, np.ndarray]:
        """Returns a signature's outputs.

        Args:
            version: on lease until this returns.
            signature: of its model.
            inputs: arrays by name; of what is_ragged, also lists of vectors.
            deadline: by the event loop's clock.

        Raises:
            ServingError: there is no answer.
        """
        servable: Servable = version.model
        _check(signature, inputs)
        rows = servable.rows(inputs)
        if not servable.generates(signature.name) or not len(rows):
            if isinstance(rows, list):
                inputs = {**inputs, servable.generation.ids_input: np.zeros([0, 0], np.int64)}
            group = _OneCall(servable.model, signature.name)
            [result] = await self._batcher.submit(group, [Item(inputs, 1, 0)], deadline)
            return result
        loop = asyncio.get_running_loop()
        started = loop.time()
        work = await loop.run_in_executor(
            self._text_thread, servable.generation.work, signature.name, inputs, self.limits
        )
        self.metrics.stage("prepare", loop.time() - started)
        results = await self._batcher.submit(work.group, work.items, deadline)
        self.metrics.tokens("in", work.tokens)
        self.metrics.tokens("out", sum(int(h.lengths.sum()) for found in results for h in found))
        return servable.generation.outputs(signature.name, results)

    async def stream(
        self, version: Version, signature: Signature, inputs: Mapping[str, Any], deadline: float
    ) -> AsyncIterator[Union[Told, End]]:
        """Gives tokens as they come, and then the end. Closing it gives the request up.

        The model does not wait for who reads; what was not read yet is kept.

        Args:
            version, signature, inputs, deadline: as for `predict`.

        Raises:
            ServingError: there is no answer, or no more of it.
        """
        servable: Servable = version.model
        _check(signature, inputs)
        if not isinstance(servable.generation, ContinuationModel) or not servable.generates(
            signature.name
        ):
            raise invalid(
                f"signature {signature.name} cannot be streamed: those of models that continue"
                " prompts can"
            )
        if not len(servable.rows(inputs)):
            raise invalid("there is no prompt")
        loop = asyncio.get_running_loop()
        started = loop.time()
        arriving: asyncio.Queue = asyncio.Queue()

        def listen(events: Any) -> None:
            loop.call_soon_threadsafe(arriving.put_nowait, events)

        work, assembly = await loop.run_in_executor(
            self._text_thread,
            servable.generation.streamed_work,
            signature.name,
            inputs,
            self.limits,
            listen,
        )
        self.metrics.stage("prepare", loop.time() - started)
        answer = loop.create_task(self._batcher.submit(work.group, work.items, deadline))
        answer.add_done_callback(lambda _: arriving.put_nowait(None))
        first = True
        try:
            while not assembly.complete:
                events = await arriving.get()
                if events is None:
                    answer.result()
                    raise internal()  # it has an answer, whose tokens did not come
                for told in filter(assembly.add, events):
                    if first:
                        self.metrics.stage("first_token", loop.time() - started)
                        first = False
                    yield told
            yield assembly.end()
        finally:
            if assembly.complete:
                self._batcher.satisfy(work.items)
                answer.add_done_callback(_retrieve)
            else:
                answer.cancel()
            self.metrics.tokens("in", work.tokens)
            self.metrics.tokens("out", assembly.end().tokens)


def _retrieve(answer: asyncio.Task) -> None:
    """Looks at what nobody wants to know, so that it is not reported as forgotten."""
    if not answer.cancelled():
        answer.exception()


@dataclasses.dataclass(eq=False, frozen=True)
class _OneCall:
    """A signature that is called as it is, for one request."""

    model: LoadedModel
    signature: str
    joins = False

    def run(self, payloads: list[Any], cancellation: Cancellation) -> list[Any]:
        return [self.model.call(self.signature, inputs, cancellation) for inputs in payloads]


def _check(signature: Signature, inputs: Mapping[str, Any]) -> None:
    """Checks that inputs are those that the signature takes."""
    unknown = sorted(set(inputs) - set(signature.inputs))
    if unknown:
        raise invalid(
            f"signature {signature.name} has no input {', '.join(unknown)}; its inputs are"
            f" {', '.join(signature.inputs) or 'none'}"
        )
    missing = sorted(set(signature.inputs) - set(inputs) - set(signature.defaults))
    if missing:
        raise invalid(f"signature {signature.name} needs the input {', '.join(missing)}")
    for name, value in inputs.items():
        spec = signature.inputs[name]
        if isinstance(value, np.ndarray) and not spec.shape.is_compatible_with(value.shape):
            raise invalid(
                f"input {name} of signature {signature.name} has the shape {spec.shape}, got"
                f" {list(value.shape)}"
            )
