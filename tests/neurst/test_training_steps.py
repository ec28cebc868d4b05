"""Runs training_steps.py in an interpreter of its own: NeurST chooses Keras 2 for a process."""

import importlib.util

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
def test_training_steps(pytestconfig, tmp_path):
    tiny_task.run_test_file("training_steps.py", pytestconfig.rootpath, tmp_path, timeout=900)
