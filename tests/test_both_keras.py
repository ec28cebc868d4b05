"""Runs what is tested on both Kerases once more on Keras 2, where TensorFlow takes Keras 3."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


def is_keras_3() -> bool:
    from tf_ls.keras_version import KERAS_3

    return KERAS_3


@pytest.mark.parametrize("folder", ["layers", "models", "optimizers"])
@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="needs tf_keras")
def test_on_keras_2(folder, pytestconfig):
    if not is_keras_3():
        pytest.skip("this run has Keras 2")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--import-mode=importlib", f"--rootdir={pytestconfig.rootpath}"]
    path = Path(__file__).parent / folder  # which `python -m` puts first, not the source tree
    result = subprocess.run(
        [*command, str(path)],
        cwd=path,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
