"""SavedModels as functions from sentences to translations."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tf_ls
from tf_ls.export.generation_module import _stores_defaults
from tf_ls.inference import UnfitModel, load_translator
from tf_ls.inference import translator as module

SENTENCES = tf.TensorSpec([None], tf.string, "sentences")


class Shouter(tf.Module):
    """Translates to capitals, with a variable that must stay alive."""

    def __init__(self):
        super().__init__()
        self.ending = tf.Variable("!")

    @tf.function(input_signature=[SENTENCES])
    def translate(self, sentences):
        upper = tf.strings.upper(sentences, encoding="utf-8")
        return {"translations": tf.strings.join([upper, self.ending.read_value()])}


class Repeater(tf.Module):
    """Has options: how often, and numbers behind it."""

    @tf.function(
        input_signature=[
            SENTENCES,
            tf.TensorSpec([], tf.int32, "times"),
            tf.TensorSpec([None], tf.float32, "numbers"),
            tf.TensorSpec([], tf.bool, "shout"),
            tf.TensorSpec([], tf.string, "ending"),
        ]
    )
    def translate(self, sentences, times, numbers, shout, ending):
        text = tf.strings.reduce_join(tf.repeat(sentences[:, None], times, axis=1), axis=1)
        text = tf.where(shout, tf.strings.upper(text), text)
        total = tf.strings.as_string(tf.reduce_sum(numbers), precision=1)
        return {"translations": tf.strings.join([text, total, ending])}


def save(module: tf.Module, folder, **signatures) -> str:
    path = str(folder / "model")
    tf.saved_model.save(module, path, signatures=signatures or {"translate": module.translate})
    return path


@pytest.fixture(scope="module")
def shouter(tmp_path_factory) -> str:
    return save(Shouter(), tmp_path_factory.mktemp("shouter"))


@pytest.fixture(scope="module")
def repeater(tmp_path_factory) -> str:
    return save(Repeater(), tmp_path_factory.mktemp("repeater"))


FOUR = tf.constant(4, tf.int64)
OPTIONS = {"times": "2", "numbers": "1.5, 2", "shout": "false", "ending": "."}


def test_translates(shouter):
    translate = load_translator(shouter)
    assert translate(["a", "grün", ""]) == ["A!", "GRÜN!", "!"]
    assert translate([]) == []


def test_options(repeater):
    assert load_translator(repeater, OPTIONS)(["ab"]) == ["abab3.5."]
    other = {**OPTIONS, "times": "1", "numbers": "4", "shout": "True", "ending": ""}
    assert load_translator(repeater, other)(["ab"]) == ["AB4.0"]


@pytest.mark.skipif(not _stores_defaults(), reason="this TensorFlow stores no defaults")
def test_exported_defaults(tmp_path):
    class Model(tf.Module):
        @tf.function(input_signature=[SENTENCES, tf.TensorSpec([], tf.int64, "number")])
        def translate(self, sentences, number=FOUR):
            return {"translations": tf.strings.join([sentences, tf.strings.as_string(number)])}

    path = save(Model(), tmp_path)
    assert load_translator(path)(["a"]) == ["a4"]
    assert load_translator(path, {"number": "7"})(["a"]) == ["a7"]


def test_what_is_no_utf8_in_a_translation(tmp_path):
    class Model(tf.Module):
        @tf.function(input_signature=[SENTENCES])
        def translate(self, sentences):
            return {"translations": tf.strings.join([sentences, b"\xff"])}

    assert load_translator(save(Model(), tmp_path))(["a"]) == ["a\ufffd"]


def test_digest(shouter, tmp_path):
    import shutil

    digest = module.model_digest(shouter)
    copy = shutil.copytree(shouter, tmp_path / "copy")
    assert module.model_digest(copy) == digest
    variables = next(copy.glob("variables/*.data*"))
    content = bytearray(variables.read_bytes())
    content[-1] ^= 1
    variables.write_bytes(content)
    assert module.model_digest(copy) != digest
    shutil.copytree(shouter, tmp_path / "more")
    (tmp_path / "more/assets/vocabulary").touch()
    assert module.model_digest(tmp_path / "more") != digest


# Bad input ---------------------------------------------------------------------------------------


def test_no_saved_model(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", __file__):
        with pytest.raises(UnfitModel, match=r"no SavedModel: a folder with saved_model\.pb"):
            load_translator(path)


def test_broken_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(UnfitModel, match="cannot be loaded"):
        load_translator(tmp_path)


def test_no_signature(tmp_path):
    model = Shouter()
    path = save(model, tmp_path, serving_default=model.translate)
    with pytest.raises(UnfitModel, match=r"no signature 'translate'.* it has 'serving_default'"):
        load_translator(path)


@pytest.mark.parametrize(
    ("spec", "output", "message"),
    [
        (tf.TensorSpec([None], tf.string, "text"), "translations", r"takes text: string \(None,\)"),
        (tf.TensorSpec([None], tf.int64, "sentences"), "translations", r"takes sentences: int64"),
        (
            tf.TensorSpec([], tf.string, "sentences"),
            "translations",
            r"takes sentences: string \(\)",
        ),
        (SENTENCES, "text", r"returns text: string .* must have 'translations'"),
    ],
    ids=str,
)
def test_signature_that_does_not_fit(tmp_path, spec, output, message):
    class Model(tf.Module):
        @tf.function(input_signature=[spec])
        def translate(self, x):
            return {output: tf.strings.as_string(x) if x.dtype != tf.string else tf.identity(x)}

    with pytest.raises(UnfitModel, match=message):
        load_translator(save(Model(), tmp_path))


def test_unknown_option(shouter, repeater):
    with pytest.raises(UnfitModel, match="no option beam_size; its options: none"):
        load_translator(shouter, {"beam_size": "4"})
    with pytest.raises(UnfitModel, match="no option sentences; its options: ending, numbers"):
        load_translator(repeater, {**OPTIONS, "sentences": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("times", "1.5"), ("times", ""), ("times", "99999999999"), ("numbers", "a"), ("shout", "2")],
)
def test_bad_option(repeater, name, value):
    with pytest.raises(UnfitModel, match=f"option {name} of .* must be .* got '{value}'"):
        load_translator(repeater, {**OPTIONS, name: value})


def test_option_without_a_default(repeater):
    with pytest.raises(UnfitModel, match="no defaults for its options ending, numbers, shout"):
        load_translator(repeater, {"times": "2"})


def test_operations_that_are_not_there(shouter, tmp_path):
    """A model of stock operations loads without our library; another fails, and it is said why."""

    class Model(tf.Module):
        @tf.function(input_signature=[SENTENCES])
        def translate(self, sentences):
            kept = tf_ls.ops.dropout(tf.ones([1]), 0.0) > 0
            return {"translations": tf.where(kept, sentences, "")}

    fused = save(Model(), tmp_path)
    assert load_translator(fused)(["a"]) == ["a"]
    code = (
        "from tf_ls.inference import UnfitModel, load_translator\n"
        f"print(load_translator({shouter!r})(['a']))\n"
        f"try:\n    load_translator({fused!r})\n"
        "except UnfitModel as error:\n    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TF_LS_LIBRARY": "/nowhere/_tf_ls_ops.so"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    stock, error = result.stdout.splitlines()[:2]
    assert stock == "['A!']"
    assert "cannot be loaded" in error
    assert "LSDropout" in result.stdout
    assert "/nowhere/_tf_ls_ops.so does not exist" in result.stderr


def test_errors_of_the_model_come_through(tmp_path):
    class Model(tf.Module):
        @tf.function(input_signature=[SENTENCES])
        def translate(self, sentences):
            with tf.control_dependencies([tf.debugging.assert_less(tf.size(sentences), 3)]):
                return {"translations": tf.identity(sentences)}

    translate = load_translator(save(Model(), tmp_path))
    assert translate(["a", "b"]) == ["a", "b"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        translate(list(np.full(3, "x")))
