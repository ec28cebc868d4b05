"""LSAdam as NeurST picks it up: in optimizers.py, which is run here, and from the command line."""

import importlib.util

import numpy as np
import pytest
import tiny_task

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neurst") is None, reason="NeurST is not installed"
)

# Puts Keras' own optimizer back, and nothing else, into NeurST that has picked tf_ls up.
STOCK_OPTIMIZER = """
import tensorflow as tf
from neurst.utils.registry import REGISTRIES

for name in ("adam", "Adam"):
    REGISTRIES["tf"]["optimizer"][name] = tf.keras.optimizers.legacy.Adam
"""


def test_optimizers(pytestconfig, tmp_path):
    tiny_task.run_test_file("optimizers.py", pytestconfig.rootpath, tmp_path)


def train(folder, optimizer, **more):
    """The log of twenty steps on fused layers."""
    seed = tiny_task.write_seed_module(folder)
    code = f"import {seed}\n" + (STOCK_OPTIMIZER if optimizer == "stock" else "")
    (folder / f"{optimizer}_optimizer.py").write_text(code, encoding="utf-8")
    arguments = tiny_task.train_args(
        tiny_task.write_tiny_corpus(folder),
        folder / optimizer,
        steps=20,
        dropout=0.0,
        include=f"{optimizer}_optimizer",
        **more,
    )
    return tiny_task.run_exp(arguments, folder).stdout


@pytest.mark.parametrize(
    ("dtype", "strategy", "tolerance"),
    [
        ("float32", "none", 1e-5),
        # A bit in a variable is another rounding in the next step.
        pytest.param("float16", "mirrored", 1e-3, marks=pytest.mark.slow),
    ],
)
def test_losses_are_those_of_the_stock_optimizer(tmp_path, dtype, strategy, tolerance):
    logs = {
        name: train(tmp_path, name, dtype=dtype, distribution_strategy=strategy)
        for name in ("fused", "stock")
    }
    assert "tf_ls.neurst.optimizers.Adam" in logs["fused"]
    assert "tf_ls.neurst.optimizers.Adam" not in logs["stock"]
    fused, stock = (tiny_task.step_losses(logs[name]) for name in ("fused", "stock"))
    assert len(fused) == 20
    np.testing.assert_allclose(fused, stock, rtol=tolerance)
