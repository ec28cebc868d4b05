"""Continuations of prompts, whole or in pieces while they are made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from tf_ls.inference import Gpt
from tf_ls.inference.growing_text import GrowingText
from tf_ls.pipelines import generation_task
from tf_ls.pipelines.generation_task import EncodeIds, GenerationArguments
from tf_ls.pipelines.long_inputs import LongInputs
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.steps import Pipeline
from tf_ls.pipelines.tokenizers import TextTokenizer


@dataclasses.dataclass(frozen=True)
class Continue:
    """Prompts as ids of prompts and what comes behind them, without the end."""

    model: Gpt

    def __call__(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        return [
            self._without_end(list(map(int, found)), len(row))
            for row, found in zip(rows, self.model.sample(rows))
        ]

    def stream(self, row: Sequence[int]) -> Iterator[int]:
        """Yields the ids behind a prompt while they are generated; stops when it is closed."""
        return self.model.stream(row)

    def _without_end(self, ids: list[int], prompt: int) -> list[int]:
        try:
            return ids[: ids.index(self.model.eos, prompt)]
        except ValueError:
            return ids


@dataclasses.dataclass(frozen=True)
class Continuations:
    """Ids of a prompt and what comes behind it as a text."""

    tokenizer: TextTokenizer
    return_full_text: bool = True
    """Whether the prompt is in it."""

    def __call__(self, text: Prepared, outputs: Sequence[list[int]]) -> list[dict[str, Any]]:
        """Returns the text, in a list of one."""
        (ids,) = outputs
        (prompt,) = text.rows
        before = self.tokenizer.decode(prompt)
        behind = self.tokenizer.decode(ids)[len(before) :]
        whole = text.source + behind if self.return_full_text else behind
        return [{"generated_text": whole}]


@dataclasses.dataclass(frozen=True)
class TextGeneration(Pipeline):
    """Continues prompts, and tells of it while it does."""

    def stream(self, prompt: str) -> Iterator[str]:
        """Yields what comes behind a prompt in pieces of whole characters, while it is generated.

        Together they are what calling the pipeline returns behind the prompt. Generation stops when
        nobody asks for more: when the iterator is closed, or forgotten.

        Raises:
            ValueError: a search of several beams, whose tokens are not final when they come; what
                the first step raises.
        """
        (row,) = self.preprocess(prompt).rows
        tokens = self.model.stream(row)
        return self._pieces(row, tokens)

    def _pieces(self, row: Sequence[int], tokens: Iterator[int]) -> Iterator[str]:
        decode = self.postprocess.tokenizer.decode
        ids = list(row)
        text = GrowingText(decode(ids))
        with contextlib.closing(tokens):
            for token in tokens:
                ids.append(token)
                if piece := text.piece(decode(ids), is_last=False):
                    yield piece
        if piece := text.piece(decode(ids), is_last=True):
            yield piece


def build(arguments: GenerationArguments, *, return_full_text: bool = True) -> TextGeneration:
    """Builds the pipeline: arguments and errors of `tf_ls.pipeline`.

    Args:
        arguments: of the task.
        return_full_text: whether answers begin with the prompt.
    """
    model = generation_task.load(Gpt, arguments)
    tokenizer = generation_task.load_tokenizer(arguments, model)
    limit = generation_task.limit_of(arguments, tokenizer, _longest_prompt(model.options))
    return TextGeneration(
        EncodeIds(
            tokenizer,
            LongInputs(limit, arguments.long_inputs, ways=generation_task.WAYS),
            keeps_end=True,
        ),
        Continue(model),
        Continuations(tokenizer, return_full_text),
        arguments.batch_size,
    )


def _longest_prompt(options: dict[str, Any]) -> int:
    """Of how many tokens a prompt may be, so that one more fits behind it."""
    return max(options["max_length"] - 1, 1)
