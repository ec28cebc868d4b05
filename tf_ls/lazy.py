"""Packages whose parts are imported when they are first used: TensorFlow alone takes seconds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Mapping
from typing import Any, Callable


def attach(
    package: str, attributes: Mapping[str, str], modules: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns the functions `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: its name.
        attributes: the module of each name that is not defined in the package itself.
        modules: that are attributes themselves.
    """

    def get(name: str) -> Any:
        if name in attributes:
            return getattr(importlib.import_module(f"{package}.{attributes[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *attributes, *modules})

    return get, names
