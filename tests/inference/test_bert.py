"""tf_ls.inference.Bert on model files and exports. (What it computes: test_hugging_face.py.)"""

import numpy as np
import pytest
import tensorflow as tf
from small_models import small_model

import tf_ls.inference as lsi
from tf_ls import export, files

PADDING, HIDDEN, CLASSES, WORDS = 4, 4, 3, 5
SENTENCES = [[1, 3, 0], [2], [0, 0]]
TYPES = [[0, 1, 1], [1], [0, 1]]


def bert(task="token-classification"):
    """A model of 2 layers with token types, 3 positions, a pooler and heads."""
    model = small_model("bert")
    model.settings.update({"multilg_type": 0, "task": task})
    if task == "fill-mask":
        model.settings["labels"] = ""
    # (Those of small_model differ by the same number everywhere, which a norm takes away.)
    types = np.random.default_rng(0).normal(size=(2, HIDDEN))
    model.put("src_embedding/token_type_embedding", types)
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return files.write(bert(), tmp_path_factory.mktemp("models") / "bert.pb")


@pytest.fixture(scope="module")
def model(file):
    return lsi.Bert(file, 8)


def each_alone(function):
    """What a function returns for each sentence by itself."""
    return [function([s], token_types=[t])[0] for s, t in zip(SENTENCES, TYPES)]


def test_hidden_states_have_zeros_behind_them(model):
    states = model.infer(SENTENCES, token_types=TYPES)
    assert (states.shape, states.dtype) == ((3, 3, HIDDEN), np.float32)
    for row, alone in zip(states, each_alone(model.infer)):
        np.testing.assert_allclose(row[: len(alone)], alone, atol=1e-6)
        assert (row[len(alone) :] == 0).all()


@pytest.mark.parametrize("max_batch_size", [1, 2])
def test_larger_batches_are_split(file, model, max_batch_size):
    smaller = lsi.Bert(file, max_batch_size)
    for name in ("infer", "pooled", "logits"):
        found, wanted = (getattr(m, name)(SENTENCES, token_types=TYPES) for m in (smaller, model))
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=name)


def test_arrays_with_padding(model):
    ids = np.array([[1, 3, 0, PADDING], [2, PADDING, PADDING, PADDING]])
    types = np.array([[0, 1, 1, 0], [1, 0, 0, 0]])
    states = model.infer(ids, types)
    assert states.shape == (2, 4, HIDDEN)
    np.testing.assert_array_equal(states[:, :3], model.infer(SENTENCES[:2], TYPES[:2]))
    assert (states[:, 3] == 0).all()


def test_types_are_zero_unless_given(model):
    zeros = [[0] * len(sentence) for sentence in SENTENCES]
    np.testing.assert_array_equal(model.infer(SENTENCES), model.infer(SENTENCES, zeros))
    assert np.abs(model.infer(SENTENCES) - model.infer(SENTENCES, TYPES)).max() > 0.1


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("text-classification", (3, CLASSES)),
        ("token-classification", (3, 3, CLASSES)),
        ("fill-mask", (3, 3, WORDS)),
    ],
)
def test_tasks(tmp_path, task, shape):
    model = lsi.Bert(files.write(bert(task), tmp_path / "bert.hdf5"), 8)
    assert model.task == task
    assert model.labels == ([] if task == "fill-mask" else ["O", "B-PER", "I-PER"])
    logits = model.logits(SENTENCES)
    assert logits.shape == shape
    if len(shape) == 3:
        assert (logits[1, 1:] == 0).all()


def test_what_lightseq_writes(tmp_path):
    given = small_model("bert", own=False)
    given.settings["multilg_type"] = 0
    model = lsi.Bert(files.write(given, tmp_path / "bert.pb"), 8)
    assert (model.task, model.labels) == ("", [])
    assert model.infer(SENTENCES).shape == (3, 3, HIDDEN)
    for name in ("pooled", "logits"):
        with pytest.raises(ValueError, match=f"this model has no {name}"):
            getattr(model, name)(SENTENCES)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8", "int8_bfloat16"])
