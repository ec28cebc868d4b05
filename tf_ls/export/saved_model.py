"""Models that translate, or continue prompts, as SavedModels.

TensorFlow is imported when a model is saved and not before: NeurST has to be imported first, to
choose its Keras.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from tf_ls.export.precision import precision_of

if TYPE_CHECKING:
    from tf_ls.models import LSTransformer
    from tf_ls.ops import Decoder, SearchOptions

StrPath = Union[str, os.PathLike]

_NO_PORTABLE_INT8 = "TensorFlow itself has no operation that multiplies by it"
_NO_PORTABLE_TEXT = "TensorFlow itself has no operation for SentencePiece"


def save(
    model: Union[LSTransformer, Decoder, StrPath],
    path: StrPath,
    *,
    precision: str = "float32",
    options: Union[SearchOptions, Mapping[str, Any], None] = None,
    start: Optional[int] = None,
    sentencepiece: Union[StrPath, tuple[StrPath, StrPath], None] = None,
    portable: bool = False,
    calibration: Union[Sequence[str], Sequence[Sequence[int]], None] = None,
) -> None:
    """Writes a SavedModel that generates, in one operation, from ids and, if it can, from text.

    Or, if it is to be portable, in TensorFlow's own operations alone, from ids.

    docs/export.md has its signatures.

    Args:
        model: an LSTransformer; a Decoder without cross-attention; or the folder of a model that
            NeurST has trained.
        path: of the folder to write.
        precision: float32, float16 or bfloat16, of the weights and of what layers compute; or int8,
            int8_bfloat16 or int8_float16: matrices in int8, and layers compute in float32, or in
            what the name says.
        options: how to generate unless told otherwise. As a mapping: what differs from the
            model's own options, which for NeurST's models have its EOS and forbid its unknown
            token; for others `eos` must be among them.
        start: unless the model is NeurST's: the token in front of each hypothesis, or prompt.
        sentencepiece: for a model, not NeurST's, whose tokens are the pieces of a SentencePiece
            model: its file, or two, of source and target. (NeurST's models know their own.)
        portable: whether the model is to run where no library can be loaded: slower, without text,
            not in int8, and not for models without an encoder.
        calibration: for int8, of a model that translates: sentences in the source language, of
            which up to 128 are used to measure what int8 costs each matrix; those that lose too
            much stay in float32. They are text, or lists of ids; strings of ids for an
            LSTransformer without sentencepiece.

    Raises:
        ValueError: an unknown precision or option; something about the model that is missing, or
            that cannot be exported; text or int8 of a portable model, or one without an encoder;
            calibration without int8, of a model without an encoder, or by what are no sentences of
            the model's; weights that are no numbers, in int8.
        FileNotFoundError: there is no such model.
    """
    is_int8 = precision_of(precision).is_int8
    if portable and is_int8:
        raise ValueError(f"a portable model cannot be {precision}: {_NO_PORTABLE_INT8}")
    if calibration is not None and not is_int8:
        raise ValueError(f"calibration is for int8, but the precision is {precision}")
    if portable and sentencepiece is not None:
        raise ValueError(f"a portable model cannot have text: {_NO_PORTABLE_TEXT}")
    if isinstance(model, (str, os.PathLike)):
        if start is not None or sentencepiece is not None:
            raise ValueError(
                "start and sentencepiece are not for NeurST's models: they know theirs"
            )
        if not Path(model, "model_configs.yml").is_file():
            raise FileNotFoundError(f"{model} is no model of NeurST's: it has no model_configs.yml")
        from tf_ls.neurst import model_folder  # before TensorFlow

        described = model_folder.load(os.fspath(model), options)
    else:
        from tf_ls.export import language_model, lstransformer
        from tf_ls.ops import Decoder

        describe = (language_model if isinstance(model, Decoder) else lstransformer).describe
        described = describe(model, options, start, sentencepiece)
    import tensorflow as tf
    from absl import logging

    from tf_ls.export.generation_module import GenerationModule
    from tf_ls.export.language_model import LanguageModel
    from tf_ls.export.language_module import LanguageModule

    continues = isinstance(described, LanguageModel)
    if portable and continues:
        raise ValueError("there is no portable form of a model without an encoder")
    if portable:
        described = described.without_text(_NO_PORTABLE_TEXT)
    if described.no_text_because:
        text = "generate" if continues else "translate"
        logging.warning("tf_ls: %s has no signature %s: %s", path, text, described.no_text_because)
    if continues:
        module = LanguageModule(described, precision, calibration=calibration)
    else:
        module = GenerationModule(
            described, precision, is_portable=portable, calibration=calibration
        )
    if module.int8_report is not None:
        logging.warning("tf_ls: %s: %s", path, module.int8_report)
    tf.saved_model.save(module, os.fspath(path), signatures=module.signatures())
