"""Sentences to a model's tokens and back, through SentencePiece, in operations."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.ops.host import on_host


class Text(tf.Module):
    """A SentencePiece model, and which of a model's tokens are which of its pieces.

    As an attribute of what is saved as a SavedModel, the model file becomes one of its assets.
    """

    def __init__(
        self,
        path: Union[str, os.PathLike],
        tokens: Optional[Sequence[int]] = None,
        *,
        eos: Optional[int] = None,
        pieces: Optional[Sequence[int]] = None,
        normalize: Optional[Callable[[tf.Tensor], tf.Tensor]] = None,
    ):
        """Reads a model file.

        Args:
            path: of the file, as SentencePiece's trainer writes it.
            tokens: the token of each piece; None: pieces are tokens, and the file's own end of
                sentence is the model's.
            eos: with `tokens`: the token that ends a sentence.
            pieces: with `tokens`: the piece of each token.
            normalize: what happens to sentences [B] first.

        Raises:
            tf.errors.InvalidArgumentError: the file is no SentencePiece model.
        """
        super().__init__()
        self._sentencepiece = ops.SentencePiece(path)
        self._tokens = None if tokens is None else np.array(tokens, np.int64)
        self._eos = eos
        self._pieces = None if pieces is None else np.array(pieces, np.int64)
        self._normalize = normalize

    def vocabulary(self) -> tf.Tensor:
        """Returns the piece of each token: string [V]."""
        with on_host():
            pieces = self._sentencepiece.pieces()
            if self._pieces is not None:
                pieces = tf.gather(pieces, self._pieces)
            if self._eos is not None:
                # It may be none of the file's pieces.
                is_eos = tf.range(tf.size(pieces, tf.int64)) == self._eos
                pieces = tf.where(is_eos, "</s>", pieces)
            return pieces

    def encode(
        self, sentences: tf.Tensor, padding_id: int, *, append_eos: bool = True
    ) -> tf.Tensor:
        """Returns the tokens int64 [B, S] of sentences [B], each with its end behind it, or not."""
        if self._normalize is not None:
            sentences = self._normalize(sentences)
        if self._tokens is None:
            return self._sentencepiece.encode(
                sentences, append_eos=append_eos, padding_id=padding_id
            ).ids
        pieces, lengths = self._sentencepiece.encode(sentences, append_eos=False)
        with on_host():
            tokens = tf.pad(tf.gather(self._tokens, pieces), [[0, 0], [0, int(append_eos)]])
            place, lengths = tf.range(tf.shape(tokens)[1]), lengths[:, tf.newaxis]
            end = self._eos if append_eos else padding_id
            behind = tf.where(place == lengths, tf.constant(end, tf.int64), padding_id)
            return tf.where(place < lengths, tokens, behind)

    def decode(self, tokens: tf.Tensor, lengths: tf.Tensor, eos: int) -> tf.Tensor:
        """Returns sentences [B], of the first tokens of each row [B, T], without EOS at the end."""
        with on_host():
            places = tf.maximum(lengths - 1, 0)  # one more than there are, if there are none
            last = tf.gather(tf.pad(tokens, [[0, 0], [0, 1]]), places, batch_dims=1)
            lengths -= tf.cast((lengths > 0) & (last == eos), lengths.dtype)
            if self._pieces is not None:
                tokens = tf.gather(self._pieces, tokens)
        return self._sentencepiece.decode(tokens, lengths)
