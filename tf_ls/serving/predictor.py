"""One prediction, whichever protocol asked for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from tf_ls.serving.batch_queue import Item
from tf_ls.serving.batcher import Batcher
from tf_ls.serving.cancellation import Cancellation
from tf_ls.serving.errors import ServingError, invalid
from tf_ls.serving.generation import SENTENCES, SOURCE, GenerationModel
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel, Signature
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.model_store import ModelStore, Version


class Servable:
    """A loaded version: a SavedModel, and what of it is generation."""

    def __init__(self, path: Path):
        """Loads a SavedModel, and warms it up if tf_ls has exported it.

        Raises:
            Exception: anything, if the SavedModel is broken.
        """
        self.model = LoadedModel(path)
        self.generation = GenerationModel.of(self.model)
        if self.generation is not None:
            self.generation.warm_up()

    def generates(self, signature: str) -> bool:
        """Whether a signature's requests go through batches."""
        return self.generation is not None and signature in self.generation.signatures

    def is_ragged(self, signature: str, name: str) -> bool:
        """Whether an input may be given as rows of different lengths."""
        return name == SOURCE and self.generates(signature)


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
        rows = inputs.get(SOURCE, inputs.get(SENTENCES, ()))
        if not servable.generates(signature.name) or not len(rows):
            if isinstance(rows, list):
                inputs = {**inputs, SOURCE: np.zeros([0, 0], np.int64)}
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
