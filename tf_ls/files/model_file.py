"""Model files of either format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional, Union

from absl import logging

from tf_ls.files import hdf5_file, protobuf_file
from tf_ls.files.conversion import check_precision
from tf_ls.files.model import InvalidModelFile, Model

FORMATS = {".pb": protobuf_file, ".hdf5": hdf5_file}

StrPath = Union[str, os.PathLike]


def read(path: StrPath, family: str) -> Model:
    """Opens a model file: checks its structure, and leaves numbers where they are.

    They are in memory as far as they were looked at (`Model.float32`), by which they are checked.

    Args:
        path: of a file, .pb or .hdf5.
        family: what it has: transformer, bert or gpt.

    Raises:
        FileNotFoundError: there is no file.
        InvalidModelFile: the file is truncated, corrupt, or of another family; the message has its
            path, the field, what was expected and what came.
        ValueError: an unknown ending or family.
    """
    try:
        model = _format(path).read(path, family)
        model.check()
    except InvalidModelFile as error:
        raise InvalidModelFile(f"{path}: {error}") from error
    return model


def write(model: Model, path: StrPath, precision: Optional[str] = None) -> Path:
    """Writes a model file, which appears when it is complete.

    Protocol Buffers end at 2 GB: a larger .pb becomes .hdf5, and a line in the log says so.

    Args:
        model: what to write.
        path: of the file, .pb or .hdf5.
        precision: float32, which LightSeq reads; float16, bfloat16; int8, of matrices; None: what
            each field has.

    Returns:
        The path of the file that was written.

    Raises:
        InvalidModelFile: the model is incomplete, or has numbers that are infinite, NaN, or too
            large for the precision; the message names the field.
        ValueError: an unknown ending or precision.
    """
    path = Path(path)
    file_format = _format(path)
    check_precision(precision)
    model.check()
    if file_format is protobuf_file:
        size = protobuf_file.size(model, precision)
        if size > protobuf_file.LARGEST_FILE:
            path, file_format = path.with_suffix(".hdf5"), hdf5_file
            logging.warning(
                "tf_ls: %d bytes are more than Protocol Buffers can have (%d): writing %s instead",
                size,
                protobuf_file.LARGEST_FILE,
                path,
            )
    file_format.write(model, path, precision)
    return path


def _format(path: StrPath):
    ending = Path(path).suffix
    if ending not in FORMATS:
        raise ValueError(f"expected a file ending in {' or '.join(FORMATS)}, got {os.fspath(path)}")
    return FORMATS[ending]
