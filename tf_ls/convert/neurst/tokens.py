"""The special tokens of a task's vocabularies, which NeurST reads from where its options say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from tf_ls.convert.error import ConversionError


class Tokens(NamedTuple):
    """Those that a model file knows."""

    start: int
    end: int
    unknown: int

    source_padding: int
    """A token that no source has."""


def of_task(configs: Mapping[str, Any]) -> Optional[Tokens]:
    """Returns the special tokens; None if the model was not trained for a task.

    Raises:
        ConversionError: the task cannot be made, or has no vocabulary of this kind.
        ImportError: NeurST, which makes it, is not installed.
    """
    if not configs.get("task.class"):
        return None
    import neurst  # noqa: F401  first: it chooses Keras 2 and mends itself
    import tensorflow as tf
    from neurst.tasks import build_task
    from neurst.tasks.language_model import LanguageModel
    from neurst.tasks.seq2seq import Seq2Seq

    try:
        task = build_task(dict(configs))
    except (KeyError, OSError, TypeError, ValueError, tf.errors.OpError) as error:
        raise ConversionError(f"the task {configs['task.class']}: {error}") from error
    if isinstance(task, LanguageModel):
        source = target = task._data_pipeline.meta
        begin = task._begin_of_sentence
    elif isinstance(task, Seq2Seq):
        source, target = task._src_data_pipeline.meta, task._trg_data_pipeline.meta
        begin = task._target_begin_of_sentence
    else:
        raise ConversionError(f"{type(task).__name__} is neither translation nor a language model")
    # By default a source is padded with the EOS that ends it. Model files have no such padding:
    # there it is BOS, with which no source of NeurST's begins.
    padded_with_eos = source["pad_id"] == source["eos_id"]
    return Tokens(
        start=target["eos_id" if begin == "eos" else "bos_id"],
        end=target["eos_id"],
        unknown=target["unk_id"],
        source_padding=source["bos_id" if padded_with_eos else "pad_id"],
    )
