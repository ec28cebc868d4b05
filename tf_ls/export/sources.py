"""Models on disk, of whatever kind, as what is exported of them.

TensorFlow is imported when a model is read and not before: NeurST has to be imported first, to
choose its Keras.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

if TYPE_CHECKING:
    from tf_ls.export.modules import AnyModel
    from tf_ls.files import Model
    from tf_ls.ops import SearchOptions

Options = Union["SearchOptions", Mapping[str, Any], None]


def describe_path(
    path: Union[str, os.PathLike], family: Optional[str] = None, options: Options = None
) -> AnyModel:
    """Returns what is exported of a model on disk.

    Args:
        path: the folder of a model of NeurST's that generates; or what `tf_ls.convert.read` reads,
            such as a model file or NeurST's Bert.
        family: transformer, bert or gpt; of a model file, which does not say it itself, and of
            others what is expected.
        options: how to generate, in front of the model's own.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: there is no such model, or it is damaged (`InvalidModelFile`) or cannot be
            exported; an option that does not fit; a model file without a family.
    """
    from tf_ls import convert, files
    from tf_ls.convert import neurst

    path = Path(path)
    # What generates is built by NeurST itself: as a model file it would have a table of positions
    # where it computes them, and no text.
    if neurst.is_folder(path) and neurst.family_of(path) != "bert":
        from tf_ls.neurst import model_folder  # before TensorFlow

        return model_folder.load(path, options)
    model = convert.read(path, family)
    try:
        return describe_model(model, options)
    except files.InvalidModelFile as error:
        raise files.InvalidModelFile(f"{path}: {error}") from error


def describe_model(model: Model, options: Options = None) -> AnyModel:
    """Returns what is exported of a `tf_ls.files.Model`; the arguments and errors are the same."""
    from tf_ls.export import bert_file, gpt_file, transformer_file

    model.check()
    if model.family.name == "gpt":
        return gpt_file.describe(model, options)
    if model.family.name == "transformer":
        return transformer_file.describe(model, options)
    if options:
        raise ValueError(f"options are for models that generate, got {options}")
    return bert_file.describe(model)
