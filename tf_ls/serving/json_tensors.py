"""JSON as TensorFlow Serving's REST interface has it, and arrays."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ls.serving.errors import ServingError, invalid
from tf_ls.serving.loaded_model import Signature

ROW, COLUMN = "instances", "inputs"

Inputs = dict[str, Any]


def parse(body: bytes) -> dict[str, Any]:
    """The object of a request's body.

    Raises:
        ServingError: it is none. (NaN, Infinity and -Infinity are numbers.)
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except RecursionError:
        raise invalid("JSON Parse error: too many brackets in each other") from None
    except ValueError:  # an integer of thousands of digits
        raise invalid("JSON Parse error: a number is too long") from None
    if not isinstance(document, dict):
        raise invalid("JSON Value: Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value")
    return name


def read_inputs(
    document: Mapping[str, Any], signature: Signature, is_ragged: Callable[[str], bool]
) -> tuple[str, Inputs]:
    """A request's inputs as arrays.

    Args:
        document: the request.
        signature: that it is for.
        is_ragged: says of an input's name whether its rows may differ in length; it then becomes
            a list of vectors.

    Returns:
        ROW or COLUMN, and the arrays by name.

    Raises:
        ServingError: they do not fit the signature.
    """
    if ROW in document and COLUMN in document:
        raise invalid(f"expecting only one of '{COLUMN}' or '{ROW}' keys to exist")
    if ROW in document:
        columns = _columns(document[ROW], signature)
    elif COLUMN in document:
        columns = _named(document[COLUMN], signature)
    else:
        raise invalid(f"Missing '{COLUMN}' or '{ROW}' key")
    arrays = {}
    for name, value in columns.items():
        if name not in signature.inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        spec = signature.inputs[name]
        read = _ragged if is_ragged(name) else _array
        try:
            arrays[name] = read(value, spec)
        except _Unfit as error:
            raise invalid(f"input {name}: {error}") from None
    return (ROW if ROW in document else COLUMN), arrays


def write_outputs(form: str, outputs: Mapping[str, np.ndarray]) -> bytes:
    """The body of the answer to a request of a form."""
    columns = {name: _values(name, outputs[name]) for name in sorted(outputs)}
    if form == COLUMN:
        content = next(iter(columns.values())) if len(columns) == 1 else columns
        return json.dumps({"outputs": content}).encode()
    counts = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    if len(set(counts.values())) != 1 or None in counts.values():
        raise invalid(
            "the outputs have no common first dimension, which is needed for 'instances'; ask with"
            " 'inputs' instead"
        )
    if len(columns) == 1:
        [predictions] = columns.values()
    else:
        predictions = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return json.dumps({"predictions": predictions}).encode()


class _Unfit(ValueError):
    """A value that is no tensor of what was expected."""


def _columns(instances: Any, signature: Signature) -> dict[str, Any]:
    """Inputs by name of what is given row by row."""
    if not isinstance(instances, list):
        raise invalid(f"Expecting '{ROW}' value to be an list/array")
    if not instances:
        raise invalid(f"No values in '{ROW}' array")
    named = _is_object(instances[0])
    if not named and len(signature.inputs) > 1:
        raise invalid(
            f"{ROW} is a plain list, but expecting list of objects as multiple input tensors"
            " required as per tensorinfo_map"
        )
    for index, instance in enumerate(instances):
        if _is_object(instance) != named:
            raise invalid(f"item {index} of '{ROW}' is not like the first: an object, or none")
        if named and instance.keys() != instances[0].keys():
            raise invalid(
                f"Failed to process element: {index} of '{ROW}' list. Its keys must be those of"
                " the first"
            )
    if not named:
        return {name: instances for name in signature.inputs}
    columns = {name: [instance[name] for instance in instances] for name in instances[0]}
    for name in columns:
        spec = signature.inputs.get(name)
        if spec is not None and spec.shape.rank == 0:
            raise invalid(f"input {name} has no rows: give it with '{COLUMN}'")
    return columns


