"""Models of pipelines: loaded here, or by their users."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

from tf_ls.inference import Bert
from tf_ls.inference.inference_model import InferenceModel
from tf_ls.pipelines.tokenizers import TextTokenizer

AnyModel = Union[str, os.PathLike, InferenceModel]
M = TypeVar("M", bound=InferenceModel)


def load(kind: type[M], model: AnyModel, batch_size: int, **how: Any) -> M:
    """Returns a model.

    Args:
        kind: Bert, Gpt or Transformer of `tf_ls.inference`.
        model: a path that this takes, or one that is loaded already.
        batch_size: how many sentences it computes at a time, at most.
        how: other arguments of its constructor; those that are None are left out.

    Raises:
        ValueError: a loaded model of another kind, or with arguments that say how to load it; what
            the constructor raises.
    """
    given = {name: value for name, value in how.items() if value is not None}
    if isinstance(model, (str, os.PathLike)):
        return kind(model, batch_size, **given)
    if not isinstance(model, kind):
        raise ValueError(
            f"model must be a path or a tf_ls.inference.{kind.__name__}, got {type(model).__name__}"
        )
    if given:
        raise ValueError(f"{', '.join(given)}: a loaded model has its own; give a path instead")
    return model


def load_encoder(model: AnyModel, batch_size: int, precision: Optional[str], task: str) -> Bert:
    """Returns a Bert with the head of a task; arguments and errors are those of `load`.

    Raises:
        ValueError: it has no such head.
    """
    loaded = load(Bert, model, batch_size, precision=precision)
    if loaded.task != task:
        has = f"is for {loaded.task}" if loaded.task else "has no head"
        raise ValueError(f"{task}: this model {has}")
    return loaded


def tokenizer_source(
    model: AnyModel, tokenizer: Union[str, os.PathLike, TextTokenizer, None]
) -> Union[str, os.PathLike, TextTokenizer]:
    """Returns where the tokenizer of a model is: as given, or in the model's folder.

    Raises:
        ValueError: none is given, and the model has no folder.
    """
    if tokenizer is not None:
        return tokenizer
    if isinstance(model, (str, os.PathLike)) and Path(model).is_dir():
        return model
    raise ValueError("tokenizer: name its folder or its file: this model does not have one")
