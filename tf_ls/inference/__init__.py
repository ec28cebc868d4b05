"""Models that leave the trainer.

Transformer       a model as a function from lists of ids to hypotheses
load_translator   a SavedModel that translates sentences, as a function
translate_file    a file of any size, in batches, resumable
"""

from __future__ import annotations

import importlib

# Imported when first used: TensorFlow takes seconds to import, and not all of this needs it.
_MODULES = {
    "FileTranslation": "file_translation",
    "ProgressMismatch": "file_translation",
    "translate_file": "file_translation",
    "Translator": "translator",
    "Inferred": "transformer",
    "Transformer": "transformer",
    "UnfitModel": "translator",
    "load_translator": "translator",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
