"""Runs this folder a second time on Keras 2, where TensorFlow takes Keras 3 by itself."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tf_ls.layers.keras_version import KERAS_3


@pytest.mark.skipif(not KERAS_3, reason="this run has Keras 2")
@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="needs tf_keras")
def test_layers_on_keras_2(pytestconfig):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--import-mode=importlib", f"--rootdir={pytestconfig.rootpath}"]
    folder = Path(__file__).parent  # which `python -m` puts first, instead of the source tree
    result = subprocess.run(
        [*command, str(folder)],
        cwd=folder,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
