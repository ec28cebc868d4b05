"""How far numbers are from their reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# Largest relative errors, by the dtype that an operation works in.
TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}


def relative_error(actual: Any, expected: Any) -> float:
    """Returns ||actual - expected|| / ||expected||, the norm itself where expected is zero.

    Raises:
        AssertionError: if the shapes differ.
    """
    actual, expected = (np.asarray(tf.cast(a, tf.float64)) for a in (actual, expected))
    if actual.shape != expected.shape:
        raise AssertionError(f"shape {list(actual.shape)}, expected {list(expected.shape)}")
    error, norm = np.linalg.norm(actual - expected), np.linalg.norm(expected)
    return float(error / norm) if norm > 0 else float(error)


def assert_close(actual: Any, expected: Any, dtype: str, what: str = "output") -> None:
    """Raises AssertionError unless the relative error is within the dtype's tolerance.

    So nothing may be NaN.
    """
    error = relative_error(actual, expected)
    if not error <= TOLERANCES[dtype]:
        raise AssertionError(f"{what}: relative error {error:.2g} in {dtype}")
