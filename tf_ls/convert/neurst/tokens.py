"""The special tokens of a task's vocabularies, which NeurST reads from where its options say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from tf_ls.convert.error import ConversionError


class Tokens(NamedTuple):
    """The special tokens of a task that generates."""

    start: int
    """In front of a target."""

    end: int
    """Behind it."""

    unknown: Optional[int]
    """None: the vocabulary has a token for every text."""

    source_start: int
    """Of the source's vocabulary. Only targets begin with theirs, so that no source has it."""

    source_padding: int

    padding_is_end: bool
    """Whether the first padding of a source is the end of its sentence."""

    @property
    def padding_alone(self) -> int:
        """A source's padding where it cannot be the end of a sentence as well: in model files."""
        return self.source_start if self.padding_is_end else self.source_padding

    def options(self) -> dict[str, Any]:
        """Those of `tf_ls.ops.SearchOptions` that they are; NeurST forbids the unknown token."""
        forbidden = () if self.unknown is None else (self.unknown,)
        return {"eos": self.end, "forbidden_tokens": forbidden}


def task_of(configs: Mapping[str, Any]) -> Any:
    """Returns NeurST's task; None if the model was not trained for one.

    Raises:
        ConversionError: the task cannot be made; a vocabulary is not there, for one.
        ImportError: NeurST is not installed.
    """
    if not configs.get("task.class"):
        return None
    import neurst  # noqa: F401  first: it chooses Keras 2 and mends itself
    import tensorflow as tf
    from neurst.tasks import build_task

    try:
        return build_task(dict(configs))
    except (KeyError, OSError, TypeError, ValueError, tf.errors.OpError) as error:
        raise ConversionError(f"the task {configs['task.class']}: {error}") from error


def of_task(task: Any) -> Tokens:
    """Returns the special tokens of a task of NeurST's.

    Raises:
        ConversionError: it is neither translation nor a language model.
    """
    from neurst.data.text.vocab import PaddingMode
    from neurst.tasks.language_model import LanguageModel
    from neurst.tasks.seq2seq import Seq2Seq

    if isinstance(task, LanguageModel):
        source = target = task._data_pipeline.meta
        begin = task._begin_of_sentence
    elif isinstance(task, Seq2Seq):
        source, target = task._src_data_pipeline.meta, task._trg_data_pipeline.meta
        begin = task._target_begin_of_sentence
    else:
        raise ConversionError(
            f"the task {type(task).__name__} is neither translation nor a language model"
        )
    mode = source.get("padding_mode", PaddingMode.EOS_AS_PADDING)
    return Tokens(
        start=target["eos_id" if begin == "eos" else "bos_id"],
        end=target["eos_id"],
        unknown=target.get("unk_id"),
        source_start=source["bos_id"],
        source_padding=source["pad_id"],
        padding_is_end=mode == PaddingMode.EOS_AS_PADDING,
    )
