"""NeurST's Transformer without NeurST's tasks and their data.

Importing this mends what NeurST misses in newer TensorFlow, so it comes before TensorFlow.
"""

from __future__ import annotations

from typing import Any

import neurst  # noqa: F401  before TensorFlow, so that Keras 2 is chosen
from neurst.models.transformer import Transformer
from neurst.utils.hparams_sets import get_hyper_parameters


def defaults(configured: Any) -> dict[str, Any]:
    """The arguments of one of NeurST's classes, as its flags have them."""
    return {flag.name: flag.default for flag in configured.class_or_method_args()}


def vocabulary(vocab_size: int) -> dict[str, Any]:
    """What NeurST knows of either side: the last ids are unknown word, begin and end."""
    return {
        "vocab_size": vocab_size,
        "language": "en",
        "unk_id": vocab_size - 3,
        "bos_id": vocab_size - 2,
        "eos_id": vocab_size - 1,
        "pad_id": vocab_size - 1,
    }


def make_transformer(hparams_set: str, meta: dict[str, Any]) -> Transformer:
    """A model with NeurST's initial weights, for a vocabulary of both sides."""
    args = {**defaults(Transformer), **get_hyper_parameters(hparams_set)["model.params"]}
    return Transformer.new(args, dict(meta), dict(meta), name="model")
