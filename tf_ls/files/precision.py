"""Numbers as files have them, and float32.

float16 and bfloat16 are rounded to the nearest, ties to even; int8 is as `quantization` has it.
bfloat16 is held as the upper half of float32's bits, uint16: NumPy has no such type.
"""

from __future__ import annotations

import numpy as np

from tf_ls.files.definitions import COLUMNS, ROWS
from tf_ls.files.quantization import quantize

PRECISIONS = ("float32", "float16", "bfloat16", "int8")

# What holds a number, little endian. float64 is read only: LightSeq's HDF5 files have had it.
STORED = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}

# The bits of a number's exponent, all of them set in infinities and NaNs.
_EXPONENTS = {
    "float64": np.uint64(0x7FF0000000000000),
    "float32": np.uint32(0x7F800000),
    "float16": np.uint16(0x7C00),
    "bfloat16": np.uint16(0x7F80),
}

# Numbers that are looked at at a time: they stay in a cache, and so does what is made of them.
_BLOCK = 1 << 15


def are_finite(numbers: np.ndarray, precision: str) -> bool:
    """Whether none of the numbers [n] is infinite or NaN; takes a block's memory more."""
    exponent = _EXPONENTS.get(precision)
    if exponent is None:
        return True
    bits = numbers.view(f"<u{numbers.dtype.itemsize}")
    return all(
        np.bitwise_and(bits[start : start + _BLOCK], exponent).max() != exponent
        for start in range(0, len(bits), _BLOCK)
    )


def to_float32(numbers: np.ndarray, precision: str) -> np.ndarray:
    """Returns stored numbers, but for int8, in float32; float32 as they are."""
    if precision == "bfloat16":
        return (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if numbers.dtype == np.float32 and numbers.dtype.isnative:
        return numbers
    with np.errstate(over="ignore"):  # of float64: becomes infinite, which is looked for
        return numbers.astype(np.float32)


def from_float32(numbers: np.ndarray, precision: str) -> np.ndarray:
    """Returns finite float32 as what is stored, in float32, float16 or bfloat16.

    Raises:
        ValueError: a number is too large for float16 or bfloat16.
    """
    numbers = np.asarray(numbers, np.float32)
    if precision == "bfloat16":
        bits = np.ascontiguousarray(numbers).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        stored = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    else:
        with np.errstate(over="ignore"):
            stored = numbers.astype(STORED[precision])
    if not are_finite(stored.ravel(), precision):
        raise ValueError(f"{np.abs(numbers).max():g} is too large for {precision}")
    return stored


def quantized(matrix: np.ndarray, scales: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a matrix [rows, columns] as int8, and float32 scales, one for each row or column."""
    numbers, steps, _ = quantize(matrix, outputs_are_rows=scales == ROWS)
    return numbers, steps


def dequantize(numbers: np.ndarray, steps: np.ndarray, scales: str) -> np.ndarray:
    """Undoes `quantized`, but for what rounding took; float32 [rows, columns]."""
    with np.errstate(over="ignore"):  # of scales that `quantized` does not make
        return numbers * (steps[None, :] if scales == COLUMNS else steps[:, None])
