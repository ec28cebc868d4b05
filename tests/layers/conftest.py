"""What each test of a layer starts from; tests/test_both_keras.py runs them on both Kerases."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent.parent))

from devices import device  # noqa: F401


@pytest.fixture(autouse=True)
def _same_random_numbers_each_time():
    tf.random.set_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _float32_policy():
    yield
    tf.keras.mixed_precision.set_global_policy("float32")
