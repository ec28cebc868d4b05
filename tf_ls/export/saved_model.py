"""Models that translate, continue prompts, or encode, as SavedModels.

TensorFlow is imported when a model is saved and not before: NeurST has to be imported first, to
choose its Keras.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from tf_ls.export import sources
from tf_ls.export.precision import precision_of

if TYPE_CHECKING:
    from tf_ls.export.modules import AnyModel
    from tf_ls.files import Model
    from tf_ls.models import LSTransformer
    from tf_ls.ops import Decoder, SearchOptions

StrPath = Union[str, os.PathLike]

_NO_PORTABLE_INT8 = "TensorFlow itself has no operation that multiplies by it"
_NO_PORTABLE_TEXT = "TensorFlow itself has no operation for SentencePiece"


def save(
    model: Union[LSTransformer, Decoder, Model, StrPath],
    path: StrPath,
    *,
    precision: str = "float32",
    family: Optional[str] = None,
    options: Union[SearchOptions, Mapping[str, Any], None] = None,
    start: Optional[int] = None,
    sentencepiece: Union[StrPath, tuple[StrPath, StrPath], None] = None,
    portable: bool = False,
    calibration: Union[Sequence[str], Sequence[Sequence[int]], None] = None,
) -> None:
    """Writes a SavedModel that generates or encodes, in one operation.

    From ids and, if it can, from text. Or, if it is to be portable, in TensorFlow's own operations
    alone, from ids.

    docs/export.md has its signatures.

    Args:
        model: an LSTransformer; a Decoder without cross-attention; a model of `tf_ls.files`, or its
            file, .pb or .hdf5; or the folder of a model that NeurST has trained.
        path: of the folder to write.
        precision: float32, float16 or bfloat16, of the weights and of what layers compute; or int8,
            int8_bfloat16 or int8_float16: matrices in int8, and layers compute in float32, or in
            what the name says.
        family: of a model file, which does not say it itself: transformer, bert or gpt.
        options: how to generate unless told otherwise. As a mapping: what differs from the
            model's own options, which for NeurST's models have its EOS and forbid its unknown
            token; for an LSTransformer and a Decoder `eos` must be among them.
        start: of an LSTransformer or a Decoder: the token in front of each hypothesis, or prompt.
            None, of a Decoder: a prompt's first token is what it begins with (GPT-2).
        sentencepiece: for an LSTransformer or a Decoder whose tokens are the pieces of a
            SentencePiece model: its file, or two, of source and target. (NeurST's models know their
            own.)
        portable: whether the model is to run where no library can be loaded: slower, without text,
            not in int8, and for models that translate only.
        calibration: for int8, of a model that translates: sentences in the source language, of
            which up to 128 are used to measure what int8 costs each matrix; those that lose too
            much stay in float32. They are text, or lists of ids; strings of ids for an
            LSTransformer without sentencepiece.

    Raises:
        ValueError: an unknown precision or option; something about the model that is missing, or
            that cannot be exported; a model file that is damaged, or whose family is not given;
            text or int8 of a portable model, or one that does not translate; calibration without
            int8, of a model that does not translate, or by what are no sentences of the model's;
            weights that are no numbers, in int8.
        FileNotFoundError: there is no such model.
    """
    is_int8 = precision_of(precision).is_int8
    if portable and is_int8:
        raise ValueError(f"a portable model cannot be {precision}: {_NO_PORTABLE_INT8}")
    if calibration is not None and not is_int8:
        raise ValueError(f"calibration is for int8, but the precision is {precision}")
    if portable and sentencepiece is not None:
        raise ValueError(f"a portable model cannot have text: {_NO_PORTABLE_TEXT}")
    described = _described(model, family, options, start, sentencepiece)
    import tensorflow as tf
    from absl import logging

    from tf_ls.export.encoder_model import EncoderModel
    from tf_ls.export.modules import module_of
    from tf_ls.export.translation_model import TranslationModel

    more = {}
    translates = isinstance(described, TranslationModel)
    if portable:
        if not translates:
            raise ValueError("there is no portable form of a model that does not translate")
        described = described.without_text(_NO_PORTABLE_TEXT)
        more["is_portable"] = True
    if not isinstance(described, EncoderModel) and described.no_text_because:
        text, why = "translate" if translates else "generate", described.no_text_because
        logging.warning("tf_ls: %s has no signature %s: %s", path, text, why)
    module = module_of(described, precision, calibration=calibration, **more)
    if module.int8_report is not None:
        logging.warning("tf_ls: %s: %s", path, module.int8_report)
    tf.saved_model.save(module, os.fspath(path), signatures=module.signatures())


def _described(
    model: Union[LSTransformer, Decoder, Model, StrPath],
    family: Optional[str],
    options: Union[SearchOptions, Mapping[str, Any], None],
    start: Optional[int],
    sentencepiece: Union[StrPath, tuple[StrPath, StrPath], None],
) -> AnyModel:
    """Returns what `save` exports; the arguments and errors are its."""
    from tf_ls.files import Model

    if isinstance(model, (str, os.PathLike, Model)):
        if start is not None or sentencepiece is not None:
            raise ValueError("start and sentencepiece are not for models on disk: they know theirs")
        if isinstance(model, Model):
            return sources.describe_model(model, options)
        return sources.describe_path(model, family, options)
    from tf_ls.export import language_model, lstransformer
    from tf_ls.ops import Decoder

    describe = (language_model if isinstance(model, Decoder) else lstransformer).describe
    return describe(model, options, start, sentencepiece)
