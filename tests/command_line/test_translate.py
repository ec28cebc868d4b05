"""tf-ls translate, on a SavedModel of a few operations."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sentencepiece
import tensorflow as tf

import tf_ls
from tf_ls import ops
from tf_ls.command_line.main import main


class Model(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "sentences"),
            tf.TensorSpec([], tf.string, "ending"),
        ]
    )
    def translate(self, sentences, ending):
        bad = tf.reduce_any(tf.equal(sentences, "fail"))
        with tf.control_dependencies([tf.debugging.assert_equal(bad, False, "cannot do that")]):
            return {"translations": tf.strings.join([tf.strings.upper(sentences), ending])}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("saved") / "model")
    module = Model()
    tf.saved_model.save(module, path, signatures={"translate": module.translate})
    return path


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text").write_bytes(b"one\n\nthree words here\r\ntwo words")
    return tmp_path / "text"


def test_translates(model, text, capsys):
    assert main(["translate", model, str(text), "--option", "ending=!", "--batch-size", "2"]) == 0
    output = text.with_name("text.translated")
    assert output.read_bytes() == b"ONE!\n\nTHREE WORDS HERE!\r\nTWO WORDS!"
    assert capsys.readouterr().out == f"{output}: 4 lines, 3 sentences translated\n"


def test_output(model, text, tmp_path):
    output = tmp_path / "elsewhere"
    assert main(["translate", model, str(text), "-o", str(output), "--option=ending="]) == 0
    assert output.read_bytes().startswith(b"ONE\n")


class Echo(tf.Module):
    """Cuts sentences into SentencePiece's pieces, and joins them again."""

    def __init__(self, path):
        super().__init__()
        self.model = ops.SentencePiece(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "sentences")])
    def translate(self, sentences):
        return {"translations": self.model.decode(*self.model.encode(sentences))}


def test_as_a_command_on_a_model_of_strings(text, tmp_path):
    with (tmp_path / "char.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["one two three", "here words"]),
            model_writer=file,
            model_type="char",
            vocab_size=20,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    module = Echo(file.name)
    tf.saved_model.save(module, tmp_path / "echo", signatures={"translate": module.translate})
    result = subprocess.run(
        [sys.executable, "-m", "tf_ls", "translate", tmp_path / "echo", text],
        cwd="/",  # where no source tree is found
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert text.with_name("text.translated").read_bytes() == text.read_bytes()


def test_a_failure_of_the_model_can_be_continued(model, text, capsys):
    text.write_bytes(b"long enough to come first\nfail\n")
    command = ["translate", model, str(text), "--option=ending=.", "--batch-size=1"]
    assert main(command) == 1
    assert "the model failed: " in capsys.readouterr().err
    assert main([*command, "--option=ending=?"]) == 1
    error = capsys.readouterr().err
    assert "option ending was ., now it is ?" in error
    assert "--restart" in error
    text.write_bytes(b"long enough to come first\nworks\n")
    assert main(command) == 1
    assert "source was" in capsys.readouterr().err
    assert main([*command, "--restart"]) == 0
    assert text.with_name("text.translated").read_bytes() == b"LONG ENOUGH TO COME FIRST.\nWORKS.\n"


def test_interrupted(model, text, capsys, monkeypatch):
    import tf_ls.inference.translator as translator

    def interrupt(self, sentences):
        raise KeyboardInterrupt

    command = ["translate", model, str(text), "--option=ending=."]
    with monkeypatch.context() as patch:
        patch.setattr(translator.Translator, "__call__", interrupt)
        assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert main(command) == 0


@pytest.mark.parametrize(
    ("content", "message"), [(b"ok\n\xff\n", "line 2: not UTF-8"), (None, "text is no file")]
)
def test_bad_file(model, text, capsys, content, message):
    text.write_bytes(content) if content else text.unlink()
    assert main(["translate", model, str(text), "--option=ending=."]) == 1
    assert message in capsys.readouterr().err


def test_bad_model(text, tmp_path, capsys):
    assert main(["translate", str(tmp_path), str(text)]) == 1
    assert "is no SavedModel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["translate", "model"], "required: file"),
        (["translate", "model", "file", "--batch-size=0"], "must be at least 1, got 0"),
        (["translate", "model", "file", "--batch-size=x"], "invalid"),
        (["translate", "model", "file", "--option=x"], "must be NAME=VALUE, got 'x'"),
    ],
    ids=str,
)
def test_command_line_that_makes_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"tf_ls {tf_ls.__version__}\n"
