"""Classes of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import numpy as np

from tf_ls.pipelines import encoder_task, models
from tf_ls.pipelines.encoder_steps import RunEncoder
from tf_ls.pipelines.encoder_task import EncoderArguments
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.probabilities import highest, sigmoid, softmax
from tf_ls.pipelines.steps import Pipeline

TASK = "text-classification"

_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


@dataclasses.dataclass(frozen=True)
class Classes:
    """Logits [N] of each window of a text as its classes."""

    label: Callable[[int], str]
    top_k: Optional[int] = None
    """How many classes to return, in a list; None: the most probable one alone."""

    function: Optional[str] = None
    """softmax, sigmoid, none; None: softmax, or sigmoid of a single class."""

    def __post_init__(self):
        if self.function not in (None, *_FUNCTIONS):
            known = ", ".join(_FUNCTIONS)
            raise ValueError(f"function_to_apply must be one of {known}; got {self.function!r}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")

    def __call__(
        self, text: Prepared, logits: Sequence[np.ndarray]
    ) -> Union[dict[str, Any], list[dict[str, Any]]]:
        """Returns classes, the most probable first; scores are means of those of windows."""
        count = len(logits[0])
        function = self.function or ("sigmoid" if count == 1 else "softmax")
        scores = np.mean([_FUNCTIONS[function](one) for one in logits], axis=0)
        found = [
            {"label": self.label(int(i)), "score": float(scores[i])}
            for i in highest(scores, self.top_k or 1)
        ]
        return found[0] if self.top_k is None else found


def build(
    arguments: EncoderArguments,
    *,
    top_k: Optional[int] = None,
    function_to_apply: Optional[str] = None,
) -> Pipeline:
    """Builds the pipeline: arguments and errors of `tf_ls.pipeline`, and those of Classes."""
    tokenizer = encoder_task.load_tokenizer(arguments)
    bert = models.load_encoder(arguments.model, arguments.batch_size, arguments.precision, TASK)
    return Pipeline(
        encoder_task.encode_text(arguments, bert, tokenizer, takes_pairs=True),
        RunEncoder(bert.logits),
        Classes(encoder_task.labels_of(bert), top_k, function_to_apply),
        arguments.batch_size,
    )
