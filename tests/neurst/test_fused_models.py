"""Runs fused_*.py in interpreters of their own: NeurST chooses Keras 2 for a whole process."""

import importlib.util
import sys
from pathlib import Path

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
@pytest.mark.parametrize("script", ["fused_models.py", "fused_criterions.py"])
def test_fused(script, pytestconfig, tmp_path):
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    options += [f"--rootdir={pytestconfig.rootpath}", f"--confcutdir={Path(__file__).parent}"]
    arguments = ["-m", "pytest", *options, "-o", "addopts=", Path(__file__).parent / script]
    output = tiny_task.run_python(arguments, tmp_path, timeout=900).stdout
    print(output, file=sys.stderr)
