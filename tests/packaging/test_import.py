"""Importing tf_ls is quick, registers the operations, and breaks nothing if they do not fit."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import tf_ls
from tf_ls import library as library_module


def run_python(code: str, folder: str | Path = "/", **environment: str) -> str:
    """What `code` prints in a fresh interpreter, to stdout and stderr."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout.strip()


def test_import_brings_in_neither_tensorflow_nor_numpy():
    code = "import sys, tf_ls; print(sorted({'tensorflow', 'numpy', 'keras'} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_interpreter_start_imports_nothing_of_this():
    code = """
        import sys
        imported = {name.partition(".")[0] for name in sys.modules}
        print(imported & {"tensorflow", "numpy", "keras", "absl", "tf_ls"})
    """
    assert run_python(code) == "set()"


# The operations are registered ------------------------------------------------------------------

IMPORTS = {
    "tf_ls first": "import tf_ls\nimport tensorflow as tf",
    "tensorflow first": "import tensorflow as tf\nimport tf_ls",
    "in a function that is traced": """
import tensorflow as tf

@tf.function
def double(x):
    import tf_ls
    return 2 * x

assert double(tf.constant(2)).numpy() == 4
""",
}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> str:
    """Drops numbers, or none."""
    import tensorflow as tf

    from tf_ls import ops

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def drop(self, x):
            return {"y": ops.dropout(x, 0.5), "x": ops.dropout(x, 0.0)}

    path = str(tmp_path_factory.mktemp("saved") / "model")
    model = Model()
    tf.saved_model.save(model, path, signatures={"serving_default": model.drop})
    return path


@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS)
def test_a_saved_model_loads(saved_model, imports):
    code = f"""
import sys
{imports}
assert "tf_ls.ops" not in sys.modules  # that would take its time
loaded = tf.saved_model.load({saved_model!r})
outputs = loaded.signatures["serving_default"](tf.ones([100, 3]))
print(outputs["x"].numpy().sum(), sorted(set(outputs["y"].numpy().ravel().tolist())))
"""
    assert run_python(code).splitlines()[-1] == "300.0 [0.0, 2.0]"


def test_a_saved_model_does_not_load_without_tf_ls(saved_model):
    code = f"""
        import tensorflow as tf
        try:
            tf.saved_model.load({saved_model!r})
        except Exception as error:
            print(error)
    """
    assert "LSDropout" in run_python(code)


# A TensorFlow that is imported at once, and says what is loaded into it.
STUB = """
import time
__version__ = "2.99.0"
time.sleep(PAUSE)
loaded = []

class errors:
    class OpError(Exception):
        pass

def load_op_library(path):
    if path.endswith("does_not_load"):
        raise errors.OpError("undefined symbol")
    loaded.append(path)
    return object()
"""


@pytest.fixture
def stub(tmp_path) -> Path:
    """A folder with a TensorFlow that is none, and a library for it."""
    (tmp_path / "tensorflow.py").write_text(STUB.replace("PAUSE", "0"))
    (tmp_path / "library").touch()
    return tmp_path


def run_with_stub(code: str, folder: Path, library: str = "library") -> str:
    return run_python(code, folder, TF_LS_LIBRARY=str(folder / library))


@pytest.mark.parametrize(
    "imports",
    [
        "import tf_ls, tensorflow",
        "import tensorflow, tf_ls",
        "import tf_ls, tensorflow, importlib; importlib.reload(tf_ls)",
        "import tf_ls.library; tf_ls.library.library.load(); import tensorflow",
        "import tf_ls, importlib.util; importlib.util.find_spec('tensorflow'); import tensorflow",
    ],
)
def test_registers_once(stub, imports):
    assert run_with_stub(f"{imports}; print(len(tensorflow.loaded))", stub) == "1"


@pytest.mark.parametrize("imports", ["tf_ls, tensorflow", "tensorflow, tf_ls"])
def test_reload_of_tensorflow(stub, imports):
    code = f"""
        import {imports}, importlib
        assert len(tensorflow.loaded) == 1
        importlib.reload(tensorflow)  # where the library stays loaded
        print(tensorflow.loaded)
    """
    assert run_with_stub(code, stub) == "[]"


def test_a_tensorflow_that_fails_can_be_imported_again(stub):
    (stub / "tensorflow.py").write_text("raise ImportError('not now')\n")
    code = f"""
        import tf_ls
        try:
            import tensorflow
        except ImportError as error:
            print(error)
        open("tensorflow.py", "w").write({STUB.replace("PAUSE", "0")!r})
        import importlib
        importlib.invalidate_caches()
        import tensorflow
        print(len(tensorflow.loaded))
    """
    assert run_with_stub(code, stub).split("\n") == ["not now", "1"]


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [
        ("", "import tf_ls"),
        ("import tf_ls", "from tf_ls.library import library; library.load()"),
        # As tf_ls.ops does, a part imports TensorFlow; its lock must be in nobody's way.
        ("import tf_ls; tf_ls.__path__.append('.')", "import tf_ls.part"),
    ],
)
def test_while_another_thread_imports_tensorflow(stub, before, meanwhile):
    (stub / "tensorflow.py").write_text(STUB.replace("PAUSE", "0.3"))
    (stub / "part.py").write_text("import tensorflow")
    code = f"""
        import sys, threading, time
        {before}
        thread = threading.Thread(target=__import__, args=("tensorflow",))
        thread.start()
        while "tensorflow" not in sys.modules:
            time.sleep(0.001)
        {meanwhile}
        import tensorflow
        print(len(tensorflow.loaded))
        thread.join()
    """
    assert run_with_stub(code, stub) == "1"


def test_from_within_the_import_of_tensorflow(stub):
    (stub / "tensorflow.py").write_text("import tf_ls\n" + STUB.replace("PAUSE", "0"))
    code = """
        import tensorflow, tf_ls.library
        tf_ls.library.library.load()  # as the first operation does
        print(len(tensorflow.loaded))
    """
    assert run_with_stub(code, stub) == "1"


@pytest.mark.parametrize("imports", ["tf_ls, tensorflow", "tensorflow, tf_ls"])
@pytest.mark.parametrize(
    ("library", "message"),
    [("nowhere", "nowhere does not exist"), ("does_not_load", "says: undefined symbol")],
)
def test_a_library_that_does_not_fit_breaks_no_import(stub, imports, library, message):
    (stub / "does_not_load").touch()
    code = f"""
        import {imports}, importlib
        importlib.reload(tensorflow)
        importlib.reload(tf_ls)
        print("imported")
        from tf_ls.library import library
        try:
            library.load()
        except ImportError as error:
            print("error:", error)
    """
    warning, imported, error = run_with_stub(code, stub, library).splitlines()
    assert "tf_ls: its operations are not available" in warning
    assert message in warning
    assert imported == "imported"
    assert message in error


@pytest.mark.parametrize(
    ("tensorflow", "output"), [("None", ""), ("types.ModuleType('tensorflow')", "AttributeError")]
)
def test_what_stands_for_tensorflow_elsewhere(stub, tensorflow, output):
    """Where it must not be imported, or is not needed: as for tools that write documentation."""
    code = f"import sys, types; sys.modules['tensorflow'] = {tensorflow}; import tf_ls"
    assert output in run_with_stub(code, stub)
    assert bool(output) == bool(run_with_stub(code, stub))


# A library that does not fit -------------------------------------------------------------------


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
