"""Lets the tests here import tests/models/small_transformer.py, and what lies in tests."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "models"), str(TESTS)]
