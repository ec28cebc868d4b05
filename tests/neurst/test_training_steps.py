"""Runs training_steps.py in an interpreter of its own: NeurST chooses Keras 2 for a process."""

import importlib.util
import sys
from pathlib import Path

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
def test_training_steps(pytestconfig, tmp_path):
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    options += [f"--rootdir={pytestconfig.rootpath}", f"--confcutdir={Path(__file__).parent}"]
    script = Path(__file__).parent / "training_steps.py"
    arguments = ["-m", "pytest", *options, "-o", "addopts=", script]
    output = tiny_task.run_python(arguments, tmp_path, timeout=900).stdout
    print(output, file=sys.stderr)
