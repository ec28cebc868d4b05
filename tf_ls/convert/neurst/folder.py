"""A folder of NeurST's as a model file's model, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from tf_ls.convert.error import ConversionError
from tf_ls.convert.neurst import bert, gpt2, tokens, transformer, variables
from tf_ls.convert.new_folder import new_folder
from tf_ls.files import Model

StrPath = Union[str, os.PathLike]

CONFIGS = "model_configs.yml"

# model_configs.yml's model.class, and what reads and writes it.
MODEL_CLASSES = {module.CLASS: module for module in (transformer, bert, gpt2)}


def is_folder(path: StrPath) -> bool:
    """Whether there is a model_configs.yml."""
    return (Path(path) / CONFIGS).is_file()


def family_of(path: StrPath) -> Optional[str]:
    """Returns the family of model files that a folder's model is of; None: none, by its class.

    Raises:
        ConversionError: there is no model_configs.yml that can be read.
    """
    module = MODEL_CLASSES.get(_configs(Path(path)).get("model.class"))
    return None if module is None else module.FAMILY


def read(path: StrPath) -> Model:
    """Returns the model of a folder: of its newest checkpoint. Its numbers are in memory.

    Special tokens are those of the task's vocabularies, which NeurST reads from where
    model_configs.yml says: relative paths count from the working directory.

    Raises:
        FileNotFoundError: there is no model_configs.yml.
        ImportError: NeurST is needed, and not installed.
        ConversionError: another model, or an option or variables that a model file has no place
            for; the message names it.
    """
    path = Path(path)
    try:
        configs = _configs(path)
        model_class = _model_class(configs.get("model.class"))
        params = {**model_class.DEFAULTS, **_given(configs.get("model.params"))}
        task = tokens.task_of(configs)
        special = None if task is None else tokens.of_task(task)
        model = model_class.read(params, variables.open_newest(path), special)
        model.check()
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    return model


def write(model: Model, path: StrPath, model_type: Optional[str] = None) -> None:
    """Writes a folder, which appears when it is complete: model_configs.yml and a checkpoint.

    NeurST's own task and vocabularies, which end with <UNK>, <SEQ_BEG> and <SEQ_END>, are to be
    given to NeurST: a model file has no words.

    Args:
        model: what to write.
        path: of the folder, which must not be there.
        model_type: must be None: a family is one class.

    Raises:
        FileExistsError: the folder is there.
        ConversionError: the model has something that NeurST's has no place for.
        ValueError: a model type.
    """
    import yaml

    with new_folder(Path(path)) as folder:
        if model_type is not None:
            raise ValueError(f"NeurST has one model of a family; got the model type {model_type}")
        model.check()
        module = next(m for m in MODEL_CLASSES.values() if model.family.name == m.FAMILY)
        params, arrays = module.write(model)
        variables.write(arrays, folder, module.CLASS)
        configs = {"model.class": module.CLASS, "model.params": params}
        (folder / CONFIGS).write_text(yaml.safe_dump(configs), encoding="utf-8")


def _configs(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        configs = yaml.safe_load((path / CONFIGS).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConversionError(f"{CONFIGS} cannot be read: {error}") from error
    if not isinstance(configs, Mapping):
        raise ConversionError(f"{CONFIGS}: expected options by their names")
    return configs


def _given(params: Any) -> dict[str, Any]:
    """The options that have values: None stands for the default."""
    if not isinstance(params, Mapping):
        raise ConversionError("model.params: expected options by their names")
    return {name: value for name, value in params.items() if value is not None}


def _model_class(name: Optional[str]):
    if name not in MODEL_CLASSES:
        known = ", ".join(MODEL_CLASSES)
        raise ConversionError(f"model.class: expected one of {known}, got {name}")
    return MODEL_CLASSES[name]
