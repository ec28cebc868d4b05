"""A SavedModel that translates sentences, as a Python function."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import tensorflow as tf

from tf_ls.inference.unfit_model import UnfitModel

SIGNATURE = "translate"
# How tf_ls.export.save exports the same with options, and their defaults.
WITH_OPTIONS = "translate_with_options"
DEFAULT_OPTIONS = "default_options"
# Names of the signature's tensors, both string [B].
SENTENCES = "sentences"
TRANSLATIONS = "translations"


class Translator:
    """Translates lists of sentences: see `load_translator`."""

    def __init__(self, model: Any, signature: str, options: Mapping[str, tf.Tensor]):
        self._model = model  # a signature does not keep the variables alive that it reads
        self._signature = model.signatures[signature]
        self._options = dict(options)

    def __call__(self, sentences: list[str]) -> list[str]:
        """Translates sentences, all in one batch.

        Raises:
            tf.errors.OpError: what the model's operations raise.
        """
        outputs = self._signature(**{SENTENCES: tf.constant(sentences, tf.string)}, **self._options)
        return [text.decode(errors="replace") for text in outputs[TRANSLATIONS].numpy()]


def load_translator(
    path: Union[str, os.PathLike], options: Optional[Mapping[str, str]] = None
) -> Translator:
    """Loads a SavedModel that translates sentences.

    It must have a signature `translate` that takes `sentences`, string [B], and returns
    `translations`, string [B]. What else it takes, or, of a model of `tf_ls.export.save`, its
    signature `translate_with_options`, are options, with the defaults that they were exported with.

    Args:
        path: the folder of a SavedModel.
        options: values for inputs of the signature, as text: numbers, true or false, or text; with
            commas between the elements of a vector.

    Raises:
        UnfitModel: if there is no such model, or it has no such signature or option.
    """
    if not any((Path(path) / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise UnfitModel(
            f"{path} is no SavedModel: a folder with saved_model.pb was expected, with a signature"
            f" {SIGNATURE!r} from and to strings"
        )
    model = _load(path)
    signatures = dict(model.signatures)
    if SIGNATURE not in signatures:
        raise UnfitModel(
            f"{path} has no signature {SIGNATURE!r} from and to strings; it has"
            f" {', '.join(map(repr, sorted(signatures))) or 'none'}"
        )
    name = WITH_OPTIONS if {WITH_OPTIONS, DEFAULT_OPTIONS} <= signatures.keys() else SIGNATURE
    inputs = signatures[name].structured_input_signature[1]
    outputs = signatures[name].structured_outputs
    _check_strings(path, "takes", inputs, SENTENCES)
    _check_strings(path, "returns", outputs, TRANSLATIONS)
    defaults = signatures[DEFAULT_OPTIONS]() if name == WITH_OPTIONS else _defaults(path)
    return Translator(model, name, _parse_options(path, inputs, defaults, options or {}))


def model_digest(path: Union[str, os.PathLike]) -> str:
    """The SHA-256 of all files of a SavedModel, and of their names."""
    root = Path(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in root.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _load(path: Union[str, os.PathLike]) -> Any:
    try:
        return tf.saved_model.load(os.fspath(path))
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise UnfitModel(f"{path} cannot be loaded: {error}") from error


def _check_strings(
    path: Union[str, os.PathLike], verb: str, tensors: Mapping[str, Any], name: str
) -> None:
    tensor = tensors.get(name)
    if tensor is not None and tensor.dtype == tf.string and tensor.shape.rank in (None, 1):
        return
    found = ", ".join(f"{n}: {t.dtype.name} {t.shape}" for n, t in sorted(tensors.items()))
    raise UnfitModel(
        f"the signature {SIGNATURE!r} of {path} {verb} {found or 'nothing'}; it must have"
        f" {name!r}, strings of shape [B]"
    )


def _parse_options(
    path: Union[str, os.PathLike],
    inputs: Mapping[str, Any],
    defaults: Mapping[str, tf.Tensor],
    options: Mapping[str, str],
) -> dict[str, tf.Tensor]:
    """Every input of the signature but the sentences: what is given, or the exported default."""
    specs = {name: spec for name, spec in inputs.items() if name != SENTENCES}
    unknown = sorted(set(options) - set(specs))
    if unknown:
        raise UnfitModel(
            f"{path} has no option {', '.join(unknown)}; its options:"
            f" {', '.join(sorted(specs)) or 'none'}"
        )
    tensors = dict(defaults)
    for name, text in options.items():
        try:
            tensors[name] = _parse_option(text, specs[name])
        except (KeyError, TypeError, ValueError) as error:
            raise UnfitModel(
                f"option {name} of {path} must be {specs[name].dtype.name} of shape"
                f" {specs[name].shape}, got {text!r}"
            ) from error
    missing = sorted(set(specs) - set(tensors))
    if missing:
        raise UnfitModel(f"{path} has no defaults for its options {', '.join(missing)}: give them")
    return tensors


def _defaults(path: Union[str, os.PathLike]) -> dict[str, tf.Tensor]:
    """The signature's defaults, which tf.saved_model.load does not apply.

    Versions of TensorFlow that store them do so in saved_model.pb.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = Path(path) / "saved_model.pb"
    if not file.is_file():
        return {}
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        signature = meta_graph.signature_def[SIGNATURE]
        defaults = getattr(signature, "defaults", {})
        return {name: tf.constant(tf.make_ndarray(value)) for name, value in defaults.items()}
    return {}


def _parse_option(text: str, spec: tf.TensorSpec) -> tf.Tensor:
    if spec.shape.rank == 1:
        value = [_parse_element(element.strip(), spec.dtype) for element in text.split(",")]
    else:
        value = _parse_element(text, spec.dtype)
    tensor = tf.constant(value, spec.dtype)
    if not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(f"a value of shape {tensor.shape}")
    return tensor


def _parse_element(text: str, dtype: tf.DType) -> Union[str, bool, int, float]:
    if dtype == tf.string:
        return text
    if dtype == tf.bool:
        return {"true": True, "false": False}[text.lower()]
    if dtype.is_integer:
        number = int(text)
        if not dtype.min <= number <= dtype.max:  # tf.constant would take its lowest bits
            raise ValueError(f"{number} is no {dtype.name}")
        return number
    return float(text)
