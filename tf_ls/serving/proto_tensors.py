"""TensorProtos of strangers, and arrays."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tf_ls.serving.errors import invalid


def to_array(
    name: str, proto: tensor_pb2.TensorProto, spec: tf.TensorSpec, most: int
) -> np.ndarray:
    """A request's tensor.

    Args:
        name: of the input.
        proto: what came.
        spec: what it must be.
        most: bytes that it may have. A few bytes of a message can stand for any number of them.

    Raises:
        ServingError: it is not that, or no tensor.
    """
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise invalid(f"input {name} must be {spec.dtype.name}, got {_dtype_name(proto.dtype)}")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f"input {name} has no shape, or a negative one")
    if len(shape) > 16 or math.prod(shape) * spec.dtype.size > most:
        raise invalid(f"input {name} has more than {most} bytes")
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError):
        raise invalid(f"input {name} has other content than its shape says") from None
    if list(array.shape) != shape:
        raise invalid(f"input {name} has other content than its shape says")
    return array


def from_array(array: np.ndarray) -> tensor_pb2.TensorProto:
    return tf.make_tensor_proto(array)


def _dtype_name(number: int) -> str:
    try:
        return tf.as_dtype(number).name
    except (TypeError, ValueError, KeyError):
        return f"the dtype {number}"
