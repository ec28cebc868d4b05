"""A fixture that runs a folder's tests on the CPU, and marked `gpu` once more on the GPU.

A folder's conftest.py imports it; see docs/gpu.md.
"""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(
    autouse=True, scope="module", params=["CPU", pytest.param("GPU", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest):
    if request.param == "GPU" and not tf.config.list_physical_devices("GPU"):
        pytest.fail("TensorFlow sees no GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)  # products as exact as the CPU's
    with tf.device(f"/{request.param}:0"):
        yield request.param
