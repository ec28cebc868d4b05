"""Stock NeurST through its own command line on the TensorFlow that is installed."""

import pytest
import tiny_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def corpus(folder):
    return tiny_task.write_tiny_corpus(folder)


@pytest.fixture(scope="module")
def model(folder, corpus):
    """The folder of a model trained for three steps in float32, with NeurST's mirrored strategy."""
    model_dir = folder / "float32"
    arguments = tiny_task.train_args(corpus, model_dir, dtype="float32")
    losses = tiny_task.step_losses(tiny_task.run_exp(arguments, folder, stock=True).stdout)
    assert len(losses) == 3
    assert all(1.0 < loss < 5.0 for loss in losses)
    return model_dir


def test_trains_in_float16_as_by_default(folder, corpus):
    output = tiny_task.run_exp(
        tiny_task.train_args(corpus, folder / "float16"), folder, stock=True
    ).stdout
    assert "Using distribution strategy: <tensorflow.python.distribute.mirrored_strategy" in output
    losses = tiny_task.step_losses(output)
    assert len(losses) == 3
    assert all(1.0 < loss < 5.0 for loss in losses)


@pytest.fixture(scope="module")
def hypotheses(folder, corpus, model):
    """The corpus as the model translates it."""
    path = folder / "hypotheses.txt"
    arguments = tiny_task.predict_args(corpus, model, path, dtype="float32")
    output = tiny_task.run_exp(arguments, folder, stock=True).stdout
    assert "All variables matched with checkpoint" in output
    assert "sacre_bleu=" in output
    return path.read_text(encoding="utf-8").splitlines()


def test_predicts(hypotheses):
    assert len(hypotheses) == 64


@pytest.mark.slow
def test_goes_on_from_a_checkpoint_and_averages(folder, corpus, model):
    # NeurST reads the step from the name of the checkpoint, and wants two digits there.
    arguments = tiny_task.train_args(
        corpus, folder / "going_on", dtype="float32", steps=10, save_checkpoint_steps=5
    )
    tiny_task.run_exp(arguments, folder, stock=True)
    output = tiny_task.run_exp(arguments, folder, stock=True).stdout
    assert [metrics["step"] for metrics in tiny_task.logged_steps(output)] == list(range(11, 21))
    averaged = folder / "averaged"
    arguments = ["--checkpoints", str(folder / "going_on"), "--output_path", str(averaged)]
    tiny_task.run_python(["-m", "neurst.cli.avg_checkpoint", *arguments], folder, stock=True)
    output = tiny_task.run_exp(
        tiny_task.predict_args(corpus, averaged, folder / "averaged.txt", dtype="float32"),
        folder,
        stock=True,
    ).stdout
    assert "All variables matched with checkpoint" in output


@pytest.mark.slow
def test_exports_what_it_predicts(folder, corpus, model, hypotheses):
    arguments = tiny_task.export_args(model, folder / "saved", dtype="float32")
    tiny_task.run_exp(arguments, folder, stock=True)
    (folder / "use_saved_model.py").write_text(USE_SAVED_MODEL, encoding="utf-8")
    arguments = [folder / "use_saved_model.py", folder / "saved" / "1", *corpus, tiny_task.EOS_ID]
    output = tiny_task.run_python(arguments, folder, stock=True).stdout
    translations = [x[2:] for x in output.splitlines() if x.startswith("> ")]
    assert translations == hypotheses[: len(translations)]
    assert len(translations) == 16


# Translates the first sentences of the corpus with a SavedModel alone, without NeurST.
USE_SAVED_MODEL = """
import sys
from pathlib import Path
import tensorflow as tf

model, source, _, *vocabularies, eos = sys.argv[1:]
source_words, target_words = (Path(v).read_text().split() for v in vocabularies)
target_words += ["<UNK>", "<SEQ_BEG>"]
sentences = [line.split() for line in Path(source).read_text().splitlines()[:16]]
width = max(map(len, sentences)) + 1
ids = [[source_words.index(w) for w in s] + [int(eos)] * (width - len(s)) for s in sentences]
loaded = tf.saved_model.load(model)
(output,) = loaded.signatures["serving_default"](feature=tf.constant(ids, tf.int64)).values()
for row in output.numpy().tolist():
    row = row[: row.index(int(eos))] if int(eos) in row else row
    words = [target_words[i] for i in row]
    print("> " + " ".join(words[words[:1] == ["<SEQ_BEG>"] :]))  # NeurST drops it too
"""
