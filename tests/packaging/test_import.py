"""Importing tf_ls is quick, and a library that does not fit is reported as that."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import tf_ls
from tf_ls import library as library_module


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_brings_in_neither_tensorflow_nor_numpy():
    code = "import sys, tf_ls; print(sorted({'tensorflow', 'numpy', 'keras'} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_interpreter_start_imports_no_tensorflow():
    code = "import sys; print(sorted({'tensorflow', 'numpy', 'keras'} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_lazy_modules_are_listed():
    assert {"inference", "layers", "models", "neurst", "ops", "optimizers"} <= set(dir(tf_ls))


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tf_ls.nonsense  # noqa: B018


@pytest.fixture
def built_for(monkeypatch):
    """Pretends that the installed library was built for another TensorFlow."""

    def pretend(version: str) -> None:
        info = types.ModuleType("tf_ls._build_info")
        info.TENSORFLOW_VERSION = version
        info.TENSORFLOW_DISTRIBUTION = "tensorflow-cpu"
        monkeypatch.setitem(sys.modules, "tf_ls._build_info", info)
        monkeypatch.setattr(tf_ls, "_build_info", info, raising=False)
        monkeypatch.delenv("TF_LS_LIBRARY", raising=False)

    return pretend


def test_library_for_another_tensorflow(built_for):
    built_for("2.3.1")
    with pytest.raises(ImportError) as error:
        _ = library_module.Library().ops
    message = str(error.value)
    assert "built for TensorFlow 2.3 (2.3.1)" in message
    assert "pip install --force-reinstall --no-deps ." in message
    assert "pip install 'tensorflow-cpu==2.3.*'" in message


def test_library_missing(built_for, tmp_path, monkeypatch):
    import tensorflow as tf

    built_for(tf.__version__)
    monkeypatch.setattr(library_module, "_PACKAGE", tmp_path)
    with pytest.raises(ImportError, match=r"does not exist.*pip install \."):
        _ = library_module.Library().ops


def test_library_that_does_not_load(built_for, tmp_path, monkeypatch):
    import tensorflow as tf

    built_for(tf.__version__)
    (tmp_path / "_tf_ls_ops.so").write_bytes(b"not a library")
    monkeypatch.setattr(library_module, "_PACKAGE", tmp_path)
    with pytest.raises(
        ImportError, match=r"cannot load .* built for TensorFlow .* TensorFlow says"
    ):
        _ = library_module.Library().ops
