"""Which module makes which model's functions."""

from __future__ import annotations

from typing import Any, Union

from tf_ls.export.encoder_model import EncoderModel
from tf_ls.export.encoder_module import EncoderModule
from tf_ls.export.export_module import ExportModule
from tf_ls.export.language_model import LanguageModel
from tf_ls.export.language_module import LanguageModule
from tf_ls.export.translation_model import TranslationModel
from tf_ls.export.translation_module import TranslationModule

AnyModel = Union[TranslationModel, LanguageModel, EncoderModel]

_MODULES = {
    TranslationModel: TranslationModule,
    LanguageModel: LanguageModule,
    EncoderModel: EncoderModule,
}


def module_of(model: AnyModel, precision: str, **more: Any) -> ExportModule:
    """Returns the functions of a model; the arguments and errors are those of its module."""
    return _MODULES[type(model)](model, precision, **more)
