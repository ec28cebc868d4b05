"""Words for masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from tf_ls.pipelines import encoder_task, models
from tf_ls.pipelines.encoder_steps import EncodeText, RunEncoder
from tf_ls.pipelines.encoder_task import EncoderArguments
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.probabilities import highest, softmax
from tf_ls.pipelines.steps import Pipeline
from tf_ls.pipelines.windows import Window, tokens_of

TASK = "fill-mask"


@dataclasses.dataclass(frozen=True)
class EncodeMasked:
    """A text with masks as windows."""

    encode: EncodeText
    mask: str
    mask_id: int

    def __call__(self, source: Any) -> Prepared:
        """Encodes a text.

        Raises:
            ValueError: it has no mask, or what EncodeText raises.
        """
        prepared = self.encode(source)
        if not any(self.mask_id in window.ids for window in prepared.rows):
            raise ValueError(f"the text must have a {self.mask} to fill, got {source!r}")
        return prepared


@dataclasses.dataclass(frozen=True)
class RunAtMasks:
    """Windows as logits [M, V] of their masks alone: those of all tokens take much memory."""

    run: RunEncoder
    mask_id: int

    def __call__(self, windows: Sequence[Window]) -> list[np.ndarray]:
        outputs = self.run(windows)
        return [
            output[np.flatnonzero(np.equal(window.ids, self.mask_id))]
            for window, output in zip(windows, outputs)
        ]


@dataclasses.dataclass(frozen=True)
class Words:
    """Logits [M, V] of the masks of each window of a text as words for its masks."""

    tokenizer: Any
    """Of the library `tokenizers`."""

    mask_id: int
    top_k: int = 5
    targets: Optional[tuple[int, ...]] = None
    """Ids among which to choose; None: all."""

    def __post_init__(self):
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")

    def __call__(self, text: Prepared, logits: Sequence[np.ndarray]) -> list:
        """Returns the most probable words of the mask; of several masks a list for each."""
        tokens = tokens_of(text.rows)
        masks = [i for i, token in enumerate(tokens) if token.id == self.mask_id]
        ids = [token.id for token in tokens]
        found = []
        for place in masks:
            token = tokens[place]
            masks_before = text.rows[token.window].ids[: token.place].count(self.mask_id)
            probabilities = softmax(logits[token.window][masks_before])
            found.append(self._words(probabilities, ids, place, len(masks) == 1))
        return found[0] if len(found) == 1 else found

    def _words(
        self, probabilities: np.ndarray, ids: list[int], place: int, is_only: bool
    ) -> list[dict[str, Any]]:
        if self.targets is None:
            best = highest(probabilities, self.top_k)
        else:
            best = np.array(self.targets)[highest(probabilities[list(self.targets)], self.top_k)]
        words = []
        for token in map(int, best):
            filled = [*ids[:place], token, *ids[place + 1 :]]
            words.append(
                {
                    "score": float(probabilities[token]),
                    "token": token,
                    "token_str": self.tokenizer.decode([token], skip_special_tokens=False),
                    # (Other masks are special tokens, which should be seen.)
                    "sequence": self.tokenizer.decode(filled, skip_special_tokens=is_only),
                }
            )
        return words


def build(
    arguments: EncoderArguments, *, top_k: int = 5, targets: Optional[Sequence[str]] = None
) -> Pipeline:
    """Builds the pipeline: arguments and errors of `tf_ls.pipeline`, and those of Words.

    Raises:
        ValueError: the tokenizer has no mask; a target that is no token of it.
    """
    loaded = encoder_task.load_tokenizer(arguments)
    tokenizer = loaded.tokenizer
    if loaded.mask is None:
        raise ValueError("fill-mask: the tokenizer has no mask")
    mask_id = tokenizer.token_to_id(loaded.mask)
    bert = models.load_encoder(arguments.model, arguments.batch_size, arguments.precision, TASK)
    return Pipeline(
        EncodeMasked(encoder_task.encode_text(arguments, bert, loaded), loaded.mask, mask_id),
        RunAtMasks(RunEncoder(bert.logits), mask_id),
        Words(tokenizer, mask_id, top_k, _target_ids(tokenizer, targets)),
        arguments.batch_size,
    )


def _target_ids(tokenizer: Any, targets: Optional[Sequence[str]]) -> Optional[tuple[int, ...]]:
    if targets is None:
        return None
    targets = [targets] if isinstance(targets, str) else list(targets)
    ids = [tokenizer.token_to_id(target) for target in targets]
    if not ids or None in ids:
        unknown = [target for target, i in zip(targets, ids) if i is None]
        raise ValueError(f"targets must be tokens of the vocabulary, got {unknown or 'none'}")
    return tuple(dict.fromkeys(ids))
