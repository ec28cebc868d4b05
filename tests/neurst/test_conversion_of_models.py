"""Runs conversion_of_models.py in an interpreter of its own: NeurST chooses a process' Keras."""

import importlib.util

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
def test_conversion_of_models(pytestconfig, tmp_path):
    tiny_task.run_test_file("conversion_of_models.py", pytestconfig.rootpath, tmp_path, timeout=600)
