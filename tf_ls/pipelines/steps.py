"""A task on texts as three steps, each of which can be another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

from tf_ls.pipelines.batches import Model, outputs_of
from tf_ls.pipelines.prepared import Prepared

Input = Union[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """From texts to answers.

    Each step can be replaced: `dataclasses.replace(pipeline, postprocess=mine)`.
    """

    preprocess: Callable[[Any], Prepared]
    """From an input to rows for the model, one or more. Raises ValueError for what is none."""

    model: Model
    """From rows, of any inputs, to an output for each."""

    postprocess: Callable[[Prepared, Sequence[Any]], Any]
    """From an input and the outputs of its rows to the answer."""

    batch_size: int = 8
    """How many rows the model is given at a time, at most."""

    read_ahead: int = 4
    """How many batches of inputs are read, and sorted by length, before the first is computed."""

    def __post_init__(self):
        for name in ("batch_size", "read_ahead"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, inputs: Union[Input, Sequence[Input], Iterable[Input]]) -> Any:
        """Computes answers.

        Args:
            inputs: one text; a list (or tuple) of texts; or any other iterable of texts, which may
                be endless. Where a task takes pairs, a dictionary of "text" and "text_pair" is a
                text, too.

        Returns:
            Of one text its answer; [answer] if it is one dictionary. Of a list a list of answers.
            Of an iterable an iterator of answers, in their order, which reads `read_ahead` batches
            of texts at a time.

        Raises:
            ValueError: an input that the first step does not take; its message says which.
        """
        if isinstance(inputs, (str, Mapping)):
            (answer,) = self._answers([self.preprocess(inputs)])
            return [answer] if isinstance(answer, Mapping) else answer
        answers = self._iterate(inputs)
        return list(answers) if isinstance(inputs, (list, tuple)) else answers

    def _iterate(self, inputs: Iterable[Input]) -> Iterator[Any]:
        numbered = enumerate(inputs)
        while some := list(itertools.islice(numbered, self.batch_size * self.read_ahead)):
            yield from self._answers([self._prepare(*one) for one in some])

    def _prepare(self, number: int, text: Input) -> Prepared:
        try:
            return self.preprocess(text)
        except ValueError as error:
            raise ValueError(f"input {number}: {error}") from error

    def _answers(self, inputs: Sequence[Prepared]) -> list[Any]:
        outputs = outputs_of(inputs, self.model, self.batch_size)
        return [self.postprocess(*pair) for pair in zip(inputs, outputs)]
