"""Lets the tests here import what lies beside them and in tests/files."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "hugging_face"), str(HERE.parent / "files")]

# Transformers would import TensorFlow for models that nobody asks it for.
os.environ.setdefault("USE_TF", "0")
