"""What happens when NeurST is imported, in the place of its execution (tf_ls/import_hooks.py)."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Callable

from tf_ls.library import library
from tf_ls.neurst import compat, fuse


def execute_neurst(module: ModuleType, execute: Callable[[ModuleType], None]) -> None:
    """Mends NeurST before and after executing it, and puts the fused layers into it.

    It stays stock with TF_LS_DISABLE=1, or if the operations cannot be loaded.
    """
    compat.mend_tensorflow()
    execute(module)
    compat.mend_neurst()
    if os.environ.get("TF_LS_DISABLE") != "1" and library.load_or_warn():
        fuse.install()
