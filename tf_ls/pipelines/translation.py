"""Translations of sentences, and whatever else goes from a text to a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from tf_ls.inference import Transformer
from tf_ls.pipelines import generation_task
from tf_ls.pipelines.generation_task import EncodeIds, GenerationArguments
from tf_ls.pipelines.long_inputs import LongInputs
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.steps import Pipeline
from tf_ls.pipelines.tokenizers import TextTokenizer


class Hypotheses(NamedTuple):
    """What was generated of one sentence: n hypotheses, best first."""

    tokens: np.ndarray
    """int64 [n, T]"""

    scores: np.ndarray
    """float32 [n]; -inf where a search found fewer."""


@dataclasses.dataclass(frozen=True)
class Translate:
    """Sentences as hypotheses."""

    model: Transformer

    def __call__(self, rows: Sequence[Sequence[int]]) -> list[Hypotheses]:
        return [Hypotheses(*one) for one in zip(*self.model.infer(rows))]


@dataclasses.dataclass(frozen=True)
class Translations:
    """Hypotheses as texts."""

    tokenizer: TextTokenizer
    eos: int
    count: Optional[int] = None
    """How many to return, in a list; None: the best one alone."""

    def __call__(
        self, text: Prepared, outputs: Sequence[Hypotheses]
    ) -> Union[dict[str, Any], list[dict[str, Any]]]:
        """Returns translations, best first; fewer than `count` if a search found fewer."""
        ((tokens, scores),) = outputs
        found = [
            {"translation_text": self._text(row), "score": float(score)}
            for row, score in zip(tokens[: self.count or 1], scores)
            if np.isfinite(score)
        ]
        return found[0] if self.count is None else found

    def _text(self, row: np.ndarray) -> str:
        ends = np.flatnonzero(row == self.eos)
        return self.tokenizer.decode([int(i) for i in (row[: ends[0]] if len(ends) else row)])


def build(arguments: GenerationArguments, *, num_hypotheses: Optional[int] = None) -> Pipeline:
    """Builds the pipeline: arguments and errors of `tf_ls.pipeline`.

    Args:
        arguments: of the task.
        num_hypotheses: how many translations of each sentence to return, in a list; None: the best
            one alone.

    Raises:
        ValueError: the model does not return so many.
    """
    if isinstance(arguments.model, Transformer):
        model = generation_task.load(Transformer, arguments)
    else:
        model = generation_task.load(Transformer, arguments, num_hypotheses=num_hypotheses or 1)
    most = model.options["num_hypotheses"]
    if num_hypotheses is not None and not 1 <= num_hypotheses <= most:
        raise ValueError(
            f"num_hypotheses must be 1 to {most}, as many as the model returns; got"
            f" {num_hypotheses}"
        )
    tokenizer = generation_task.load_tokenizer(arguments, model)
    limit = generation_task.limit_of(arguments, tokenizer, model.positions)
    return Pipeline(
        EncodeIds(
            tokenizer,
            LongInputs(limit, arguments.long_inputs, ways=generation_task.WAYS),
        ),
        Translate(model),
        Translations(tokenizer, model.eos, num_hypotheses),
        arguments.batch_size,
    )
