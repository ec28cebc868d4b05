"""What each test of accelerate() starts from."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _same_random_numbers_each_time():
    tf.random.set_seed(0)
    np.random.seed(0)


@pytest.fixture
def warnings_of_tf_ls(monkeypatch):
    """The lines that accelerate() logs as warnings, each as often as it happens."""
    from tf_ls.acceleration import replacement

    lines = []
    monkeypatch.setattr(
        replacement.logging, "warning", lambda text, *values: lines.append(text % values)
    )
    replacement._report_stock.cache_clear()
    return lines
