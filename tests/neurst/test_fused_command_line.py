"""Unchanged NeurST command lines on the fused layers, beside stock ones."""

import re

import numpy as np
import pytest
import tiny_task

SEARCH_IS_FUSED = "BeamSearch runs fused, the whole search as one operation"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fused")


@pytest.fixture(scope="module")
def corpus(folder):
    return tiny_task.write_tiny_corpus(folder)


def train(corpus, folder, model_dir, stock, steps=10, **more):
    """Trains with a fixed seed, without dropout unless told; returns the log."""
    more.setdefault("dropout", 0.0)
    more.setdefault("include", tiny_task.write_seed_module(folder))
    more.setdefault("dtype", "float32")
    more.setdefault("distribution_strategy", "none")
    arguments = tiny_task.train_args(corpus, folder / model_dir, steps=steps, **more)
    return tiny_task.run_exp(arguments, folder, stock=stock).stdout


def translate(corpus, folder, model_dir, stock):
    """Returns the translations and the log."""
    output_file = folder / f"{model_dir}-{stock}.txt"
    arguments = tiny_task.predict_args(corpus, folder / model_dir, output_file, dtype="float32")
    output = tiny_task.run_exp(arguments, folder, stock=stock).stdout
    return output_file.read_text(encoding="utf-8"), output


@pytest.fixture(scope="module")
def logs(corpus, folder):
    """The logs of the same ten steps, fused and stock, each with its checkpoint."""
    validator = {
        "validator": "SeqGenerationValidator",
        "validator.params": {
            "eval_criterion": "label_smoothed_cross_entropy",
            "eval_criterion.params": {"label_smoothing": 0.1},
            "eval_metric": "bleu",
            "eval_search_method": "beam_search",
            "eval_search_method.params": {"beam_size": 2, "maximum_decode_length": 16},
            "eval_batch_size": 16,
            "eval_dataset": "ParallelTextDataset",
            "eval_dataset.params": {
                "src_file": str(corpus.source),
                "trg_file": str(corpus.target),
                "data_is_processed": True,
            },
            "eval_steps": 5,
        },
    }
    return {
        "fused": train(corpus, folder, "fused", stock=False, **validator),
        "stock": train(corpus, folder, "stock", stock=True, **validator),
    }


def test_says_what_is_fused(logs):
    assert logs["fused"].count("Transformer encoders and decoders run fused") == 1
    assert logs["fused"].count("LabelSmoothedCrossEntropy runs fused") == 1
    assert logs["fused"].count(SEARCH_IS_FUSED) == 1
    assert "run fused" not in logs["stock"]
    assert "runs fused" not in logs["stock"]


def test_losses_are_those_of_stock(logs):
    fused, stock = (tiny_task.step_losses(logs[name]) for name in ("fused", "stock"))
    assert len(fused) == 10
    np.testing.assert_allclose(fused, stock, rtol=1e-4)


def test_validation_is_that_of_stock(logs):
    def metrics(log):
        return re.findall(r"Evaluating \(NLL\) validation set: (\w+)=([\d.]+)", log)

    assert [name for name, _ in metrics(logs["stock"])] == ["NLL", "PPL"] * 2
    assert metrics(logs["fused"]) == metrics(logs["stock"])


def test_hypotheses_of_validation_are_those_of_stock(logs):
    fused, stock = (re.findall(r"Hypothesis: (.*)", logs[name]) for name in ("fused", "stock"))
    assert len(stock) == 5 * 2
    assert fused == stock


def test_checkpoints_have_the_same_names_and_shapes(logs, folder):
    fused, stock = (tiny_task.read_checkpoint(folder / name) for name in ("fused", "stock"))
    assert {k: np.shape(v) for k, v in fused.items()} == {k: np.shape(v) for k, v in stock.items()}
    for name, values in stock.items():
        np.testing.assert_allclose(fused[name], values, rtol=1e-2, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("written_by", ["fused", "stock"])
def test_checkpoint_translates_alike_under_both(logs, corpus, folder, written_by):
    fused, log = translate(corpus, folder, written_by, stock=False)
    expected, stock_log = translate(corpus, folder, written_by, stock=True)
    assert fused == expected
    assert log.count(SEARCH_IS_FUSED) == 1
    assert SEARCH_IS_FUSED not in stock_log


@pytest.mark.slow
@pytest.mark.parametrize("written_by", ["fused", "stock"])
def test_training_goes_on_from_the_other_ones_checkpoint(logs, corpus, folder, written_by):
    losses = {}
    for goes_on_as in ("fused", "stock"):
        model_dir = f"{written_by}-then-{goes_on_as}"
        (folder / model_dir).mkdir()
        for file in (folder / written_by).glob("*"):
            if file.is_file():
                (folder / model_dir / file.name).write_bytes(file.read_bytes())
        output = train(corpus, folder, model_dir, stock=goes_on_as == "stock")
        assert [metrics["step"] for metrics in tiny_task.logged_steps(output)] == list(
            range(11, 21)
        )
        losses[goes_on_as] = tiny_task.step_losses(output)
    np.testing.assert_allclose(losses["fused"], losses["stock"], rtol=1e-3)


@pytest.mark.slow
def test_trains_in_float16_and_bfloat16(corpus, folder):
    expected = tiny_task.step_losses(train(corpus, folder, "expected", stock=True, steps=5))
    half = train(corpus, folder, "half", stock=False, steps=5, dtype="float16")
    np.testing.assert_allclose(tiny_task.step_losses(half), expected, rtol=2e-2)
    arguments = tiny_task.train_args(
        corpus,
        folder / "bfloat16",
        steps=5,
        dropout=0.0,
        include=tiny_task.write_seed_module(folder),
        dtype="float32",
        distribution_strategy="none",
    )
    environment = {"TF_LS_COMPUTE_DTYPE": "bfloat16"}
    output = tiny_task.run_exp(arguments, folder, env=environment).stdout
    assert "in bfloat16" in output
    np.testing.assert_allclose(tiny_task.step_losses(output), expected, rtol=2e-2)


EXPORTED = """
import sys
import tensorflow as tf
if {fused}:
    import tf_ls
loaded = tf.saved_model.load({path!r})
assert {fused} or not any(name.startswith("tf_ls") for name in sys.modules)
graph = loaded.signatures["serving_default"].graph.as_graph_def()
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
print("operation:", any(node.op == "LSGenerate" for node in nodes))
feature = tf.constant([[1, 0, 4, {eos}], [{eos}] * 4, [2, 2, {eos}, {eos}]], tf.int64)
(hypotheses,) = loaded.signatures["serving_default"](feature=feature).values()
print("hypotheses:", hypotheses.numpy().tolist())
"""


@pytest.mark.slow
def test_saved_model_has_the_operation_and_that_of_stock_loads_without_tf_ls(logs, folder):
    hypotheses = {}
    for name in ("fused", "stock"):
        path = folder / f"saved-{name}"
        arguments = tiny_task.export_args(folder / "fused", path, dtype="float32")
        tiny_task.run_exp(arguments, folder, stock=name == "stock")
        program = EXPORTED.format(fused=name == "fused", path=str(path / "1"), eos=tiny_task.EOS_ID)
        output = tiny_task.run_python(["-c", program], folder).stdout
        assert f"operation: {name == 'fused'}" in output
        hypotheses[name] = re.search("hypotheses: .*", output).group()
    assert hypotheses["fused"] == hypotheses["stock"]