@pytest.mark.parametrize("task", ["text-classification", "fill-mask"])
def test_precisions(tmp_path, precision, task):
    path = files.write(bert(task), tmp_path / "bert.pb")
    wanted, found = (lsi.Bert(path, 8, precision=p) for p in ("float32", precision))
    for name in ("infer", "pooled", "logits"):
        a, b = (getattr(m, name)(SENTENCES, TYPES) for m in (found, wanted))
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=0.1, err_msg=name)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_exports(file, tmp_path, precision):
    export.save(file, tmp_path / "exported", family="bert", precision=precision)
    model = lsi.Bert(tmp_path / "exported", 8)
    wanted = lsi.Bert(file, 8, precision=precision)
    for name in ("infer", "pooled", "logits"):
        found, same = (getattr(m, name)(SENTENCES, TYPES) for m in (model, wanted))
        np.testing.assert_array_equal(found, same)
    signatures = tf.saved_model.load(str(tmp_path / "exported")).signatures
    ids = tf.constant([[1, 3, 0], [2, PADDING, PADDING]], tf.int64)
    np.testing.assert_array_equal(
        signatures["serving_default"](ids=ids)["logits"], wanted.logits(SENTENCES[:2])
    )
    properties = signatures["properties"]()
    assert {k: int(properties[k]) for k in ("vocabulary", "hidden_size", "positions")} == {
        "vocabulary": WORDS,
        "hidden_size": HIDDEN,
        "positions": 3,
    }
    assert ("matrices" in properties) == (precision == "int8")


def test_what_signatures_refuse(file, tmp_path):
    export.save(file, tmp_path / "exported", family="bert")
    model = tf.saved_model.load(str(tmp_path / "exported"))

    def refused(match, name, ids):
        ids = tf.constant(ids, tf.int64)
        with pytest.raises(tf.errors.InvalidArgumentError, match=match):
            model.signatures[name](ids=ids, token_types=tf.zeros_like(ids))

    refused("padding .4. behind their tokens only", "hidden_states", [[1, PADDING, 2]])
    refused("each sentence must have a token", "pooled", [[1], [PADDING]])
    refused("5", "hidden_states", [[5]])


def test_nothing(model):
    assert model.infer([]).shape == (0, 0, HIDDEN)
    assert model.pooled([]).shape == (0, HIDDEN)


@pytest.mark.parametrize(
    ("sentences", "types", "message"),
    [
        ([[1], [1, 5]], None, "sentence 1 has 5 at 1, which is not in the vocabulary of 5"),
        ([[1, PADDING, 2]], None, "sentence 0 has the padding, 4, in front of a token"),
        ([[1], []], None, "sentence 1 has no tokens"),
        ([[1.0]], None, r"sentence 0 must be a list of integers, got \[1.0\]"),
        ([[1, 2, 3, 0]], None, "sentence 0 must have at most 3 tokens, as many positions"),
        ([[1, 2]], [[1]], r"as many as ids, of lengths \[2\]; got \[1\]"),
        ([[1, 2]], [[1, 2]], "token_types 0 has 2 at 1"),
    ],
    ids=str,
)
def test_bad_input(model, sentences, types, message):
    with pytest.raises(ValueError, match=message):
        model.infer(sentences, types)


def test_models_of_another_kind(file, tmp_path):
    export.save(file, tmp_path / "exported", family="bert")
    with pytest.raises(lsi.UnfitModel, match="encodes: a model that continues prompts was exp"):
        lsi.Gpt(tmp_path / "exported", 8)
    with pytest.raises(ValueError, match="the family must be given"):
        export.save(file, tmp_path / "other")
    options = {"family": "bert", "precision": "int8", "calibration": [[1]]}
    with pytest.raises(ValueError, match="calibration is for models that translate"):
        export.save(file, tmp_path / "other", **options)
