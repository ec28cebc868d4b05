"""JSON and arrays, as TensorFlow Serving's REST interface has them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.serving import json_tensors
from tf_ls.serving.errors import ServingError
from tf_ls.serving.loaded_model import Signature


def signature(defaults=(), **inputs) -> Signature:
    specs = {name: tf.TensorSpec(shape, dtype, name) for name, (dtype, shape) in inputs.items()}
    return Signature("s", specs, ("y",), {name: tf.constant(0) for name in defaults})


def read(document, ragged=(), **inputs):
    return json_tensors.read_inputs(document, signature(**inputs), lambda name: name in ragged)[1]


def refused(call, *arguments, **more) -> str:
    with pytest.raises(ServingError) as error:
        call(*arguments, **more)
    assert error.value.code == "INVALID_ARGUMENT"
    return error.value.message


# Requests ----------------------------------------------------------------------------------------


def test_rows_of_one_input():
    arrays = read({"instances": [[1, 2], [3, 4]]}, x=("float32", [None, 2]))
    np.testing.assert_array_equal(arrays["x"], np.array([[1, 2], [3, 4]], np.float32))
    assert arrays["x"].dtype == np.float32
    assert read({"instances": [1.5, 2]}, x=("float64", [None]))["x"].tolist() == [1.5, 2]


def test_rows_of_named_inputs():
    rows = [{"x": [1, 2], "name": "a"}, {"x": [3, 4], "name": {"b64": "YgA="}}]
    arrays = read({"instances": rows}, x=("int32", [None, 2]), name=("string", [None]))
    assert arrays["x"].tolist() == [[1, 2], [3, 4]]
    assert arrays["name"].tolist() == [b"a", b"b\0"]


def test_columns():
    inputs = {"x": ("int64", [None, None]), "scale": ("float32", [])}
    arrays = read({"inputs": {"x": [[1], [2]], "scale": 0.5}}, **inputs)
    assert arrays["x"].shape == (2, 1)
    assert arrays["scale"].shape == ()
    assert read({"inputs": [True, False]}, x=("bool", [None]))["x"].tolist() == [True, False]
    assert read({"inputs": {"b64": "AA=="}}, x=("string", []))["x"].item() == b"\0"


def test_what_is_no_finite_number():
    document = json_tensors.parse(b'{"inputs": [NaN, Infinity, -Infinity, 1e-3]}')
    x = read(document, x=("float32", [None]))["x"]
    np.testing.assert_array_equal(x, np.array([np.nan, np.inf, -np.inf, 1e-3], np.float32))


def test_rows_of_different_lengths_where_they_may_be():
    document = {"instances": [[1, 2, 3], [], [4]]}
    rows = read(document, ragged="x", x=("int64", [None, None]))["x"]
    assert [row.tolist() for row in rows] == [[1, 2, 3], [], [4]]
    assert read({"inputs": []}, ragged="x", x=("int64", [None, None]))["x"] == []
    assert "no common length" in refused(read, document, x=("int64", [None, None]))


def test_nothing():
    assert read({"inputs": []}, x=("int64", [None, None]))["x"].shape == (0, 0)
    assert read({"inputs": [[], []]}, x=("float32", [None, None]))["x"].shape == (2, 0)
    assert read({"inputs": {}}) == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b"{", "JSON Parse error: .* at offset: 1"),
        (b"[1]", "Is not object"),
        (b'"\xff"', "not UTF-8 at offset: 1"),
        (b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too many brackets"),
        (b'{"instances": [' + b"9" * 100_000 + b"]}", "a number is too long"),
    ],
)
def test_no_json(body, message):
    import re

    assert re.search(message, refused(json_tensors.parse, body))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [1], "instances": [1]}, "only one of"),
        ({"instances": 1}, "to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1, {"x": 2}]}, "item 1 of 'instances' is not like the first"),
        ({"instances": [{"x": 1}, {"y": 2}]}, "Failed to process element: 1"),
        ({"inputs": {"y": [1]}}, "does not have named input: y"),
        ({"inputs": [1.5]}, "input x: must be int32, got a number with a fraction"),
        ({"inputs": [True]}, "input x: must be int32, got true or false"),
        ({"inputs": ["1"]}, "input x: must be int32, got a string"),
        ({"inputs": [None]}, "input x: must be int32, got null"),
        ({"inputs": [[1], [2]]}, "input x: must be int32, got a list"),
        ({"inputs": [1, [2]]}, "input x: must be int32, got a list"),
        ({"inputs": [1 << 31]}, "input x: a number is no int32"),
        ({"inputs": [10**400]}, "input x: a number is no int32"),
    ],
    ids=str,
)
def test_what_does_not_fit(document, message):
    assert message in refused(read, document, x=("int32", [None]))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (1e39, "float32", "a number is no float32"),
        (10**400, "float64", "a number is no float64"),
        (True, "float32", "got true or false"),
        ({"b64": "?"}, "string", "b64 is no base64"),
        ({"b64": 1}, "string", 'must be a string or {"b64": ...}'),
        ({"c": "AA"}, "string", 'must be a string or {"b64": ...}'),
        ("\ud800", "string", "half of a surrogate pair"),
        (-1, "uint8", "a number is no uint8"),
        (1, "complex64", "complex64 cannot be given as JSON"),
    ],
    ids=str,
)
def test_bad_values(value, dtype, message):
    assert message in refused(read, {"inputs": {"x": [value]}}, x=(dtype, [None]))


def test_several_inputs_need_names():
    inputs = {"x": ("int32", [None]), "y": ("int32", [None])}
    assert "expecting list of objects" in refused(read, {"instances": [1]}, **inputs)
    assert "expecting an object" in refused(read, {"inputs": [1]}, **inputs)


def test_scalars_have_no_rows():
    inputs = {"x": ("int32", [None]), "beam": ("int32", [])}
    document = {"instances": [{"x": 1, "beam": 2}]}
    assert "input beam has no rows: give it with 'inputs'" in refused(read, document, **inputs)


def test_hundreds_of_lists_in_each_other():
    value = 1
    for _ in range(500):
        value = [value]
    for shape in (None, [None, None]):
        message = refused(read, {"inputs": value}, x=("int32", shape))
        assert "too many lists" in message or "got a list" in message


# Answers -----------------------------------------------------------------------------------------

OUTPUTS = {
    "x": np.array([[0.1], [np.inf]], np.float32),
    "n": np.array([1, 2], np.int64),
    "name": np.array([b"a", b"\xff"], object),
    "raw_bytes": np.array([b"a", b"\xff"], object),
}


def test_rows():
    answer = json.loads(json_tensors.write_outputs("instances", OUTPUTS))
    assert answer == {
        "predictions": [
            {"n": 1, "name": "a", "raw_bytes": {"b64": "YQ=="}, "x": [0.1]},
            {"n": 2, "name": "\ufffd", "raw_bytes": {"b64": "/w=="}, "x": [np.inf]},
        ]
    }
    one = json_tensors.write_outputs("instances", {"n": OUTPUTS["n"]})
    assert json.loads(one) == {"predictions": [1, 2]}


def test_columns_of_answers():
    answer = json.loads(json_tensors.write_outputs("inputs", OUTPUTS))["outputs"]
    assert answer["x"] == [[0.1], [np.inf]]
    assert json_tensors.write_outputs("inputs", {"y": np.array(2.5)}) == b'{"outputs": 2.5}'


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, tf.bfloat16.as_numpy_dtype])
def test_floats_come_back_as_they_were(dtype):
    array = np.random.default_rng(0).normal(size=[50]).astype(dtype)
    answer = json.loads(json_tensors.write_outputs("inputs", {"y": array}))["outputs"]
    np.testing.assert_array_equal(np.array(answer).astype(dtype), array)


def test_outputs_without_common_rows():
    outputs = {"x": np.zeros([2]), "y": np.zeros([3])}
    assert "no common first dimension" in refused(json_tensors.write_outputs, "instances", outputs)
    outputs = {"x": np.zeros([])}
    assert "no common first dimension" in refused(json_tensors.write_outputs, "instances", outputs)
