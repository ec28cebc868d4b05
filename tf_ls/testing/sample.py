"""Comparing an operation with its reference on inputs drawn from one seed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ls.testing import inputs as inputs_module
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.comparison import relative_error


@dataclasses.dataclass
class Sample:
    """What came of one comparison.

    Attributes:
        seed: what the inputs were drawn from.
        shape: of the first input.
        size: how many numbers this has.
        inputs: the shapes of all.
        forward_error, gradient_error: the worst relative errors; None where nothing was compared.
        failures: a sentence for each thing that is wrong.
    """

    seed: int
    shape: str = "-"
    size: int = 0
    inputs: str = ""
    forward_error: float | None = None
    gradient_error: float | None = None
    failures: list[str] = dataclasses.field(default_factory=list)


class CaseError(Exception):
    """A function of a case raised something; says which function and what."""


@contextlib.contextmanager
def blaming(what: str):
    """Turns an exception into a CaseError."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        # Of a function that TensorFlow rewrote, the message is the end of a traceback.
        line = lines[-1].strip() if lines[0].startswith("in user code") else lines[0]
        raise CaseError(f"{what} raised {type(error).__name__}: {line}") from error


def compare(case: Case, dtype: str, device: str, seed: int) -> Sample:
    """Compares outputs and gradients on the inputs that `seed` draws."""
    sample = Sample(seed)
    try:
        _compare(case, dtype, device, sample)
    except CaseError as raised:
        sample.failures.append(str(raised))
    return sample


def _compare(case: Case, dtype: str, device: str, sample: Sample) -> None:
    with tf.device(device), blaming("make_inputs"):
        inputs, rng = inputs_module.draw(case.make_inputs, dtype, sample.seed)
    sample.inputs = inputs_module.describe(inputs)
    sample.shape = inputs_module.main_shape(inputs)
    first = inputs_module.main_tensor(inputs)
    sample.size = 0 if first is None else math.prod(first.shape)

    watched = inputs_module.differentiable(inputs, case.constants) if case.gradients else []
    with tf.device(device), tf.GradientTape() as tape, blaming("the operation"):
        tape.watch([tensor for _, tensor in watched])
        outputs = case.operation(**(case.prepare(inputs) if case.prepare else inputs))
    outputs = list(inputs_module.named_leaves(outputs, "output"))

    with tf.device("CPU"):
        exact = in_float64(inputs)
        exact_watched = inputs_module.differentiable(exact, case.constants)
        with tf.GradientTape() as exact_tape, blaming("the reference"):
            exact_tape.watch([tensor for _, tensor in exact_watched])
            expected = _leaves(case.reference(**exact))
    same = _compare_outputs(case, dtype, device, outputs, expected, sample)
    if not case.gradients or not same:
        return

    if case.gradient_reference is not None:
        with tf.device("CPU"), tf.GradientTape() as exact_tape, blaming("gradient_reference"):
            exact_tape.watch([tensor for _, tensor in exact_watched])
            expected = _leaves(case.gradient_reference(**exact))
    _compare_gradients(
        *(case, dtype, rng, sample),
        _Differentiated(tape, watched, [tensor for _, tensor in outputs]),
        _Differentiated(exact_tape, exact_watched, expected),
    )


def in_float64(inputs: Inputs) -> Inputs:
    tensors = [tensor for _, tensor in inputs_module.named_tensors(inputs)]
    exact = [tf.cast(t, tf.float64) if t.dtype.is_floating else tf.identity(t) for t in tensors]
    return inputs_module.replace_tensors(inputs, exact)


def _leaves(value: Any) -> list[Any]:
    return [leaf for _, leaf in inputs_module.named_leaves(value, "output")]


