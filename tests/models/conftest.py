"""Lets the tests here import reference.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
