"""NeurST finds tf_ls: the hook at interpreter start, and what happens when NeurST is imported."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tiny_task

PTH_LINE = tiny_task.PTH_FILE.read_text(encoding="utf-8")

# Stands for the parts of tf_ls that import TensorFlow, and writes down in which order they are
# called.
STUBS = """
import sys, types
import tf_ls.neurst

calls = []

def stub(name, **functions):
    module = types.ModuleType(name)
    vars(module).update(functions)
    sys.modules[name] = module
    return module

class Library:
    def load_or_warn(self):
        calls.append("load")
        return True

stub("tf_ls.neurst.compat", mend_tensorflow=lambda: calls.append("mend_tensorflow"),
     mend_neurst=lambda: calls.append("mend_neurst"))
stub("tf_ls.library", library=Library())
stub("tf_ls.neurst.fuse", install=lambda: calls.append("fuse"))
"""


@pytest.fixture
def neurst_stub(tmp_path: Path) -> Path:
    """A folder with a package neurst that says when it is executed."""
    package = tmp_path / "neurst"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import sys\nsys.modules['__main__'].calls.append('neurst')\n"
    )
    (package / "cli" / "__init__.py").write_text("")
    (package / "cli" / "run_exp.py").write_text("print('ran as', __name__)\n")
    return tmp_path


def run(code: str, folder: Path, **env: str) -> str:
    """Output of `code` in a fresh interpreter with the hook, in `folder`."""
    arguments = ["-c", textwrap.dedent(code)]
    return tiny_task.run_python(
        arguments, folder, env={"PYTHONDONTWRITEBYTECODE": "1", **env}
    ).stdout.strip()


def run_with_stubs(code: str, folder: Path, **env: str) -> str:
    return run(STUBS + textwrap.dedent(code), folder, **env)


HOOKED_NAMES = "print([f.hooked_name for f in sys.meta_path if type(f).__name__ == 'ImportHook'])"


def test_interpreter_start_adds_the_hook_and_imports_nothing(tmp_path):
    code = f"""
        import sys
        {HOOKED_NAMES}
        print(sorted(m for m in sys.modules if m.partition(".")[0] == "tf_ls"))
        print(sorted({{"tensorflow", "numpy", "absl", "typing"}} & set(sys.modules)))
    """
    assert run(code, tmp_path).splitlines() == ["['neurst']", "[]", "[]"]


def test_pth_line_is_one_import_line_that_site_takes(tmp_path):
    assert PTH_LINE.startswith("import ")
    assert PTH_LINE.count("\n") == 1
    shutil.copy(tiny_task.PTH_FILE, tmp_path)
    code = f"""
        import site, sys
        sys.path.insert(0, {str(tiny_task.REPOSITORY)!r})
        site.addsitedir({str(tmp_path)!r})
        {HOOKED_NAMES}
    """
    assert run(code, tmp_path) == "['neurst']"  # not twice, although it was there before


def test_pth_line_with_an_editable_installation(tmp_path):
    """Which is found by a finder of its own, and not on the path."""
    code = f"""
        import importlib.util, sys
        class EditableFinder:
            @classmethod
            def find_spec(cls, fullname, path=None, target=None):
                if fullname == "tf_ls":
                    file = {str(tiny_task.REPOSITORY / "tf_ls" / "__init__.py")!r}
                    return importlib.util.spec_from_file_location(fullname, file)
        class OldFinder:
            pass
        sys.meta_path[:0] = [OldFinder()]
        sys.meta_path.append(EditableFinder)
        exec({PTH_LINE!r})
        {HOOKED_NAMES}
        print("tf_ls" in sys.modules)
    """
    # -S and -I keep everything else out of the way.
    command = [sys.executable, "-S", "-I", "-c", textwrap.dedent(code)]
    completed = subprocess.run(command, cwd=str(tmp_path), capture_output=True, text=True)
    assert completed.stdout.splitlines() == ["['neurst']", "False"], completed.stderr


@pytest.mark.parametrize("package", [None, "raise RuntimeError", "syntax error"])
def test_pth_line_is_silent_without_tf_ls_or_with_a_broken_one(tmp_path, package):
    if package is not None:
        (tmp_path / "tf_ls").mkdir()
        (tmp_path / "tf_ls" / "__init__.py").write_text(package)
    (tmp_path / "sitecustomize.py").write_text(PTH_LINE)
    # -S keeps an installed tf_ls out of the way, the working folder brings the broken one.
    command = [sys.executable, "-S", "-c", "import sitecustomize; print('started')"]
    completed = subprocess.run(
        command, cwd=str(tmp_path), capture_output=True, text=True, check=True
    )
    assert completed.stdout == "started\n"
    assert completed.stderr == ""


def test_mends_execute_before_and_fusing_after_neurst(neurst_stub):
    assert run_with_stubs("import neurst.cli; print(calls)", neurst_stub) == str(
        ["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"]
    )


def test_disabled_only_mends(neurst_stub):
    output = run_with_stubs("import neurst; print(calls)", neurst_stub, TF_LS_DISABLE="1")
    assert output == str(["mend_tensorflow", "neurst", "mend_neurst"])


@pytest.mark.parametrize("order", ["import neurst", "import tf_ls, neurst"])
def test_mends_before_tensorflow_is_imported(neurst_stub, order):
    code = f"""
        mend = sys.modules["tf_ls.neurst.compat"].mend_tensorflow
        def check_and_mend():
            calls.append("tensorflow" in sys.modules)
            mend()
        sys.modules["tf_ls.neurst.compat"].mend_tensorflow = check_and_mend
        {order}
        print(calls)
    """
    assert run_with_stubs(code, neurst_stub).startswith("[False, 'mend_tensorflow', 'neurst'")


def test_without_the_library_neurst_stays_stock_with_one_line_that_says_why(neurst_stub):
    (neurst_stub / "tensorflow.py").write_text("__version__ = '2.99.0'\n")
    code = """
        del sys.modules["tf_ls.library"]  # the real one
        sys.modules["tf_ls.neurst.compat"].mend_tensorflow = lambda: __import__("tensorflow")
        import neurst
        print(calls)
    """
    output = run_with_stubs(code, neurst_stub, TF_LS_LIBRARY="/nowhere/_tf_ls_ops.so").splitlines()
    assert output[-1] == str(["neurst", "mend_neurst"])
    assert len(output) == 2
    assert "nothing is fused" in output[0]
    assert "/nowhere/_tf_ls_ops.so does not exist" in output[0]


@pytest.mark.parametrize("error", ["TypeError('a bug')", "ImportError('cannot import name')"])
def test_a_bug_in_fusing_is_not_hidden(neurst_stub, error):
    code = f"""
        def install():
            raise {error}
        sys.modules["tf_ls.neurst.fuse"].install = install
        try:
            import neurst
        except Exception as e:
            print(repr(e), "neurst" in sys.modules)
    """
    assert run_with_stubs(code, neurst_stub) == f"{error} False"


def test_find_spec_executes_nothing_and_keeps_the_spec(neurst_stub):
    code = """
        import importlib.machinery, importlib.util
        spec = importlib.util.find_spec("neurst")
        plain = importlib.machinery.PathFinder.find_spec("neurst")
        print(calls, type(spec.loader) is type(plain.loader), spec.loader.is_package("neurst"))
        print(spec.origin == plain.origin)
        print(spec.submodule_search_locations == plain.submodule_search_locations)
        print(importlib.util.find_spec("neurst_but_not_really"), "neurst" in sys.modules)
    """
    assert run_with_stubs(code, neurst_stub).splitlines() == [
        "[] True True",
        "True",
        "True",
        "None False",
    ]


def test_reload_runs_everything_again_once(neurst_stub):
    code = "import importlib, neurst; del calls[:]; importlib.reload(neurst); print(calls)"
    assert run_with_stubs(code, neurst_stub) == str(
        ["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"]
    )


def test_lazy_loader_waits_for_the_first_use(neurst_stub):
    code = """
        import importlib.util
        spec = importlib.util.find_spec("neurst")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules["neurst"] = module
        spec.loader.exec_module(module)
        print(calls)
        module.__doc__
        print(calls)
    """
    lines = run_with_stubs(code, neurst_stub).splitlines()
    assert lines == ["[]", str(["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"])]


def test_another_hook_that_asks_again_does_not_double_the_work(neurst_stub):
    code = """
        import importlib.util
        class Asking:
            busy = False
            def find_spec(self, name, path=None, target=None):
                if Asking.busy:
                    return None
                Asking.busy = True
                try:
                    return importlib.util.find_spec(name)
                finally:
                    Asking.busy = False
        sys.meta_path.insert({place}, Asking())
        import neurst
        print(calls)
    """
    for place in ("0", "1"):
        output = run_with_stubs(textwrap.dedent(code).replace("{place}", place), neurst_stub)
        assert output == str(["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"])


def test_zip_archive(neurst_stub, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", str(neurst_stub), "neurst")
    shutil.rmtree(neurst_stub / "neurst")
    code = f"sys.path.insert(0, {archive!r}); import neurst.cli, neurst.cli.run_exp; print(calls)"
    assert run_with_stubs(code, tmp_path).splitlines() == [
        "ran as neurst.cli.run_exp",
        str(["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"]),
    ]


def test_folder_without_init_is_left_alone(tmp_path):
    (tmp_path / "neurst").mkdir()
    code = """
        sys.path[:] = [p for p in sys.path if "site-packages" not in p]  # the real one would win
        import neurst
        print(calls, len(neurst.__path__))
    """
    assert run_with_stubs(code, tmp_path) == "[] 1"


def test_threads_import_once(neurst_stub):
    code = """
        import threading
        threads = [threading.Thread(target=__import__, args=("neurst.cli",)) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        print(calls)
    """
    assert run_with_stubs(code, neurst_stub) == str(
        ["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"]
    )


def test_python_m(neurst_stub):
    code = """
        import runpy
        runpy.run_module("neurst.cli.run_exp", run_name="__main__", alter_sys=True)
        print(calls)
    """
    assert run_with_stubs(code, neurst_stub).splitlines() == [
        "ran as __main__",
        str(["mend_tensorflow", "neurst", "mend_neurst", "load", "fuse"]),
    ]