def _compare_outputs(
    case: Case,
    dtype: str,
    device: str,
    outputs: Sequence[tuple[str, Any]],
    expected: Sequence[Any],
    sample: Sample,
) -> bool:
    """Returns whether there are outputs whose gradients can be compared."""
    if len(outputs) != len(expected):
        sample.failures.append(
            f"the operation returned {len(outputs)} tensors, the reference {len(expected)}"
        )
        return False
    comparable = True
    for (what, actual), want in zip(outputs, expected):
        if not isinstance(actual, tf.Tensor):
            sample.failures.append(f"{what} is no tensor but a {type(actual).__name__}")
            comparable = False
            continue
        want = np.asarray(want)
        floating = np.issubdtype(want.dtype, np.floating)
        wanted_dtype = (case.output_dtype or dtype) if floating else want.dtype.name
        if actual.dtype.name != wanted_dtype:
            sample.failures.append(f"{what} is of dtype {actual.dtype.name}, not {wanted_dtype}")
        if actual.shape != want.shape:
            shape = inputs_module.shape_text(actual)
            sample.failures.append(f"{what} has shape {shape}, not {list(want.shape)}")
            comparable = False
        elif not floating:
            differing = int(np.sum(np.asarray(actual) != want))
            if differing:
                sample.failures.append(f"{what} differs at {differing} of {want.size} places")
        elif actual.dtype.is_floating:
            error = _compare_numbers(case, dtype, what, actual, want, sample)
            sample.forward_error = _worse(sample.forward_error, error)
        else:
            comparable = False
        if device == "GPU" and floating and "GPU" not in actual.device:
            sample.failures.append(f"{what} was computed on {actual.device}, not on the GPU")
    return comparable


@dataclasses.dataclass(frozen=True)
class _Differentiated:
    tape: tf.GradientTape
    inputs: Sequence[tuple[str, tf.Tensor]]
    outputs: Sequence[Any]


def _compare_gradients(
    case: Case,
    dtype: str,
    rng: np.random.Generator,
    sample: Sample,
    ours: _Differentiated,
    exact: _Differentiated,
) -> None:
    floating = [i for i, t in enumerate(ours.outputs) if t.dtype.is_floating]
    if not floating or not ours.inputs:
        sample.failures.append("there is nothing to differentiate: set gradients=False")
        return
    outputs = [ours.outputs[i] for i in floating]
    expected = [exact.outputs[i] for i in floating] if len(exact.outputs) > floating[-1] else []
    if not expected or not all(isinstance(t, tf.Tensor) for t in expected):
        sample.failures.append(
            "the reference has no gradients, for it does not return tensors of TensorFlow"
            " operations: give a gradient_reference that does, or set gradients=False"
        )
        return
    cotangents = [tf.cast(rng.normal(size=t.shape), t.dtype) for t in outputs]
    with blaming("the operation's gradient"):
        gradients = ours.tape.gradient(
            outputs, [tensor for _, tensor in ours.inputs], output_gradients=cotangents
        )
    with tf.device("CPU"), blaming("the reference's gradient"):
        wanted = exact.tape.gradient(
            expected,
            [tensor for _, tensor in exact.inputs],
            output_gradients=[tf.cast(c, tf.float64) for c in cotangents],
        )
    for (name, tensor), gradient, want in zip(ours.inputs, gradients, wanted):
        what = f"gradient of {name}"
        if gradient is None:
            if want is not None:
                sample.failures.append(f"{what} is None: the operation has no gradient for it")
            continue
        gradient = tf.convert_to_tensor(gradient)  # adds up what tf.IndexedSlices have twice
        want = np.zeros(tensor.shape) if want is None else np.asarray(tf.convert_to_tensor(want))
        if gradient.dtype != tensor.dtype:
            sample.failures.append(f"{what} is {gradient.dtype.name}, not {tensor.dtype.name}")
        if gradient.shape != want.shape:
            shape = inputs_module.shape_text(gradient)
            sample.failures.append(f"{what} has shape {shape}, not {list(want.shape)}")
            continue
        error = _compare_numbers(case, dtype, what, gradient, want, sample)
        sample.gradient_error = _worse(sample.gradient_error, error)


def _compare_numbers(
    case: Case, dtype: str, what: str, actual: tf.Tensor, want: np.ndarray, sample: Sample
) -> float:
    """Returns the relative error; where the reference is not finite, both must be the same."""
    actual = np.asarray(tf.cast(actual, tf.float64))
    finite = np.isfinite(want)
    if not np.array_equal(actual[~finite], want[~finite], equal_nan=True):
        sample.failures.append(f"{what} differs where the reference is not finite")
        return math.nan
    unexpected = int(np.sum(~np.isfinite(actual[finite])))
    if unexpected:
        sample.failures.append(f"{what}: {unexpected} of {want.size} numbers are not finite")
        return math.nan
    error = relative_error(actual[finite], want[finite])
    tolerance = case.tolerances[dtype]
    if not error <= tolerance:
        sample.failures.append(f"{what}: relative error {error:.2g}, more than {tolerance:g}")
    return error


def _worse(error: float | None, other: float) -> float:
    if error is None or math.isnan(other):
        return other
    return error if math.isnan(error) else max(error, other)
