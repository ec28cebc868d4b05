"""`tf_ls.pipeline`: a task and a model as a function from texts to answers."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

if TYPE_CHECKING:
    from tf_ls.pipelines.models import AnyModel
    from tf_ls.pipelines.steps import Pipeline
    from tf_ls.pipelines.tokenizers import TextTokenizer

ENCODING = ("text-classification", "token-classification", "fill-mask", "feature-extraction")
GENERATING = ("translation", "text-generation")


def pipeline(
    task: str,
    model: AnyModel,
    *,
    tokenizer: Union[str, os.PathLike, TextTokenizer, None] = None,
    batch_size: int = 8,
    precision: Optional[str] = None,
    long_inputs: str = "error",
    stride: int = 0,
    max_length: Optional[int] = None,
    options: Optional[Mapping[str, Any]] = None,
    **task_options: Any,
) -> Pipeline:
    """Builds what does a task: see Pipeline, and docs/pipelines.md for the answers of each task.

    Args:
        task: translation, text-generation, text-classification, token-classification, fill-mask or
            feature-extraction.
        model: a folder of Hugging Face's, a model file (.pb, .hdf5), a folder of NeurST's, a
            SavedModel of `tf_ls.export.save`; or a Transformer, Bert or Gpt of `tf_ls.inference`.
        tokenizer: a folder or a file; a tokenizer of the library `tokenizers`; for tasks that
            generate anything with `encode` and `decode`. None: the model's own, or its folder's.
        batch_size: how many texts, or windows of texts, are computed at a time, at most.
        precision: of a model that is no SavedModel and not loaded yet, as for `tf_ls.export.save`.
        long_inputs: what becomes of texts of more tokens than the model takes. error: ValueError
            (TooLong). truncate: they are cut, prompts in front, others behind. split: they are
            computed as overlapping windows, and what comes of these is put together; not for tasks
            that generate.
        stride: with split, how many tokens neighbouring windows have in common.
        max_length: how many tokens a text may have, special ones included; None: as many as the
            model and its tokenizer take.
        options: of generation, in front of the model's own: `tf_ls.ops.SearchOptions`.
        task_options: text-classification: top_k, function_to_apply. token-classification:
            aggregation, ignore_labels. fill-mask: top_k, targets. feature-extraction: pooling,
            normalize. translation: num_hypotheses. text-generation: return_full_text.

    Raises:
        FileNotFoundError: the model, or a tokenizer, is no path. Nothing is downloaded.
        ImportError: a library that reads the tokenizer is not installed.
        ValueError: an unknown task, a model that does something else, or something that does not
            fit it.
        TypeError: an option that the task does not have.
    """
    if task not in ENCODING + GENERATING:
        raise ValueError(f"task must be one of {', '.join(ENCODING + GENERATING)}; got {task!r}")
    if isinstance(model, (str, os.PathLike)) and not Path(model).exists():
        raise FileNotFoundError(
            f"{os.fspath(model)!r} is no path here, and tf_ls downloads nothing: get the model"
            " first, and name its folder"
        )
    build = importlib.import_module(f"tf_ls.pipelines.{task.replace('-', '_')}").build
    if task in GENERATING:
        if stride:
            raise ValueError(f"stride: {task} does not split texts")
        from tf_ls.pipelines.generation_task import GenerationArguments

        arguments = GenerationArguments(
            model, tokenizer, batch_size, precision, long_inputs, max_length, options
        )
    else:
        if options:
            raise ValueError(f"options are of models that generate; {task} has none")
        from tf_ls.pipelines.encoder_task import EncoderArguments

        arguments = EncoderArguments(
            model, tokenizer, batch_size, precision, long_inputs, stride, max_length
        )
    return build(arguments, **task_options)
