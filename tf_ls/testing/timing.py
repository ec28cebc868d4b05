"""How long an operation takes, beside stock TensorFlow operations."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any, Callable

import tensorflow as tf

from tf_ls.testing import inputs as inputs_module
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.sample import blaming

_LEAST_CALLS, _MOST_CALLS = 2, 100  # stock float16 products take seconds on a CPU
_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Times:
    """Medians, in seconds, of calls of a tf.function; None where nothing was timed.

    Attributes:
        shape: of the first input.
        forward, stock_forward: the operation, and the stock operations.
        both, stock_both: with the gradient of the sum of the first output, too.
    """

    shape: str
    forward: float
    both: float | None
    stock_forward: float | None
    stock_both: float | None


def time_case(case: Case, dtype: str, device: str, seed: int, seconds: float = _SECONDS) -> Times:
    """Times a case on its inputs for timing, or on those that `seed` draws.

    Calls of the operation and of the stock operations take turns, so that both meet the same load;
    about as many of each as `seconds` have room for.

    Raises:
        CaseError: if a function of the case raises anything.
    """
    with tf.device(device):
        with blaming("make_timing_inputs" if case.make_timing_inputs else "make_inputs"):
            inputs, _ = inputs_module.draw(case.make_timing_inputs or case.make_inputs, dtype, seed)
        kinds = {"forward": _forward}
        if case.gradients:
            kinds["both"] = _forward_and_backward
        medians = {}
        for kind, make in kinds.items():
            calls = {kind: _function(case, case.operation, inputs, make, "the operation")}
            if case.stock is not None:
                calls[f"stock_{kind}"] = _function(case, case.stock, inputs, make, "stock")
            with blaming("a call that was timed"):
                medians.update(_medians(calls, device, seconds))
    shape = inputs_module.main_shape(inputs)
    return Times(shape, **{f.name: medians.get(f.name) for f in dataclasses.fields(Times)[1:]})


def _forward(case: Case, function: Callable[..., Any], inputs: Inputs) -> Any:
    return function(**inputs)


def _forward_and_backward(case: Case, function: Callable[..., Any], inputs: Inputs) -> Any:
    watched = [tensor for _, tensor in inputs_module.differentiable(inputs, case.constants)]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        first = next(t for t in tf.nest.flatten(function(**inputs)) if t.dtype.is_floating)
    return [gradient for gradient in tape.gradient(first, watched) if gradient is not None]


def _function(
    case: Case, function: Callable[..., Any], inputs: Inputs, make: Callable[..., Any], what: str
) -> Callable[[], Any]:
    """A call of a tf.function of the tensors, already traced."""
    if case.prepare:
        inputs = case.prepare(inputs)
    tensors = [tensor for _, tensor in inputs_module.named_tensors(inputs)]

    @tf.function
    def traced(*tensors):
        return make(case, function, inputs_module.replace_tensors(inputs, tensors))

    with blaming(f"{what}, in a tf.function,"):
        traced(*tensors)
    return lambda: traced(*tensors)


def _medians(calls: dict[str, Callable[[], Any]], device: str, seconds: float) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for i in range(_MOST_CALLS):
        if i >= _LEAST_CALLS and time.perf_counter() - began > seconds * len(calls):
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if device == "GPU":
                tf.test.experimental.sync_devices()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
