"""What an LSTransformer translates with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Optional, Union

from tf_ls import ops
from tf_ls.export.text import Text
from tf_ls.export.translation_model import TranslationModel, merged_options
from tf_ls.models import LSTransformer

StrPath = Union[str, os.PathLike]


def describe(
    model: LSTransformer,
    options: Union[ops.SearchOptions, Mapping[str, Any], None],
    start: Optional[int],
    sentencepiece: Union[StrPath, tuple[StrPath, StrPath], None],
) -> TranslationModel:
    """Returns what `tf_ls.export.save` exports; the arguments and errors are its."""
    if not isinstance(model, LSTransformer):
        raise ValueError(
            "expected an LSTransformer, an ops.Decoder, a files.Model or a path, got a"
            f" {type(model).__name__}"
        )
    vocabulary = model.settings.target_vocab_size
    if start is None:
        raise ValueError("start, the token in front of each hypothesis, must be given")
    if model.settings.padding_idx is None:
        raise ValueError(
            f"{model.name} has no padding_idx, so there is nothing to put behind shorter sources"
        )
    options = merged_options(options, None)
    for name, token in (("start", start), ("eos", options.eos)):
        if not 0 <= token < vocabulary:
            raise ValueError(f"{name} must be in the vocabulary of {vocabulary}, got {token}")
    source = target = None
    if sentencepiece is not None:
        one_file = isinstance(sentencepiece, (str, os.PathLike))
        source, target = map(Text, (sentencepiece,) * 2 if one_file else sentencepiece)
    return TranslationModel(
        weights=model.encoder_decoder(),
        start=start,
        padding_id=model.settings.padding_idx,
        options=options,
        source_text=source,
        target_text=target,
        no_text_because="" if source else "no SentencePiece model was given",
    )
