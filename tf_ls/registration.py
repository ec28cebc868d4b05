"""Registers the operations once both TensorFlow and tf_ls are imported, in either order.

From then on `tf.saved_model.load` knows them. Nothing here imports `tf_ls.ops`: it takes its time,
and another thread may be half-way through it, waiting for the one that imports TensorFlow.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Callable

from tf_ls import import_hooks


def register_operations() -> None:
    """Registers the operations now, if TensorFlow is imported, and else as soon as it is.

    A library that cannot be loaded breaks neither import: it is a warning, and an error where an
    operation is used. If this is called from within TensorFlow's own import, nothing is registered
    before an operation is used.
    """
    # First, so that there is no moment in which TensorFlow is imported unseen.
    import_hooks.install("tensorflow", _execute_tensorflow)
    if _tensorflow_is_imported():
        _register()


def _execute_tensorflow(module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
    execute(module)
    _register()


def _register() -> None:
    from tf_ls.library import library

    library.load_or_warn()


def _tensorflow_is_imported() -> bool:
    if sys.modules.get("tensorflow") is None:
        return False
    try:
        import tensorflow as tf  # waits for another thread that is in the middle of it
    except Exception:  # is for who wanted TensorFlow
        return False
    return not getattr(getattr(tf, "__spec__", None), "_initializing", False)
