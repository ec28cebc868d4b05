"""Hidden states of texts, or one vector of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import numpy as np

from tf_ls.inference import Bert
from tf_ls.pipelines import encoder_task, models
from tf_ls.pipelines.encoder_steps import RunEncoder
from tf_ls.pipelines.encoder_task import EncoderArguments
from tf_ls.pipelines.long_inputs import SPLIT
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.steps import Pipeline
from tf_ls.pipelines.windows import joined, tokens_of

POOLINGS = (None, "mean", "cls")


@dataclasses.dataclass(frozen=True)
class Features:
    """Hidden states [S, H] of each window of a text as those of the text, or as a vector."""

    pooling: Optional[str] = None
    """None: all hidden states, special tokens' included. mean: their mean. cls: the first."""

    normalize: bool = False
    """Whether the length of vectors becomes 1."""

    def __post_init__(self):
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}; got {self.pooling!r}")

    def __call__(self, text: Prepared, states: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [T, H], or [H] with pooling."""
        whole = joined(tokens_of(text.rows), states)
        if self.pooling == "mean":
            whole = whole.mean(axis=0)
        elif self.pooling == "cls":
            whole = whole[0]
        if self.normalize:
            lengths = np.linalg.norm(whole, axis=-1, keepdims=True)
            whole = whole / np.maximum(lengths, np.finfo(np.float32).tiny)
        return whole


def build(
    arguments: EncoderArguments, *, pooling: Optional[str] = None, normalize: bool = False
) -> Pipeline:
    """Builds the pipeline: arguments and errors of `tf_ls.pipeline`, and those of Features.

    Raises:
        ValueError: texts are to be split, and their first hidden states to stand for them.
    """
    features = Features(pooling, normalize)
    if pooling == "cls" and arguments.long_inputs == SPLIT:
        raise ValueError(
            "pooling='cls' knows nothing of what is not in the first window: with"
            " long_inputs='split' use pooling='mean'"
        )
    tokenizer = encoder_task.load_tokenizer(arguments)
    bert = models.load(Bert, arguments.model, arguments.batch_size, precision=arguments.precision)
    return Pipeline(
        encoder_task.encode_text(arguments, bert, tokenizer),
        RunEncoder(bert.infer),
        features,
        arguments.batch_size,
    )
