"""Runs *_against_neurst.py in interpreters of their own.

NeurST needs Keras 2, which must be chosen before TensorFlow is imported, and here its own layers.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
@pytest.mark.parametrize("tests", ["layers_against_neurst.py", "search_against_neurst.py"])
def test_against_neurst(tests, pytestconfig):
    environment = {**os.environ, "TF_LS_DISABLE": "1"}
    if importlib.util.find_spec("tf_keras") is not None:
        environment["TF_USE_LEGACY_KERAS"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--import-mode=importlib", f"--rootdir={pytestconfig.rootpath}"]
    folder = Path(__file__).parent  # which `python -m` puts first, instead of the source tree
    result = subprocess.run(
        [*command, tests],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
