"""tf-ls convert: what it prints, and its exit status."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "files"))

from small_models import assert_same, small_model

from tf_ls import files
from tf_ls.command_line.main import main


@pytest.fixture
def path(tmp_path):
    return files.write(small_model("bert"), tmp_path / "model.pb")


def test_a_model_file_in_another_format_and_precision(tmp_path, path, capsys):
    target = tmp_path / "model.hdf5"
    arguments = ["--family", "bert", "--precision", "bfloat16"]
    assert main(["convert", str(path), str(target), *arguments]) == 0
    out = capsys.readouterr().out.splitlines()
    numbers = sum(stored.count for stored in files.read(path, "bert").weights.values())
    assert out == [f"{path}: bert, {numbers:,} numbers", f"{target}: written"]
    read = files.read(target, "bert")
    assert_same(read, small_model("bert"))
    assert {stored.precision for stored in read.weights.values()} == {"bfloat16"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.pb", "x.pb"], "does not say what it has: the family must be given"),
        (["model.pb", "x", "--family", "bert"], "x: expected a name ending in .pb or .hdf5, or to"),
        (["model.pb", "x", "--family", "bert", "--to", "onnx"], "to must be one of hugging_face"),
        (["model.pb", "model.pb", "--family", "bert"], "model.pb is there already"),
        (["model.pb", "x.pb", "--family", "gpt"], "expected a length and bytes, got a varint"),
        (["none", "x.pb"], "none does not exist"),
        ([".", "x.pb"], "expected a model file (.pb, .hdf5), Hugging Face's folder"),
        (["model.pb", "x.pb", "--family", "bert", "--precision", "int4"], "precision must be one"),
        (["model.pb", "x.pb", "--family", "bert", "--model-type", "bert"], "is for a folder"),
    ],
    ids=str,
)
def test_what_does_not_work(tmp_path, path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = path.read_bytes()
    assert main(["convert", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tf-ls convert: ")
    assert message in error
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.pb"]
