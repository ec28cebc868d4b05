"""The inputs of a case: drawing them, and the tensors among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ls.testing.case import Inputs, MakeInputs


def draw(make_inputs: MakeInputs, dtype: str, seed: int) -> tuple[Inputs, np.random.Generator]:
    """Draws a case's inputs; the generator goes on with what else has to be drawn.

    TensorFlow's global seed is set too, for operations that draw numbers themselves.
    """
    tf.random.set_seed(seed)
    rng = np.random.default_rng(seed)
    inputs = make_inputs(rng, dtype)
    if not isinstance(inputs, dict):
        raise TypeError(f"must return a dict of arguments, got {type(inputs).__name__}")
    return tf.nest.map_structure(lambda leaf: _to_tensor(leaf, dtype), inputs), rng


def _to_tensor(leaf: Any, dtype: str) -> Any:
    if not isinstance(leaf, np.ndarray):
        return leaf
    tensor = tf.convert_to_tensor(leaf)
    return tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor


def named_leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yields what tf.nest.flatten returns, with names such as weights[2]."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from named_leaves(value[key], f"{name}[{key!r}]" if name else key)
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            yield from named_leaves(part, f"{name}[{i}]")
    else:
        yield name, value


def named_tensors(inputs: Inputs) -> list[tuple[str, tf.Tensor]]:
    """The tensors among the inputs, in the order of tf.nest.flatten."""
    return [(name, leaf) for name, leaf in named_leaves(inputs, "") if isinstance(leaf, tf.Tensor)]


def replace_tensors(inputs: Inputs, tensors: Sequence[tf.Tensor]) -> Inputs:
    """The inputs with other tensors, in the order of `named_tensors`."""
    remaining = iter(tensors)
    return tf.nest.map_structure(
        lambda leaf: next(remaining) if isinstance(leaf, tf.Tensor) else leaf, inputs
    )


def differentiable(inputs: Inputs, constants: Sequence[str]) -> list[tuple[str, tf.Tensor]]:
    """The floating-point tensors among the inputs that are no constants."""
    return [
        (name, tensor)
        for name, tensor in named_tensors(inputs)
        if tensor.dtype.is_floating and name.split("[")[0] not in constants
    ]


def describe(inputs: Inputs) -> str:
    """Shapes of all tensors, and the values that are no tensors, for a failure's message."""
    parts = []
    for name, leaf in inputs.items():
        tensors = [t for t in tf.nest.flatten(leaf) if isinstance(t, tf.Tensor)]
        if tensors:
            parts.append(f"{name} {' '.join(shape_text(t) for t in tensors)}")
        elif leaf is None or isinstance(leaf, (bool, int, float, str)):
            parts.append(f"{name}={leaf!r}")
    return ", ".join(parts)


def shape_text(tensor: tf.Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def main_tensor(inputs: Inputs) -> tf.Tensor | None:
    """The tensor that stands for the size of all: the first, as the inputs are written."""
    leaves = (leaf for value in inputs.values() for leaf in tf.nest.flatten(value))
    return next((leaf for leaf in leaves if isinstance(leaf, tf.Tensor)), None)


def main_shape(inputs: Inputs) -> str:
    tensor = main_tensor(inputs)
    return "-" if tensor is None else shape_text(tensor)
