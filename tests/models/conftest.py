"""Runs the tests here on each device."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from devices import device  # noqa: F401
