"""Functions in the place of a module's execution: loaders of every kind, none of them harmed.

tests/neurst/test_pick_up.py has what the hook for NeurST must hold besides.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import pickle
import sys
import zipfile
from pathlib import Path

import pytest

from tf_ls import import_hooks


@pytest.fixture
def calls(monkeypatch):
    """What hooked modules and their hooks do; undone after the test."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield []
    for name in [name for name in sys.modules if name.startswith("hooked_")]:
        del sys.modules[name]


def hook(name: str, calls: list[str], hooks=import_hooks) -> None:
    def run(module, execute):
        calls.append(f"before {name}")
        execute(module)
        calls.append(f"after {name}: {module.value}")

    hooks.install(name, run)


@pytest.fixture
def folder(calls, tmp_path) -> Path:
    """On the path, with modules hooked_a and hooked_b."""
    for letter in "ab":
        (tmp_path / f"hooked_{letter}.py").write_text(f"value = '{letter}'\n")
    sys.path.insert(0, str(tmp_path))
    return tmp_path


def test_two_names_in_either_order(calls, folder):
    hook("hooked_a", calls)
    hook("hooked_b", calls)
    importlib.import_module("hooked_b")
    importlib.import_module("hooked_a")
    importlib.import_module("hooked_a")
    assert calls == ["before hooked_b", "after hooked_b: b", "before hooked_a", "after hooked_a: a"]


def test_the_file_executed_twice_hooks_once(calls, folder):
    spec = importlib.util.spec_from_file_location("another_copy", import_hooks.__file__)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert copy.ImportHook is not import_hooks.ImportHook
    hook("hooked_a", calls)
    hook("hooked_a", calls, copy)
    importlib.import_module("hooked_a")
    assert calls == ["before hooked_a", "after hooked_a: a"]


def test_nothing_stays_on_the_loader(calls, folder):
    hook("hooked_a", calls)
    loader = importlib.import_module("hooked_a").__spec__.loader
    assert "exec_module" not in vars(loader)
    assert pickle.loads(pickle.dumps(loader)).path == loader.path


def test_another_hook_on_the_loader_stays(calls, folder):
    class Other:
        def find_spec(self, name, path=None, target=None):
            if name != "hooked_a":
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            execute = spec.loader.exec_module

            def exec_module(module):
                calls.append("other")
                execute(module)

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Other())
    hook("hooked_a", calls)
    loader = importlib.import_module("hooked_a").__spec__.loader
    assert calls == ["before hooked_a", "other", "after hooked_a: a"]
    assert "Other" in vars(loader)["exec_module"].__qualname__


def test_a_module_that_fails_can_be_imported_again(calls, folder):
    hook("hooked_a", calls)
    (folder / "hooked_a.py").write_text("raise ImportError('not now')\n")
    with pytest.raises(ImportError, match="not now"):
        importlib.import_module("hooked_a")
    assert calls == ["before hooked_a"]
    (folder / "hooked_a.py").write_text("value = 'better, and of another length'\n")
    importlib.invalidate_caches()
    importlib.import_module("hooked_a")
    assert calls[1:] == ["before hooked_a", "after hooked_a: better, and of another length"]


def test_reload(calls, folder):
    hook("hooked_a", calls)
    module = importlib.import_module("hooked_a")
    importlib.reload(module)
    assert calls == ["before hooked_a", "after hooked_a: a"] * 2


def test_one_loader_for_two_hooked_modules_and_others(calls, folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        for letter in "ab":
            archive.write(tmp_path / f"hooked_{letter}.py", f"hooked_{letter}.py")
        archive.writestr("hooked_c.py", "value = 'c'\n")
    sys.path[0] = str(tmp_path / "modules.zip")
    hook("hooked_a", calls)
    hook("hooked_b", calls)
    loader = importlib.util.find_spec("hooked_a").loader
    if not hasattr(loader, "exec_module"):
        pytest.skip("zipimport of Python 3.9 executes modules in another way")
    assert importlib.util.find_spec("hooked_b").loader is loader
    assert importlib.import_module("hooked_c").value == "c"
    importlib.import_module("hooked_a")
    assert calls == ["before hooked_a", "after hooked_a: a"]
    importlib.import_module("hooked_b")
    assert calls[2:] == ["before hooked_b", "after hooked_b: b"]
    assert "exec_module" not in vars(loader)


class LoaderThatIsAClass:
    @classmethod
    def create_module(cls, spec):
        return None

    @classmethod
    def exec_module(cls, module):
        module.value = "c"


class LoaderWithoutAttributes:
    __slots__ = ()
    create_module = LoaderThatIsAClass.create_module
    exec_module = LoaderThatIsAClass.exec_module


@pytest.mark.parametrize("loader", [LoaderThatIsAClass, LoaderWithoutAttributes()])
def test_loaders_that_cannot_be_changed_are_left_alone(calls, loader):
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "hooked_a":
                return importlib.machinery.ModuleSpec(name, loader, origin="somewhere")
            return None

    execute = LoaderThatIsAClass.exec_module
    sys.meta_path.insert(0, Finder)
    hook("hooked_a", calls)
    assert importlib.import_module("hooked_a").value == "c"
    assert calls == []
    assert LoaderThatIsAClass.exec_module == execute


def test_a_folder_without_init_is_left_alone(calls, tmp_path):
    (tmp_path / "hooked_a").mkdir()
    sys.path.insert(0, str(tmp_path))
    hook("hooked_a", calls)
    assert importlib.import_module("hooked_a").__file__ is None
    assert calls == []


def test_a_module_that_does_not_exist(calls):
    hook("hooked_nowhere", calls)
    assert importlib.util.find_spec("hooked_nowhere") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("hooked_nowhere")
