"""What tasks on which a model generates are built of."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, TypeVar, Union

from tf_ls.inference.inference_model import GeneratingModel
from tf_ls.pipelines import models, tokenizers
from tf_ls.pipelines.long_inputs import ERROR, TRUNCATE, LongInputs, smallest
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.tokenizers import TextTokenizer

M = TypeVar("M", bound=GeneratingModel)

WAYS = (ERROR, TRUNCATE)


class GenerationArguments(NamedTuple):
    """What `tf_ls.pipeline` takes for each of these tasks."""

    model: models.AnyModel
    tokenizer: Union[str, os.PathLike, TextTokenizer, None]
    batch_size: int
    precision: Optional[str]
    long_inputs: str
    max_length: Optional[int]
    options: Optional[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class EncodeIds:
    """A text as ids, special ones included."""

    tokenizer: TextTokenizer
    long_inputs: LongInputs
    keeps_end: bool = False
    """Which part of the text stays when it is truncated."""

    def __call__(self, source: str) -> Prepared:
        """Encodes a text.

        Raises:
            TooLong: a text of too many tokens, unless it may be truncated.
            ValueError: no text.
        """
        if not isinstance(source, str):
            raise ValueError(f"expected a text, got {source!r}")
        ids = [int(i) for i in self.tokenizer.encode(source)]
        if self.long_inputs.too_long(len(ids)):
            ids = self._truncated(ids)
        return Prepared(source, [ids])

    def _truncated(self, ids: list[int]) -> list[int]:
        """Without tokens of the text; special ones in front and behind stay."""
        special = [int(i) for i in self.tokenizer.encode("")]
        behind = len(special)
        while ids[len(ids) - behind :] != special[len(special) - behind :]:
            behind -= 1
        front = len(special) - behind
        room = self.long_inputs.room(len(special))
        text = ids[front : len(ids) - behind]
        kept = text[-room:] if self.keeps_end else text[:room]
        return [*ids[:front], *kept, *ids[len(ids) - behind :]]


def load(kind: type[M], arguments: GenerationArguments, **options: Any) -> M:
    """Returns the model; arguments and errors are those of `models.load`.

    Args:
        kind: which.
        arguments: of the task.
        options: of the task, behind those of its user.
    """
    given = {**options, **(arguments.options or {})} or None
    return models.load(
        kind,
        arguments.model,
        arguments.batch_size,
        options=given,
        precision=arguments.precision,
    )


def load_tokenizer(arguments: GenerationArguments, model: GeneratingModel) -> TextTokenizer:
    """Returns the tokenizer: the one that is given, the model's own, or its folder's.

    Raises:
        ValueError: there is none, or what `tokenizers.load` raises.
    """
    if arguments.tokenizer is None and model.text is not None:
        return model.text
    return tokenizers.load(models.tokenizer_source(arguments.model, arguments.tokenizer))


def limit_of(
    arguments: GenerationArguments, tokenizer: TextTokenizer, of_model: Optional[int]
) -> Optional[int]:
    """Returns how many tokens a text may have.

    Raises:
        ValueError: `max_length` is more than the model takes.
    """
    wanted = arguments.max_length
    if wanted is None:
        return smallest(of_model, getattr(tokenizer, "limit", None))
    if of_model is not None and wanted > of_model:
        raise ValueError(f"max_length: the model takes {of_model} tokens, got {wanted}")
    return wanted
