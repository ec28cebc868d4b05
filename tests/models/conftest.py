"""Lets the tests here import reference.py, and runs them on each device."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from devices import device  # noqa: F401
