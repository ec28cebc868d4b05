"""Values of options, which come from JSON, YAML or a pickle and may be anything."""

from __future__ import annotations

from typing import Any

from tf_ls.convert.error import ConversionError


def count(name: str, value: Any) -> int:
    """Returns the value of an option that is a size or a number of layers.

    Raises:
        ConversionError: it is no positive integer.
    """
    if type(value) is not int or value < 1:
        raise ConversionError(f"{name}: expected a positive integer, got {value!r}")
    return value


def number(name: str, value: Any) -> float:
    """Returns the value of an option that is a number; YAML takes 1e-12 for a text.

    Raises:
        ConversionError: it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConversionError(f"{name}: expected a number, got {value!r}") from None
