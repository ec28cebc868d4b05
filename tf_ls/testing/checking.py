"""Checking one case in a test."""

from __future__ import annotations

from collections.abc import Sequence

from tf_ls.testing import report
from tf_ls.testing.case import Case
from tf_ls.testing.cases import BUILT_IN, choose
from tf_ls.testing.runner import SAMPLES, Result, run


def check(
    case: Case | str,
    *,
    dtypes: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Result]:
    """Compares an operation with its reference, without timing it.

    Args:
        case: a case, or the name of a built-in one.
        dtypes, devices, samples, seed: as for `run`.

    Returns:
        A Result for each dtype and device.

    Raises:
        AssertionError: if anything differs; it says what, on which shapes, and the seed.
        ValueError: if there is no such built-in case, or nothing to run.
    """
    if isinstance(case, str):
        (case,) = choose(BUILT_IN, [case])
    results = run([case], dtypes=dtypes, devices=devices, samples=samples, seed=seed)
    if not any(result.samples for result in results):
        reasons = report.skipped(results) or f"{case.name} has dtypes {', '.join(case.dtypes)}"
        raise ValueError(f"there is nothing to run: {reasons}")
    if wrong := report.failures(results):
        raise AssertionError(wrong)
    return results
