"""What is printed of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tf_ls.testing.runner import Result
from tf_ls.testing.sample import Sample

_HEAD = (
    *("operation", "dtype", "device", "inputs", "smallest", "largest"),
    *("forward error", "gradient error", "timed", "forward ms", "+ backward ms"),
    *("x stock", "+ backward x stock", ""),
)

EXPLANATION = """\
Inputs: how many were drawn; the shapes of the first tensor of the smallest, of the largest, and of
that which was timed. Errors: ||a - b|| / ||b|| against the float64 reference, the worst of all
inputs and of all outputs or gradients. Times: medians of calls of a tf.function; x stock: how many
times as long stock TensorFlow operations take that compute the same in the same dtype, in a
tf.function, on the same device."""


def table(results: Sequence[Result]) -> str:
    """A Markdown table with a line for each case, dtype and device."""
    rows = [_HEAD, *(_row(result) for result in results if result.skipped is None)]
    used = [i for i, cells in enumerate(zip(*rows)) if i < 3 or any(cells[1:])]
    rows = [[row[i] for i in used] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*rows)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    samples = sorted(result.samples, key=lambda sample: sample.size)
    times = ("",) * 5
    if result.times is not None:
        t = result.times
        times = (
            *(t.shape, _milliseconds(t.forward), _milliseconds(t.both)),
            *(_ratio(t.stock_forward, t.forward), _ratio(t.stock_both, t.both)),
        )
    return (
        *(result.case.name, result.dtype, result.device, str(len(samples))),
        *((samples[0].shape, samples[-1].shape) if samples else ("", "")),
        _worst([sample.forward_error for sample in samples]),
        _worst([sample.gradient_error for sample in samples]),
        *times,
        "" if result.passed else "FAILED",
    )


def _worst(errors: Iterable[float | None]) -> str:
    known = [error for error in errors if error is not None]
    if not known:
        return ""
    return "nan" if any(error != error for error in known) else f"{max(known):.1e}"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3g}"


def _ratio(stock: float | None, ours: float | None) -> str:
    return "" if stock is None or ours is None else f"{stock / ours:.2f}"


def failures(results: Iterable[Result], command: str | None = None) -> str:
    """What is wrong, on which inputs, and what shows it again; nothing if all is right.

    Args:
        command: the command line that ran, less what chooses inputs; None if it was no command.
    """
    parts = []
    for result in results:
        parts += [_failure(result, sample, command) for sample in result.failed]
        if result.timing_failure is not None:
            parts.append(f"FAILED {_where(result)}, while timed\n    {result.timing_failure}")
    return "\n".join(parts)


def skipped(results: Iterable[Result]) -> str:
    """A line for each case that did not run on a device."""
    lines = (f"{r.case.name} {r.skipped}" for r in results if r.skipped is not None)
    return "\n".join(dict.fromkeys(lines))


def _where(result: Result) -> str:
    return f"{result.case.name}, {result.dtype}, {result.device}"


def _failure(result: Result, sample: Sample, command: str | None) -> str:
    lines = [f"FAILED {_where(result)}, seed {sample.seed}", *sample.failures]
    if sample.inputs:
        lines.append(f"inputs: {sample.inputs}")
    if command is not None:
        lines.append(
            f"again: {command} --operations {result.case.name} --dtypes {result.dtype}"
            f" --devices {result.device} --samples 1 --seed {sample.seed} --no-timing"
        )
    return "\n    ".join(lines)
