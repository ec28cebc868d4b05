"""Lets the tests here import training, and undoes what they set in Keras."""

import sys
from pathlib import Path

import pytest
import tensorflow as tf

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from devices import device  # noqa: E402, F401


@pytest.fixture(autouse=True)
def _float32_policy():
    tf.keras.utils.set_random_seed(0)
    yield
    tf.keras.mixed_precision.set_global_policy("float32")
