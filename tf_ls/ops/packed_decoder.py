"""Decoders whose weights are laid out for products once."""

from __future__ import annotations

import uuid

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.decoder import Decoder, decoder_inputs


class PackedDecoder(tf.Module):
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
        super().__init__()
        self.decoder = decoder
        self.dtype = tf.as_dtype(dtype or decoder.table.dtype)
        # tf.Module does not look into a decoder for what to save.
        inputs = tf.nest.flatten(decoder_inputs(decoder))
        self._weights = [part for part in inputs if isinstance(part, tf.Variable)]
        self._packed = _Packed(decoder, self.dtype)

    @property
    def resource_handle(self) -> tf.Tensor:
        return self._packed.resource_handle

    def pack(self) -> None:
        """Packs the weights of the moment.

        Calls that run at the same time use the old ones, or the new ones, all of them.
        """
        self._packed._initialize()


class _Packed(tf.saved_model.experimental.TrackableResource):
    """The packed weights."""

    def __init__(self, decoder: Decoder, dtype: tf.DType):
        super().__init__()
        self._decoder = decoder
        self._dtype = dtype
        self._initialize()
        # Where a SavedModel's is to be made when it is loaded: on the GPU, if there is one, beside
        # the variables. By itself TensorFlow makes a resource that a function returns on the CPU.
        self._resource_device = "/device:GPU:*"

    def _create_resource(self) -> tf.Tensor:
        if tf.executing_eagerly() or tf.compat.v1.get_default_graph().building_function:
            return library.ops.ls_anonymous_packed_decoder()
        # The graph of a SavedModel, for sessions, whose runs have nothing in common but names. They
        # choose devices themselves, and some would not do without one that a graph names.
        with tf.device(None):
            return library.ops.ls_packed_decoder_handle(
                shared_name=f"packed_decoder_{uuid.uuid4()}"
            )

    def _initialize(self) -> None:
        library.ops.ls_pack_decoder(
            handle=self.resource_handle, T=self._dtype, **decoder_inputs(self._decoder)
        )
