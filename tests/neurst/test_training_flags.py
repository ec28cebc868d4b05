"""Flags of NeurST's trainer that it ignores on newer TensorFlow, from its own command line."""

import numpy as np
import pytest
import tiny_task

IGNORED = "Here we ignore update_cycle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flags")


@pytest.fixture(scope="module")
def corpus(folder):
    return tiny_task.write_tiny_corpus(folder)


def train(corpus, folder, model_dir, stock=False, check=True, **more):
    """Trains three steps, each with a checkpoint, and returns the log."""
    more.setdefault("dtype", "float32")
    arguments = tiny_task.train_args(
        corpus,
        folder / model_dir,
        save_checkpoint_steps=1,
        include=tiny_task.write_seed_module(folder),
        **more,
    )
    return tiny_task.run_exp(arguments, folder, stock=stock, check=check).stdout


@pytest.mark.parametrize("stock", [True, False])
def test_accumulates_clips_and_freezes(corpus, folder, stock):
    name = f"stock-{stock}"
    output = train(
        corpus,
        folder,
        name,
        stock,
        dtype="float16" if stock else "float32",  # with NeurST's default, a mirrored strategy
        update_cycle=4,
        clip_norm=0.1,
        freeze_variables="TransformerEncoder/|emb/weights",
    )
    assert IGNORED not in output
    (line,) = [x for x in output.splitlines() if "tf_ls: NeurST trains with" in x]
    for part in ("update_cycle=4", "clip_norm=0.1", "freeze_variables=TransformerEncoder/"):
        assert part in line
    steps = tiny_task.logged_steps(output)
    assert [metrics["step"] for metrics in steps] == [1, 2, 3]
    # A batch has about 100 tokens, so a step has about four times as many.
    assert all(metrics["trg_tokens_per_step"] > 250 for metrics in steps)

    first, last = (tiny_task.read_checkpoint(folder / name, step) for step in (1, 3))
    frozen = {v for v in first if "TransformerEncoder/" in v or "emb/weights" in v}
    assert len(frozen) > 10
    assert {v for v in first if np.array_equal(first[v], last[v])} == frozen


def test_expression_that_freezes_nothing_ends_training_before_it_starts(corpus, folder):
    output = train(corpus, folder, "mistaken", check=False, freeze_variables="TransfomerEncoder")
    assert "ValueError: freeze_variables='TransfomerEncoder' is found in none of" in output
    assert not tiny_task.logged_steps(output)


# There is no communication: the other worker is simulated. Its gradients are minus those of this
# one, so that their average is zero, and models stay as they are.
FAKE_HOROVOD = """
import tensorflow as tf

init = lambda: None
rank = local_rank = lambda: 0
size = lambda: 2

class Compression:
    none = fp16 = None

def allreduce(tensor, *_, **__):
    return (tensor - tensor) / 2.0 if len(tensor.shape) else tensor  # scalars are metrics
"""
FAKE_HOROVOD_KERAS = """
import types
import tensorflow as tf
from horovod.tensorflow import *

class BroadcastGlobalVariablesCallback(tf.keras.callbacks.Callback):
    def __init__(self, root, device=""):
        super().__init__()

callbacks = types.SimpleNamespace(
    BroadcastGlobalVariablesCallback=BroadcastGlobalVariablesCallback)
"""


def test_horovod_reduces_float32_gradients(corpus, folder):
    folder = folder / "with_fake_horovod"
    package = folder / "horovod" / "tensorflow"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text(FAKE_HOROVOD)
    (package / "keras.py").write_text(FAKE_HOROVOD_KERAS)
    output = train(corpus, folder, "model", distribution_strategy="horovod")
    assert len(tiny_task.logged_steps(output)) == 3
    first, last = (tiny_task.read_checkpoint(folder / "model", step) for step in (1, 3))
    for name, values in first.items():
        np.testing.assert_array_equal(values, last[name], err_msg=name)
