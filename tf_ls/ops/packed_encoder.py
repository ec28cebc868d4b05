"""Encoders whose weights are laid out for products once."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.encoder import Encoder, encoder_inputs
from tf_ls.ops.packed_stack import PackedStack, PackOperations


class PackedEncoder(PackedStack):
    """An encoder whose weights are cast and laid out for products once, not in each call.

    It is to `encode` what a PackedDecoder is to `generate`, in a SavedModel too. The table is not
    copied.

    Attributes:
        encoder: what it is packed from.
        dtype: what it computes in.
    """

    def __init__(self, encoder: Encoder, dtype: tf.DType | str | None = None):
        """Packs an encoder.

        Args:
            encoder: of variables, if they are to be saved, or of tensors.
            dtype: what layers compute in, and what `encode` returns; None: the table's dtype.

        Raises:
            tf.errors.InvalidArgumentError: shapes that do not fit each other.
            ValueError: an encoder without layers; unknown positions or activation.
        """
        dtype = tf.as_dtype(dtype or encoder.table.dtype)
        super().__init__(dtype, _operations, lambda: encoder_inputs(encoder))
        self.encoder = encoder


def _operations() -> PackOperations:
    return PackOperations(
        library.ops.ls_anonymous_packed_encoder,
        library.ops.ls_packed_encoder_handle,
        library.ops.ls_pack_encoder,
    )
