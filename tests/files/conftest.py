"""Lets the tests here import what lies beside them, and tests/models/small_transformer.py."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models")]
