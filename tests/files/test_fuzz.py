"""Replays what the fuzzer has found, and lets it look further."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_model_files import CORPUS, check, family_of

PATHS = sorted(CORPUS.iterdir())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_the_corpus(path, tmp_path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    check(copy, family_of(path))


def run(*arguments):
    program = Path(__file__).with_name("fuzz_model_files.py")
    return subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("form", ["pb", "hdf5"])
def test_mutations(form, tmp_path):
    result = run("--mutations", "--seconds", "1", "--format", form, "--corpus", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("mutations: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pb", "hdf5"])
def test_15_seconds_of_each_format(form, tmp_path):
    """Guided by coverage, on the Pythons that atheris is there for."""
    if importlib.util.find_spec("atheris") is None:
        pytest.fail("atheris is not installed: tools/requirements/test.txt has it")
    result = run("--seconds", "15", "--format", form, "--corpus", tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r"Done [1-9]\d* runs", result.stderr), result.stderr[-3000:]
    assert not list(tmp_path.iterdir())


def test_a_broken_reader_is_noticed(tmp_path, monkeypatch):
    """That the check can fail."""
    from small_models import small_model

    from tf_ls import files

    path = files.write(small_model("bert"), tmp_path / "x.bert.pb")
    assert check(path, "bert") is None
    monkeypatch.setattr("tf_ls.files.model._shape", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check(path, "bert")
