"""TensorProtos of strangers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tf_ls.serving.errors import ServingError
from tf_ls.serving.proto_tensors import from_array, to_array

SPEC = tf.TensorSpec([None, None], tf.float32)


def proto(shape, **more) -> tensor_pb2.TensorProto:
    result = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, **more)
    for size in shape:
        result.tensor_shape.dim.add(size=size)
    return result


def read(tensor, spec=SPEC):
    return to_array("x", tensor, spec, 1000)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros([2, 0], np.float32),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([b"a", b"\xff"], object),
        np.array(b"a", object),
        np.array(3),
        np.array([True]),
    ],
    ids=str,
)
def test_there_and_back(array):
    spec = tf.TensorSpec(array.shape, tf.as_dtype(from_array(array).dtype))
    found = read(from_array(array), spec)
    np.testing.assert_array_equal(found, array)
    assert found.shape == array.shape


def test_one_value_for_all():
    assert read(proto([2, 3], float_val=[1.5])).tolist() == [[1.5] * 3] * 2


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (tf.make_tensor_proto([[1]]), "must be float32, got int32"),
        (tensor_pb2.TensorProto(dtype=99), "must be float32, got"),
        (proto([-1, 2]), "no shape, or a negative one"),
        (proto([1 << 40, 1 << 40], float_val=[1]), "more than 1000 bytes"),
        (proto([300, 1], float_val=[1]), "more than 1000 bytes"),
        (proto([2, 2], float_val=[1] * 5), "other content than its shape says"),
        (proto([2, 2], tensor_content=b"12345"), "other content than its shape says"),
        (proto([1] * 100, float_val=[1]), "more than 1000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_ones(tensor, message):
    with pytest.raises(ServingError, match=message) as error:
        read(tensor)
    assert error.value.code == "INVALID_ARGUMENT"
