"""A Transformer that generates, from lists of ids to arrays, in three lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from tf_ls.inference.ids import checked_ids, padded
from tf_ls.inference.inference_model import GeneratingModel
from tf_ls.inference.loaded_functions import TRANSLATION


class Inferred(NamedTuple):
    """The hypotheses of B sentences, best first."""

    tokens: np.ndarray
    """int64 [B, beam, T], EOS included if it came; EOS behind it."""

    scores: np.ndarray
    """float32 [B, beam]; -inf where a search found fewer hypotheses."""


class Transformer(GeneratingModel):
    """An encoder-decoder that generates.

        model = tf_ls.inference.Transformer("exported", 8)
        tokens, scores = model.infer([[1, 2, 3], [4, 5, 6]])

    How it is loaded, and its options: GeneratingModel.
    """

    kind = TRANSLATION

    @property
    def positions(self) -> Optional[int]:
        """How many tokens a sentence may have; None: any number, or the model does not say."""
        positions = int(self._properties.get("source_positions", -1))
        return None if positions < 0 else positions

    def infer(self, sentences: Sequence[Sequence[int]]) -> Inferred:
        """Generates from sentences.

        Args:
            sentences: ids int[B, S], or lists of ids of any lengths. Each sentence of a NeurST
                model must end as its own do, with the end of a sentence if that is the padding.

        Returns:
            As many hypotheses of each sentence as the beam has (`num_hypotheses`, of samples).

        Raises:
            ValueError: sentences that are no ids of the model's vocabulary.
        """
        rows = [self._checked(i, sentence) for i, sentence in enumerate(sentences)]
        starts = range(0, max(len(rows), 1), self._max_batch_size)
        return _joined(
            [self._infer(rows[start : start + self._max_batch_size]) for start in starts],
            int(self._properties["eos"]),
        )

    def _infer(self, rows: list[np.ndarray]) -> Inferred:
        import tensorflow as tf

        source = tf.constant(padded(rows, self._properties["padding_id"]))
        outputs = self._functions["serving_with_options"](source=source, **self._options)
        return Inferred(outputs["tokens"].numpy(), outputs["scores"].numpy())

    def _checked(self, index: int, sentence: Sequence[int]) -> np.ndarray:
        vocabulary, padding = (
            int(self._properties[n]) for n in ("source_vocabulary", "padding_id")
        )
        ids = checked_ids(f"sentence {index}", sentence, vocabulary)
        if not self._properties["padding_is_eos"]:
            if (ids == padding).any():
                raise ValueError(f"sentence {index} has the padding, {padding}: leave it out")
        elif not ids.size or ids[-1] != padding or (ids[:-1] == padding).any():
            raise ValueError(f"sentence {index} must end with {padding}, and have it only there")
        return ids

    def _default_hypotheses(self, options: Mapping[str, Any]) -> int:
        """As many as the beam has."""
        if options["method"] == "sampling":
            return options["num_hypotheses"]
        return 1 if options["method"] == "greedy" else options["beam_size"]


def _joined(parts: list[Inferred], eos: int) -> Inferred:
    """Batches one behind the other; the shorter ones get EOS behind theirs."""
    longest = max(part.tokens.shape[2] for part in parts)
    tokens = [
        np.pad(
            part.tokens,
            [(0, 0), (0, 0), (0, longest - part.tokens.shape[2])],
            constant_values=eos,
        )
        for part in parts
    ]
    return Inferred(np.concatenate(tokens), np.concatenate([part.scores for part in parts]))
