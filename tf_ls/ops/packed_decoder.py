"""Decoders whose weights are laid out for products once."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.decoder import Decoder, decoder_inputs
from tf_ls.ops.packed_stack import PackedStack, PackOperations


class PackedDecoder(PackedStack):
    """A decoder whose weights are cast and laid out for products once, not in each call.

    It is for weights that do not change: they are copied when this object is made, or `pack` is
    called. As an attribute of what is saved as a SavedModel, it is packed again when that is loaded
    (after `import tf_ls`, without which TensorFlow knows no operation of ours), from its variables,
    which the SavedModel stores like any other:

        class Model(tf.Module):
            def __init__(self, decoder):
                self.decoder = tf_ls.ops.PackedDecoder(decoder, "bfloat16")

            @tf.function
            def generate(self, memory, lengths, start):
                return tf_ls.ops.generate(self.decoder, memory, lengths, start, OPTIONS)

    It lies in the memory of the device on which it is made, beside the weights themselves, as long
    as this object, or a function that calls `generate` with it, does. One that is loaded lies on
    the GPU, if TensorFlow sees one, the first unless the load is within tf.device of another.

    Attributes:
        decoder: what it is packed from.
        dtype: what it computes in.
    """

    def __init__(self, decoder: Decoder, dtype: tf.DType | str | None = None):
        """Packs a decoder.

        Args:
            decoder: of variables, if they are to be saved, or of tensors.
            dtype: what layers compute in, the memory's dtype in calls of `generate`; None: the
                table's dtype.

        Raises:
            tf.errors.InvalidArgumentError: shapes that do not fit each other.
            ValueError: a decoder without layers; unknown positions or activation.
        """
        dtype = tf.as_dtype(dtype or decoder.table.dtype)
        super().__init__(dtype, _operations, lambda: decoder_inputs(decoder))
        self.decoder = decoder


def _operations() -> PackOperations:
    return PackOperations(
        library.ops.ls_anonymous_packed_decoder,
        library.ops.ls_packed_decoder_handle,
        library.ops.ls_pack_decoder,
    )
