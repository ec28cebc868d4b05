"""A folder of Hugging Face's as a model file's model, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Union

from tf_ls.convert import checkpoint
from tf_ls.convert.error import ConversionError
from tf_ls.convert.hugging_face import bert, generation, gpt2, seq2seq
from tf_ls.convert.hugging_face import config as config_file
from tf_ls.convert.new_folder import new_folder
from tf_ls.convert.weight_table import Weights
from tf_ls.files import Model

StrPath = Union[str, os.PathLike]

JsonFiles = dict[str, dict[str, Any]]


class Architecture(NamedTuple):
    """What reads and writes models of a type."""

    family: str
    """Of model files."""

    read: Callable[[Mapping[str, Any], Mapping[str, Any], Weights], Model]
    """Of config.json, the options of generation, and weights."""

    write: Callable[[Model], tuple[JsonFiles, Weights]]
    """The JSON files by their names, and the weights."""


# By config.json's model_type.
MODEL_TYPES = {
    "bert": Architecture(bert.FAMILY, bert.read, bert.write),
    "gpt2": Architecture(gpt2.FAMILY, gpt2.read, gpt2.write),
    **{
        model.model_type: Architecture(seq2seq.FAMILY, model.read, model.write)
        for model in (seq2seq.BART, seq2seq.MBART, seq2seq.MARIAN)
    },
}

WEIGHTS = "model.safetensors"


def is_folder(path: StrPath) -> bool:
    """Whether there is a config.json."""
    return (Path(path) / config_file.FILE).is_file()


def read(path: StrPath) -> Model:
    """Returns the model of a folder; its numbers are in memory, in float32.

    Raises:
        FileNotFoundError: there is no config.json, or no weights beside it.
        ImportError: the library that reads the weights is not installed.
        ConversionError: an architecture that is not known, or an option or weights of it that a
            model file has no place for; the message names it.
    """
    path = Path(path)
    try:
        config = config_file.read(path)
        architecture = _architecture(config.get("model_type"))
        options = generation.read(path, config)
        model = architecture.read(config, options, checkpoint.open_folder(path))
        model.check()
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    return model


def write(model: Model, path: StrPath, model_type: Optional[str] = None) -> None:
    """Writes a folder, which appears when it is complete: config.json and model.safetensors.

    Args:
        model: what to write.
        path: of the folder, which must not be there.
        model_type: which of MODEL_TYPES; not needed where a family has one alone.

    Raises:
        FileExistsError: the folder is there.
        ConversionError: the model has something that Hugging Face's has no place for.
        ValueError: an unknown model type, or one of another family.
    """
    with new_folder(Path(path)) as folder:
        model.check()
        json_files, weights = MODEL_TYPES[_model_type(model, model_type)].write(model)
        checkpoint.write_safetensors(weights, folder / WEIGHTS)
        for name, content in json_files.items():
            text = json.dumps(content, indent=2, sort_keys=True)
            (folder / name).write_text(f"{text}\n", encoding="utf-8")
        # SafeTensors makes files that nobody else may read.
        (folder / WEIGHTS).chmod((folder / config_file.FILE).stat().st_mode)


def _architecture(model_type: Optional[str]) -> Architecture:
    if model_type not in MODEL_TYPES:
        known = ", ".join(MODEL_TYPES)
        why = ", which has relative positions" if model_type in ("t5", "mt5") else ""
        raise ConversionError(
            f"config.json/model_type: expected one of {known}, got {model_type}{why}"
        )
    return MODEL_TYPES[model_type]


def _model_type(model: Model, wanted: Optional[str]) -> str:
    """Which of its family's a model becomes."""
    fitting = [name for name, own in MODEL_TYPES.items() if own.family == model.family.name]
    if wanted is None and len(fitting) > 1:
        raise ValueError(f"model_type must be one of {', '.join(fitting)}")
    if wanted is not None and wanted not in fitting:
        raise ValueError(f"model_type must be one of {', '.join(fitting)}; got {wanted!r}")
    return wanted or fitting[0]