def _named(inputs: Any, signature: Signature) -> dict[str, Any]:
    """Inputs by name of what is given column by column."""
    if _is_object(inputs):
        return inputs
    if len(signature.inputs) > 1:
        raise invalid(
            f"{COLUMN} is a plain value/list, but expecting an object as multiple input tensors"
            " required as per tensorinfo_map"
        )
    return {name: inputs for name in signature.inputs}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _array(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    """A nested list as an array."""
    shape: list[int] = []
    values = [value]
    while values and isinstance(values[0], list):
        if spec.shape.rank is not None and len(shape) == spec.shape.rank:
            break  # too deep, which is reported below
        shape.append(len(values[0]))
        for element in values:
            if not isinstance(element, list) or len(element) != shape[-1]:
                raise _Unfit(f"the lists at level {len(shape)} have no common length")
        values = list(itertools.chain.from_iterable(values))
        if len(shape) > 16:
            raise _Unfit("too many lists in each other")
    if 0 in shape and spec.shape.rank is not None:
        shape += [0] * (spec.shape.rank - len(shape))
    return _scalars(values, spec.dtype).reshape(shape)


def _ragged(value: Any, spec: tf.TensorSpec) -> list[np.ndarray]:
    """A list of lists as vectors."""
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise _Unfit("must be a list of lists")
    flat = _scalars(list(itertools.chain.from_iterable(value)), spec.dtype)
    ends = itertools.accumulate(map(len, value))
    return [flat[end - len(row) : end] for row, end in zip(value, ends)]


def _scalars(values: Sequence[Any], dtype: tf.DType) -> np.ndarray:
    """Values as a vector."""
    kinds = set(map(type, values))
    if dtype == tf.string:
        expected: set[type] = {str, dict}
    elif dtype == tf.bool:
        expected = {bool}
    elif dtype.is_integer:
        expected = {int}
    elif dtype.is_floating:
        expected = {int, float}
    else:
        raise _Unfit(f"{dtype.name} cannot be given as JSON")
    if kinds - expected:
        names = ", ".join(sorted(_JSON_NAMES[kind] for kind in kinds - expected))
        raise _Unfit(f"must be {dtype.name}, got {names}")
    if dtype == tf.string:
        return np.array([_bytes(value) for value in values], object)
    try:
        if dtype.is_integer:
            limits = np.iinfo(dtype.as_numpy_dtype)
            if values and not limits.min <= min(values) <= max(values) <= limits.max:
                raise _Unfit(f"a number is no {dtype.name}")
            return np.array(values, dtype.as_numpy_dtype)
        if dtype == tf.bool:
            return np.array(values, bool)
        exact = np.array(values, np.float64)
    except OverflowError:
        raise _Unfit(f"a number is no {dtype.name}") from None
    with np.errstate(over="ignore"):
        array = exact.astype(dtype.as_numpy_dtype)
    if (np.isfinite(exact) & ~np.isfinite(array.astype(np.float64))).any():
        raise _Unfit(f"a number is no {dtype.name}")
    return array


_JSON_NAMES = {
    str: "a string",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "an integer",
    float: "a number with a fraction",
    type(None): "null",
}


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise _Unfit("a string has half of a surrogate pair") from None
    if not _is_base64(value) or not isinstance(value["b64"], str):
        raise _Unfit('must be a string or {"b64": ...}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise _Unfit("b64 is no base64") from None


def _values(name: str, array: np.ndarray) -> Any:
    """An array as nested lists; numbers with as many digits as their dtype has."""
    kind = array.dtype.kind
    if kind == "O":
        write = _base64 if name.endswith("_bytes") else _text
        values = np.empty(array.shape, object)
        values.flat = [write(value) for value in array.flat]
        return values.tolist()
    if kind in "iub":
        return array.tolist()
    if array.dtype == np.float64:
        return array.tolist()
    if kind == "c":
        raise ServingError("UNIMPLEMENTED", f"output {name}: {array.dtype} has no JSON")
    # float16, bfloat16 (of kind V) and float32, whose shortest decimals are not float64's
    singles = array.astype(np.float32)
    return singles.astype("U").astype(np.float64).tolist() if singles.size else singles.tolist()


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}
