"""Runs export_of_language_models.py in an interpreter of its own: NeurST chooses Keras 2."""

import importlib.util

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
def test_export_of_language_models(pytestconfig, tmp_path):
    tiny_task.run_test_file(
        "export_of_language_models.py", pytestconfig.rootpath, tmp_path, timeout=600
    )
