"""From any format that can be read to any that can be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional, Union

from tf_ls import files
from tf_ls.convert import detect, fairseq, hugging_face, neurst
from tf_ls.convert.error import ConversionError
from tf_ls.files.model_file import FORMATS

StrPath = Union[str, os.PathLike]

# What can be written beside model files, and by what.
TARGETS = {detect.HUGGING_FACE: hugging_face.write, detect.NEURST: neurst.write}

_READERS = {
    detect.HUGGING_FACE: hugging_face.read,
    detect.FAIRSEQ: fairseq.read,
    detect.NEURST: neurst.read,
}


def read(path: StrPath, family: Optional[str] = None) -> files.Model:
    """Reads a model of any format.

    Args:
        path: a model file, .pb or .hdf5, a folder of Hugging Face's or of NeurST's, or a
            checkpoint of Fairseq's, .pt.
        family: transformer, bert or gpt. Model files do not say which they have, so that they need
            it; of others it is what is expected.

    Raises:
        FileNotFoundError: there is nothing.
        ImportError: the library that reads it is not installed.
        ConversionError: it has something that model files have no place for, or another family.
        InvalidModelFile: a model file is damaged, or of another family.
        ValueError: no family is given, or an unknown one.
    """
    found = detect.format_of(path)
    if found == detect.MODEL_FILE:
        if family is None:
            raise ValueError(f"{path} does not say what it has: the family must be given")
        return files.read(path, family)
    model = _READERS[found](path)
    if family not in (None, model.family.name):
        raise ConversionError(f"{path} has a {model.family.name}, not a {family}")
    return model


def write(
    model: files.Model,
    path: StrPath,
    *,
    to: Optional[str] = None,
    model_type: Optional[str] = None,
    precision: Optional[str] = None,
) -> Path:
    """Writes a model, which appears when it is complete, and replaces nothing.

    Args:
        model: what to write.
        path: of a model file, .pb or .hdf5, or of the folder to write.
        to: what is no model file: one of TARGETS.
        model_type: Hugging Face's, where a family has several.
        precision: of a model file, as for `tf_ls.files.write`; float32 unless given.

    Returns:
        The path of what was written, which for a model of more than 2 GB is another than the one
        given: see `tf_ls.files.write`.

    Raises:
        FileExistsError: there is something.
        ConversionError: the other side has no place for something.
        ValueError: arguments that do not fit each other, or what `tf_ls.files.write` raises.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    if to is None:
        if path.suffix not in FORMATS:
            raise ValueError(
                f"{path}: expected a name ending in {' or '.join(FORMATS)}, or to be told what to"
                f" write: {', '.join(TARGETS)}"
            )
        if model_type is not None:
            raise ValueError(f"model_type is for a folder, not for a model file; got {model_type}")
        return files.write(model, path, precision or "float32")
    if to not in TARGETS:
        raise ValueError(f"to must be one of {', '.join(TARGETS)}; got {to!r}")
    if precision not in (None, "float32"):
        raise ValueError(f"precision is for model files; {to} gets float32, not {precision}")
    TARGETS[to](model, path, model_type)
    return path


def convert(
    source: StrPath,
    target: StrPath,
    *,
    family: Optional[str] = None,
    to: Optional[str] = None,
    model_type: Optional[str] = None,
    precision: Optional[str] = None,
) -> Path:
    """Reads a model and writes it: arguments, result and errors of `read` and `write`."""
    if Path(target).exists():  # before minutes are spent on reading
        raise FileExistsError(f"{target} is there already")
    model = read(source, family)
    return write(model, target, to=to, model_type=model_type, precision=precision)
