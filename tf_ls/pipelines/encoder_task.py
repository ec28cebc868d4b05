"""What tasks on which a model encodes texts are built of."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, Optional, Union

from tf_ls.inference import Bert
from tf_ls.pipelines import models, tokenizers
from tf_ls.pipelines.encoder_steps import EncodeText
from tf_ls.pipelines.long_inputs import LongInputs, smallest
from tf_ls.pipelines.tokenizers import FileTokenizer, TextTokenizer


class EncoderArguments(NamedTuple):
    """What `tf_ls.pipeline` takes for each of these tasks."""

    model: models.AnyModel
    tokenizer: Union[str, os.PathLike, TextTokenizer, None]
    batch_size: int
    precision: Optional[str]
    long_inputs: str
    stride: int
    max_length: Optional[int]


def load_tokenizer(arguments: EncoderArguments) -> FileTokenizer:
    """Returns the tokenizer; the errors are those of `tokenizers.load_fast`."""
    source = models.tokenizer_source(arguments.model, arguments.tokenizer)
    return tokenizers.load_fast(source)


def encode_text(
    arguments: EncoderArguments, bert: Bert, tokenizer: FileTokenizer, *, takes_pairs: bool = False
) -> EncodeText:
    """Returns the first step.

    Raises:
        ValueError: a `max_length` of more tokens than the model has positions for; what LongInputs
            raises.
    """
    limit, wanted = smallest(bert.positions, tokenizer.limit), arguments.max_length
    if wanted is not None and bert.positions is not None and wanted > bert.positions:
        raise ValueError(f"max_length: the model takes {bert.positions} tokens, got {wanted}")
    limit = limit if wanted is None else wanted
    long_inputs = LongInputs(limit, arguments.long_inputs, arguments.stride)
    return EncodeText(tokenizer.tokenizer, long_inputs, takes_pairs)


def labels_of(bert: Bert) -> Callable[[int], str]:
    """Returns what names a class by its number."""
    labels = bert.labels
    return lambda i: labels[i] if labels else f"LABEL_{i}"
