"""A model that encodes, from lists of ids to arrays, in three lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from tf_ls.inference.ids import batches, checked_ids, padded, without_padding
from tf_ls.inference.inference_model import InferenceModel
from tf_ls.inference.loaded_functions import ENCODING

Ids = Sequence[Sequence[int]]


class Bert(InferenceModel):
    """An encoder, with the heads that it has.

        model = tf_ls.inference.Bert("exported", 8)
        hidden_states = model.infer([[1, 2, 3], [4, 5]])

    Padding is not computed, and behind the tokens of a sentence there are zeros. Each function
    takes:

        sentences: ids int[B, S], or lists of ids of any lengths. Padding behind a sentence is left
            out.
        token_types: as many for each sentence as it has ids, of a model that has several; None: all
            of them 0.

    and raises ValueError for sentences or types that are none of the model's.

    How it is loaded: InferenceModel.
    """

    kind = ENCODING

    @property
    def task(self) -> str:
        """What `logits` are for: text-classification, token-classification, fill-mask, or ""."""
        return self._properties["task"].decode()

    @property
    def labels(self) -> list[str]:
        """The names of the classes, if they have names."""
        return [label.decode() for label in self._properties["labels"]]

    @property
    def positions(self) -> Optional[int]:
        """How many tokens a sentence may have; None: any number."""
        positions = int(self._properties["positions"])
        return None if positions < 0 else positions

    def infer(self, sentences: Ids, token_types: Optional[Ids] = None) -> np.ndarray:
        """Returns the hidden states float32 [B, S, H]."""
        return self._run("hidden_states", sentences, token_types)

    def pooled(self, sentences: Ids, token_types: Optional[Ids] = None) -> np.ndarray:
        """Returns the pooled states float32 [B, H], if the model has a pooler."""
        return self._run("pooled", sentences, token_types)

    def logits(self, sentences: Ids, token_types: Optional[Ids] = None) -> np.ndarray:
        """Returns logits float32: [B, N] of classes of sentences, [B, S, N] of classes of tokens,
        or [B, S, V] of words, as the task says."""
        return self._run("logits", sentences, token_types)

    def _run(self, name: str, sentences: Ids, token_types: Optional[Ids]) -> np.ndarray:
        import tensorflow as tf

        if name not in self._functions:
            raise ValueError(f"this model has no {name}")
        rows = [self._checked(i, sentence) for i, sentence in enumerate(sentences)]
        types = self._types(sentences, rows, token_types)
        width = max(map(len, sentences), default=0)
        result = None
        # (Of no sentences one batch, of none.)
        for places in list(batches([*map(len, rows)], self._max_batch_size)) or [[]]:
            inputs = {"ids": padded([rows[i] for i in places], int(self._properties["padding_id"]))}
            if self._has_types:
                inputs["token_types"] = padded([types[i] for i in places], 0)
            with tf.device("/CPU:0"):  # where the encoder reads them, if it is on a GPU, too
                tensors = {k: tf.constant(v) for k, v in inputs.items()}
            output = self._functions[name](**tensors)[name].numpy()
            if result is None:
                per_token = output.ndim == 3
                shape = [width, output.shape[2]] if per_token else [output.shape[1]]
                result = np.zeros([len(rows), *shape], np.float32)
            if per_token:
                result[places, : output.shape[1]] = output
            else:
                result[places] = output
        return result

    def _checked(self, index: int, sentence: Sequence[int]) -> np.ndarray:
        padding = int(self._properties["padding_id"])
        ids = without_padding(sentence, padding)
        row = checked_ids(f"sentence {index}", ids, int(self._properties["vocabulary"]))
        if not len(row):
            raise ValueError(f"sentence {index} has no tokens")
        if (row == padding).any():
            raise ValueError(f"sentence {index} has the padding, {padding}, in front of a token")
        positions = int(self._properties["positions"])
        if 0 <= positions < len(row):
            raise ValueError(
                f"sentence {index} must have at most {positions} tokens, as many positions as the"
                f" model has; got {len(row)}"
            )
        return row

    @property
    def _has_types(self) -> bool:
        return int(self._properties["token_types"]) > 1

    def _types(
        self, sentences: Ids, rows: list[np.ndarray], token_types: Optional[Ids]
    ) -> list[np.ndarray]:
        """The types of the tokens of each row."""
        if token_types is None:
            return [np.zeros_like(row) for row in rows]
        lengths = [[*map(len, given)] for given in (sentences, token_types)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"token_types must be as many as ids, of lengths {lengths[0]}; got {lengths[1]}"
            )
        known = int(self._properties["token_types"])
        checked = [
            checked_ids(f"token_types {i}", types, known, "the model's types, a number")
            for i, types in enumerate(token_types)
        ]
        return [types[: len(row)] for types, row in zip(checked, rows)]
