"""Runs what needs NeurST fused in interpreters of their own: it chooses Keras 2 for all of one."""

import importlib.util

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
@pytest.mark.parametrize(
    "script",
    ["fused_models.py", "fused_criterions.py", "fused_trainer.py", "scoring_of_models.py"],
)
def test_fused(script, pytestconfig, tmp_path):
    tiny_task.run_test_file(script, pytestconfig.rootpath, tmp_path, timeout=900)
