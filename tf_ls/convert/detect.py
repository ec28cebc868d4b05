"""What a path has: a model file, or a model of which library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

from tf_ls.convert import fairseq, hugging_face, neurst
from tf_ls.convert.error import ConversionError
from tf_ls.files.model_file import FORMATS

MODEL_FILE, HUGGING_FACE = "model_file", "hugging_face"
FAIRSEQ, NEURST = "fairseq", "neurst"


def format_of(path: Union[str, os.PathLike]) -> str:
    """Returns MODEL_FILE, HUGGING_FACE, FAIRSEQ or NEURST.

    Raises:
        FileNotFoundError: there is nothing.
        ConversionError: it is nothing that can be read; the message says what could be.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_file() and path.suffix in FORMATS:
        return MODEL_FILE
    if fairseq.is_checkpoint(path):
        return FAIRSEQ
    if neurst.is_folder(path):
        return NEURST
    if hugging_face.is_folder(path):
        return HUGGING_FACE
    if (path / "saved_model.pb").is_file():
        raise ConversionError(
            f"{path} is a SavedModel, whose weights have no names: convert what it was made of"
        )
    raise ConversionError(
        f"{path}: expected a model file ({', '.join(FORMATS)}), Hugging Face's folder with a"
        f" config.json, NeurST's with a model_configs.yml, or Fairseq's checkpoint"
        f" ({fairseq.ENDING})"
    )
