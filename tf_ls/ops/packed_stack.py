"""Weights that are laid out for products once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class PackedStack(tf.Module):
    """What a PackedEncoder and a PackedDecoder have in common."""

    def __init__(
        self,
        dtype: tf.DType,
        operations: Callable[[], PackOperations],
        inputs: Callable[[], dict[str, Any]],
    ):
        """Packs weights.

        Args:
            dtype: what layers compute in.
            operations: returns the operations that pack.
            inputs: returns what `operations().pack` takes of the stack.
        """
        super().__init__()
        self.dtype = dtype
        # tf.Module does not look into a stack for what to save.
        parts = tf.nest.flatten(inputs())
        self._weights = [part for part in parts if isinstance(part, tf.Variable)]
        self._packed = _Packed(dtype, operations, inputs)

    @property
    def resource_handle(self) -> tf.Tensor:
        return self._packed.resource_handle

    def pack(self) -> None:
        """Packs the weights of the moment.

        Calls that run at the same time use the old ones, or the new ones, all of them.
        """
        self._packed._initialize()


class PackOperations(NamedTuple):
    """The operations of something that is packed."""

    anonymous: Callable[..., tf.Tensor]
    """Makes a handle that owns what it stands for."""

    named: Callable[..., tf.Tensor]
    """Makes a handle to what its device owns under a shared_name."""

    pack: Callable[..., Any]
    """Fills a handle."""


class _Packed(tf.saved_model.experimental.TrackableResource):
    """The packed weights."""

    def __init__(
        self,
        dtype: tf.DType,
        operations: Callable[[], PackOperations],
        inputs: Callable[[], dict[str, Any]],
    ):
        super().__init__()
        self._dtype = dtype
        self._operations = operations
        self._inputs = inputs
        # Where the caller's tf.device says: without one, `resource_handle` makes it on the CPU.
        self._resource_handle = self._create_resource()
        self._initialize()
        # Where a SavedModel's is to be made when it is loaded: on the GPU, if there is one, beside
        # the variables. By itself TensorFlow makes a resource that a function returns on the CPU.
        self._resource_device = "/device:GPU:*"

    def _create_resource(self) -> tf.Tensor:
        if tf.executing_eagerly() or tf.compat.v1.get_default_graph().building_function:
            return self._operations().anonymous()
        # The graph of a SavedModel, for sessions, whose runs have nothing in common but names. They
        # choose devices themselves, and some would not do without one that a graph names.
        with tf.device(None):
            return self._operations().named(shared_name=f"packed_{uuid.uuid4()}")

    def _initialize(self) -> None:
        self._operations().pack(handle=self.resource_handle, T=self._dtype, **self._inputs())
