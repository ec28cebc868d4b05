"""The functions of a model, wherever it comes from.

TensorFlow is imported when a model is loaded and not before: NeurST has to be imported first, to
choose its Keras.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from tf_ls.inference.unfit_model import UnfitModel


class Kind(NamedTuple):
    """What a model does, and by what that is known."""

    does: str
    family: str
    """Of its model files."""

    signatures: tuple[str, ...]
    """That it has."""

    takes: str
    """What the last of these is given."""

    takes_texts: str = ""
    """What `encode` of a model with texts is given."""


TRANSLATION = Kind(
    "translates",
    "transformer",
    ("properties", "default_options", "serving_with_options"),
    "source",
    "sentences",
)
CONTINUATION = Kind(
    "continues prompts",
    "gpt",
    ("properties", "default_options", "score", "serving_with_options"),
    "prompt",
    "prompts",
)
ENCODING = Kind("encodes", "bert", ("properties", "hidden_states"), "ids")


class Functions(dict):
    """The functions by the names of their signatures, and the model's properties as arrays."""

    def __init__(self, functions: Mapping[str, Callable], owner: Any = None):
        """Calls `properties`.

        Args:
            functions: by name.
            owner: what has the variables, where functions do not keep them alive themselves.
        """
        super().__init__(functions)
        self._owner = owner
        self.properties = {name: value.numpy() for name, value in self["properties"]().items()}


def load(path: Union[str, os.PathLike], kind: Kind, precision: Optional[str]) -> Functions:
    """Loads a model.

    Args:
        path: of a SavedModel of `tf_ls.export.save`, or of what that exports.
        kind: what it must do.
        precision: of what is no SavedModel; None: float32.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: what is there is no such model (`UnfitModel`), or it is damaged
            (`InvalidModelFile`); a precision for a SavedModel.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        if precision is not None:
            raise ValueError(f"{path} is a SavedModel, whose precision is its own; got {precision}")
        return _load_saved_model(path, kind)
    from tf_ls.convert import ConversionError
    from tf_ls.export import sources

    try:
        described = sources.describe_path(path, kind.family)
    except ConversionError as error:
        raise UnfitModel(f"{error} (and it is no SavedModel)") from error
    from tf_ls.export.modules import module_of

    functions = module_of(described, precision or "float32").signatures()
    _check(path, functions, kind)
    return Functions(functions)


def _load_saved_model(path: Path, kind: Kind) -> Functions:
    import tensorflow as tf

    model = tf.saved_model.load(os.fspath(path))
    _check(path, model.signatures, kind)
    return Functions(model.signatures, owner=model)


def _check(path: Path, functions: Mapping[str, Callable], kind: Kind) -> None:
    """Raises UnfitModel if functions are not those of a kind."""
    if _are_of(functions, kind):
        return
    for other in (TRANSLATION, CONTINUATION, ENCODING):
        if _are_of(functions, other):
            raise UnfitModel(f"{path} {other.does}: a model that {kind.does} was expected")
    missing = [name for name in kind.signatures if name not in functions]
    raise UnfitModel(f"{path} is not from tf_ls.export.save: it has no {', '.join(missing)}")


def _are_of(functions: Mapping[str, Callable], kind: Kind) -> bool:
    if not set(kind.signatures) <= set(functions):
        return False
    function = functions[kind.signatures[-1]]
    if hasattr(function, "structured_input_signature"):  # of a SavedModel
        return kind.takes in function.structured_input_signature[1]
    return kind.takes in [spec.name for spec in function.input_signature]
