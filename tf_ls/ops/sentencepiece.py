"""SentencePiece as operations: sentences to ids and back, inside of a graph or a SavedModel."""

from __future__ import annotations

import os
import uuid
from typing import NamedTuple, Union

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.host import on_host


class EncodedSentences(NamedTuple):
    """Ids of sentences, padded to the longest.

    Attributes:
        ids: int64 [B, longest].
        lengths: int32 [B], how many ids of each row are the sentence's, its first ones.
    """

    ids: tf.Tensor
    lengths: tf.Tensor


class SentencePiece(tf.Module):
    """A SentencePiece model.

    It is read when this object is made, and stays in memory. As an attribute of what is saved as a
    SavedModel, the model file becomes one of its assets, and is read again when that is loaded
    (after `import tf_ls`, without which TensorFlow knows no operation of ours):

        class Translator(tf.Module):
            def __init__(self, path):
                self.pieces = tf_ls.ops.SentencePiece(path)

    The operations run on the CPU. They share the sentences of a batch out over its threads.
    """

    def __init__(self, path: Union[str, os.PathLike]):
        """Reads a model.

        Args:
            path: of a model file, as SentencePiece's trainer writes it.

        Raises:
            tf.errors.InvalidArgumentError: if it cannot be read, or is no such file.
        """
        super().__init__()
        self._asset = tf.saved_model.Asset(os.fspath(path))
        self._model = _Model(self._asset)

    def pieces(self) -> tf.Tensor:
        """The vocabulary: string [V], the piece of each id."""
        with on_host():
            return library.ops.ls_sentence_piece_pieces(handle=self._model.resource_handle)

    def encode(
        self, sentences: tf.Tensor, *, append_eos: bool = True, padding_id: int = 0
    ) -> EncodedSentences:
        """Cuts sentences into pieces.

        Args:
            sentences: string [B], in UTF-8. SentencePiece itself takes a byte that is no UTF-8 for
                the replacement character U+FFFD.
            append_eos: put the model's end-of-sentence id behind each sentence.
            padding_id: what stands behind a sentence that is shorter than the longest.

        Raises:
            tf.errors.InvalidArgumentError: if `sentences` is not of rank 1, or the model has no
                end-of-sentence piece to append.
        """
        with on_host():
            return EncodedSentences(
                *library.ops.ls_sentence_piece_encode(
                    handle=self._model.resource_handle,
                    sentences=tf.convert_to_tensor(sentences, tf.string),
                    append_eos=append_eos,
                    padding_id=padding_id,
                )
            )

    def decode(self, ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Joins pieces to sentences.

        Args:
            ids: int64 or int32 [B, T], from 0 to V - 1. Control symbols, such as the end of a
                sentence, leave no trace in the text.
            lengths: int32 or int64 [B], how many ids of each row to read.

        Returns:
            string [B].

        Raises:
            tf.errors.InvalidArgumentError: if an id that is to be read or a length is out of range.
        """
        with on_host():
            return library.ops.ls_sentence_piece_decode(
                handle=self._model.resource_handle,
                ids=tf.cast(ids, tf.int64),
                lengths=tf.cast(lengths, tf.int32),
            )


class _Model(tf.saved_model.experimental.TrackableResource):
    """The parsed model, which lives as long as this object does."""

    def __init__(self, asset: tf.saved_model.Asset):
        super().__init__(device="CPU")
        self._path = asset.asset_path
        # TensorFlow makes it another name in each SavedModel that it loads.
        self._shared_name = f"sentencepiece_{uuid.uuid4()}"
        self._initialize()

    def _create_resource(self) -> tf.Tensor:
        return library.ops.ls_sentence_piece_handle(shared_name=self._shared_name)

    def _initialize(self) -> None:
        with on_host():
            library.ops.ls_sentence_piece_initialize(handle=self.resource_handle, path=self._path)

    def _destroy_resource(self) -> None:
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle, ignore_lookup_error=True)
