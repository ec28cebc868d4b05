"""Text to a model's ids and back, by the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tf_ls.inference.loaded_functions import Functions, Kind


class ModelText:
    """The SentencePiece models inside of a model: one text at a time."""

    @staticmethod
    def is_in(functions: Functions) -> bool:
        """Whether a model has them."""
        return {"encode", "decode"} <= set(functions)

    def __init__(self, functions: Functions, kind: Kind):
        self._encode, self._decode = functions["encode"], functions["decode"]
        self._ids, self._texts = kind.takes, kind.takes_texts

    def encode(self, text: str) -> list[int]:
        """Returns the ids that the model takes of a text; a sentence's end is one of them."""
        import tensorflow as tf

        return self._encode(**{self._texts: tf.constant([text])})[self._ids].numpy()[0].tolist()

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without their end; bytes that are no UTF-8 become U+FFFD."""
        import tensorflow as tf

        tokens = tf.constant([list(ids)], tf.int64, [1, len(ids)])
        decoded = self._decode(tokens=tokens, lengths=tf.constant([len(ids)], tf.int64))
        return decoded["sentences"].numpy()[0].decode(errors="replace")
