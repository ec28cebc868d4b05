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

from tf_ls import lazy

_MODULES = {
    "FileTokenizer": "tokenizers",
    "Pipeline": "steps",
    "Prepared": "prepared",
    "TooLong": "long_inputs",
    "Window": "windows",
    "pipeline": "factory",
}

__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy.attach(__name__, _MODULES)
