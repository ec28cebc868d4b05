"""Runs what needs NeurST fused in interpreters of their own: it chooses Keras 2 for all of one."""

import importlib.util
import os

import pytest
import tiny_task


@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
@pytest.mark.parametrize(
    "script",
    [
        "fused_models.py",
        "fused_searches.py",
        "fused_criterions.py",
        "fused_trainer.py",
        "scoring_of_models.py",
    ],
)
def test_fused(script, pytestconfig, tmp_path):
    tiny_task.run_test_file(script, pytestconfig.rootpath, tmp_path, timeout=900)


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("neurst") is None, reason="NeurST is not installed")
def test_searches_on_a_gpu(pytestconfig, tmp_path):
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        pytest.fail("TensorFlow sees no GPU")
    visible = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}
    tiny_task.run_test_file(
        "fused_searches.py", pytestconfig.rootpath, tmp_path, timeout=900, env=visible
    )
