"""Lets the tests here import small_transformer.py, and runs them on each device."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from devices import device  # noqa: E402, F401
