"""Tasks on texts, from a text to an answer: docs/pipelines.md.

    classify = tf_ls.pipeline("text-classification", model="folder")
    classify("What a day!")

factory         which task is built of what
steps           three of them, for one text, a list or an iterable of any length
prepared        what passes between the steps; windows: long texts in pieces, and back
batches         rows of similar length share a batch
tokenizers      text to ids and back; sentencepieces: with SentencePiece's models
text_classification, token_classification, fill_mask, feature_extraction, translation,
text_generation   a task each: its last step, and how it is built
"""

from __future__ import annotations

import importlib

# Imported when first used: models need TensorFlow, which takes seconds to import.
_MODULES = {
    "FileTokenizer": "tokenizers",
    "Pipeline": "steps",
    "Prepared": "prepared",
    "TooLong": "long_inputs",
    "Window": "windows",
    "pipeline": "factory",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
