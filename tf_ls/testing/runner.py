"""Running cases over dtypes, devices and random inputs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Callable

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry

from tf_ls.library import library
from tf_ls.testing.case import Case
from tf_ls.testing.sample import CaseError, Sample, compare
from tf_ls.testing.timing import Times, time_case

SAMPLES = 10


@dataclasses.dataclass
class Result:
    """What came of a case in one dtype on one device.

    Attributes:
        samples: one for each seed.
        times: None if nothing was timed.
        timing_failure: what went wrong while timing.
        skipped: why the case cannot run there, instead of all of these.
    """

    case: Case
    dtype: str
    device: str
    samples: list[Sample] = dataclasses.field(default_factory=list)
    times: Times | None = None
    timing_failure: str | None = None
    skipped: str | None = None

    @property
    def failed(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.failures]

    @property
    def passed(self) -> bool:
        return not self.failed and self.timing_failure is None

    def largest(self) -> Sample:
        return max(self.samples, key=lambda sample: sample.size)


def available_devices() -> list[str]:
    return ["CPU", "GPU"] if tf.config.list_physical_devices("GPU") else ["CPU"]


def run(
    cases: Iterable[Case],
    *,
    dtypes: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    timing: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Compares each case with its reference, on inputs from seeds seed, seed + 1 and so on.

    Args:
        dtypes: those to check, of the ones that a case has; None: all.
        devices: likewise; None: those of this machine.
        samples: how many inputs to draw for each dtype and device.
        seed: of the first of them.
        timing: whether to measure times, too.
        progress: is told what comes next.

    Raises:
        ImportError: if a case needs the library of tf_ls, and it does not load.
        ValueError: if a case names a kernel of an operation that does not exist.
    """
    devices = available_devices() if devices is None else devices
    todo = [
        Result(case, dtype, device, skipped=_missing(case, device))
        for case in cases
        for dtype in case.dtypes
        if dtypes is None or dtype in dtypes
        for device in devices
    ]
    with _exact_products():
        for i, result in enumerate(todo):
            if result.skipped is None:
                where = f"{result.case.name}, {result.dtype}, {result.device}"
                progress(f"[{i + 1}/{len(todo)}] {where}")
                _run_one(result, range(seed, seed + samples), timing)
    return todo


@contextlib.contextmanager
def _exact_products():
    """Multiplies float32 as float32: on a GPU, TensorFloat-32 would keep ten bits of it."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)


def _run_one(result: Result, seeds: Iterable[int], timing: bool) -> None:
    where = (result.case, result.dtype, result.device)
    result.samples = [compare(*where, seed) for seed in seeds]
    if timing and result.samples:
        try:
            result.times = time_case(*where, result.largest().seed)
        except CaseError as error:
            result.timing_failure = str(error)


def _missing(case: Case, device: str) -> str | None:
    """Why a case does not run on a device, or None if it does."""
    if device not in case.devices:
        return f"is not for the {device}"
    for name in case.kernels:
        if op_def_registry.get(name) is None:
            _ = library.ops  # it may be one of tf_ls, whose library is loaded at first use
        if op_def_registry.get(name) is None:
            raise ValueError(f"kernels of case {case.name}: TensorFlow has no operation {name}")
        registered = kernels.get_registered_kernels_for_op(name).kernel
        if device not in {kernel.device_type for kernel in registered}:
            return f"has no kernel on the {device}: {name}"
    return None
