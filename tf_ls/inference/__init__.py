"""Models that leave the trainer.

Transformer       a model that translates, from lists of ids to hypotheses
Bert              a model that encodes, from lists of ids to hidden states and logits
Gpt               a model that continues prompts, and says how probable texts are
load_translator   a SavedModel that translates sentences, as a function
translate_file    a file of any size, in batches, resumable
"""

from __future__ import annotations

from tf_ls import lazy

_MODULES = {
    "Bert": "bert",
    "FileTranslation": "file_translation",
    "Gpt": "gpt",
    "ProgressMismatch": "file_translation",
    "translate_file": "file_translation",
    "Translator": "translator",
    "Inferred": "transformer",
    "Transformer": "transformer",
    "UnfitModel": "unfit_model",
    "load_translator": "translator",
}

__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy.attach(__name__, _MODULES)
