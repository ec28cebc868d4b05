"""Decoder-only models that NeurST has trained (GPT2), from their folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from neurst.models.gpt2 import GPT2

from tf_ls import ops
from tf_ls.convert.neurst.tokens import Tokens
from tf_ls.export.language_model import LanguageModel, described
from tf_ls.export.text import Text
from tf_ls.neurst import generation


def why_not(model: tf.keras.Model) -> str | None:
    """Why a model is not one that continues prompts in one operation."""
    if not isinstance(model, GPT2):
        return f"{type(model).__name__} is not NeurST's decoder-only model"
    return generation.why_not(model)


def describe(
    tokens: Tokens,
    model: GPT2,
    options: ops.SearchOptions | Mapping[str, Any] | None,
    text: Text | str,
) -> LanguageModel:
    """Returns a restored model as what is exported.

    Args:
        tokens: of the task that it was trained for.
        model: one of which `why_not` returns None.
        options: in front of NeurST's own, which forbid the unknown token, if there is one.
        text: its pipeline as operations, or why there is none.

    Raises:
        ValueError: an option that does not fit.
    """
    return described(
        generation.decoder_of(model),
        tokens.start,
        options,
        tokens.options(),
        text=None if isinstance(text, str) else text,
        no_text_because=text if isinstance(text, str) else "",
    )
