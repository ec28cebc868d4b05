"""config.json: sizes and settings that it shares with a model file, and options that must be so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from tf_ls.convert.error import ConversionError
from tf_ls.convert.option_values import count, number
from tf_ls.files import Model

FILE = "config.json"

# Their names of activations, and those of model files.
ACTIVATIONS = {
    "gelu": "gelu_nonapprox",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


class Options(NamedTuple):
    """What of an architecture's config.json means something for its numbers."""

    sizes: Mapping[str, tuple[str, int]]
    """Of which field, and of which of its dimensions."""

    layers: Mapping[str, str]
    """How many layers a stack has."""

    settings: Mapping[str, str]
    """A setting of model files of the same value."""

    activation: str
    """What is called so."""

    fixed: Mapping[str, Any]
    """What has this value, or is not there: others would change the numbers."""

    same: Mapping[str, str] = {}
    """What must have the value of another option, because model files have it once."""

    defaults: Mapping[str, Any] = {}
    """What has this value if it is not there."""


def read(folder: Path) -> dict[str, Any]:
    """Returns a folder's config.json.

    Raises:
        FileNotFoundError: there is none.
        ConversionError: it is no JSON of an object.
    """
    try:
        config = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{FILE} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConversionError(f"{FILE}: expected an object, got {type(config).__name__}")
    return config


def put_settings(options: Options, config: Mapping[str, Any], model: Model) -> None:
    """Puts what a configuration says of the settings into a model.

    Raises:
        ConversionError: an option is missing, or has a value that model files cannot have.
    """
    for name, expected in options.fixed.items():
        if config.get(name) not in (None, expected):
            raise ConversionError(f"{FILE}/{name}: expected {expected!r}, got {config[name]!r}")
    for name, other in options.same.items():
        if config.get(name) not in (None, config.get(other)):
            raise ConversionError(
                f"{FILE}/{name}: expected {other}'s {config.get(other)!r}, got {config[name]!r}"
            )
    for name, setting in options.settings.items():
        value = value_of(options, config, name)
        kind = model.family.settings[setting].kind
        model.settings[setting] = number(f"{FILE}/{name}", value) if kind == "float" else value
    activation = value_of(options, config, options.activation)
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ConversionError(
            f"{FILE}/{options.activation}: expected one of {known}, got {activation!r}"
        )
    model.settings["activation"] = ACTIVATIONS[activation]
    model.settings["use_gelu"] = "gelu" in model.settings["activation"]


def check_sizes(options: Options, config: Mapping[str, Any], model: Model) -> None:
    """Raises ConversionError if weights have other sizes than the configuration says."""
    for name, size in sizes_of(options, model).items():
        if config.get(name) not in (None, size):
            raise ConversionError(
                f"{FILE}/{name}: says {config[name]!r}, but the weights have {size}"
            )


def sizes_of(options: Options, model: Model) -> dict[str, int]:
    """Returns a model's sizes and numbers of layers by their names in config.json."""
    shapes = model.shapes()
    sizes = {name: shapes[field][axis] for name, (field, axis) in options.sizes.items()}
    return {**sizes, **{name: model.layers(stack) for name, stack in options.layers.items()}}


def value_of(options: Options, config: Mapping[str, Any], name: str) -> Any:
    """Returns an option, or its default.

    Raises:
        ConversionError: it is not there and has none.
    """
    value = config.get(name, options.defaults.get(name))
    if value is None:
        raise ConversionError(f"{FILE}/{name} is missing")
    return value


def count_of(options: Options, config: Mapping[str, Any], name: str) -> int:
    """Returns an option that is a size or a number of layers, or its default.

    Raises:
        ConversionError: it is not there and has no default, or it is no positive integer.
    """
    return count(f"{FILE}/{name}", value_of(options, config, name))


def of_model(options: Options, model: Model) -> dict[str, Any]:
    """Returns what `put_settings` and `check_sizes` read, of a model.

    Raises:
        ConversionError: an activation that Hugging Face does not have.
    """
    names = {own: name for name, own in reversed(list(ACTIVATIONS.items()))}
    settings = {name: model.setting(own) for name, own in options.settings.items()}
    written = {**options.fixed, **sizes_of(options, model), **settings}
    written.update({name: written[other] for name, other in options.same.items()})
    return {**written, options.activation: names[model.setting("activation")]}


def check_architecture(config: Mapping[str, Any], known: Sequence[str]) -> str:
    """Returns the class of a model, the first of the known ones if the configuration names none.

    Raises:
        ConversionError: it is none of them.
    """
    (architecture, *_) = config.get("architectures") or known
    if architecture not in known:
        names = ", ".join(known)
        raise ConversionError(f"{FILE}/architectures: expected one of {names}, got {architecture}")
    return architecture


def labels_of(config: Mapping[str, Any]) -> Optional[list[str]]:
    """Returns the names of classes in their order; None if the configuration has none.

    Raises:
        ConversionError: their numbers are not 0, 1, 2, ...
    """
    names = config.get("id2label")
    if names is None:
        return None
    try:
        return [names[str(i)] for i in range(len(names))]
    except (KeyError, TypeError) as error:
        raise ConversionError(
            f"{FILE}/id2label: expected names of 0, 1, ..., got {names!r}"
        ) from error
