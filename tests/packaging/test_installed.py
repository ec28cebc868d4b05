"""What `pip install .` has put into this environment."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tf_ls

PACKAGE = Path(tf_ls.__file__).parent


def requirements() -> dict[str, Requirement]:
    parsed = [Requirement(text) for text in metadata.requires("tf_ls") or []]
    return {requirement.name: requirement for requirement in parsed}


@pytest.fixture(scope="module")
def tensorflow_version() -> str:
    from tf_ls._build_info import TENSORFLOW_VERSION

    return TENSORFLOW_VERSION


def test_version_of_the_distribution():
    assert metadata.version("tf_ls") == tf_ls.__version__


def test_pins_the_minor_version_of_tensorflow(tensorflow_version):
    from tf_ls._build_info import TENSORFLOW_DISTRIBUTION

    pin = requirements()[TENSORFLOW_DISTRIBUTION]
    major, minor, *_ = tensorflow_version.split(".")
    assert pin.specifier.contains(tensorflow_version)
    assert pin.specifier.contains(f"{major}.{minor}.99")
    assert not pin.specifier.contains(f"{major}.{int(minor) + 1}.0")
    assert not pin.specifier.contains(f"{major}.{int(minor) - 1}.0")


def test_neurst_extra(tensorflow_version):
    extra = {n for n, r in requirements().items() if r.marker and "neurst" in str(r.marker)}
    assert {"neurst", "scipy", "tensorboard"} <= extra
    assert ("tf_keras" in extra) == (int(tensorflow_version.split(".")[1]) >= 16)


def test_serving_extra(tensorflow_version):
    major, minor = tensorflow_version.split(".")[:2]
    extra = {n: r for n, r in requirements().items() if r.marker and "serving" in str(r.marker)}
    assert {"aiohttp", "grpcio", "prometheus_client"} <= extra.keys()
    pin = extra["tensorflow-serving-api"].specifier
    assert pin.contains(f"{major}.{minor}.9")
    assert not pin.contains(f"{major}.{int(minor) + 1}.0")


def test_wheel_is_for_this_platform_and_any_python():
    text = metadata.distribution("tf_ls").read_text("WHEEL")
    assert "Root-Is-Purelib: false" in text
    assert "Tag: py3-none-linux_" in text


def test_page_of_the_server():
    names = {file.name for file in (PACKAGE / "serving" / "page").iterdir()}
    page = (PACKAGE / "serving" / "page" / "index.html").read_text()
    assert {"main.js", "style.css", "icon.svg"} <= names
    assert set(re.findall(r'"page/(.*?)"', page)) <= names
    modules = [name for name in names if name.endswith(".js")]
    for module in modules:
        text = (PACKAGE / "serving" / "page" / module).read_text()
        assert set(re.findall(r'from "\./(.*?)"', text)) <= names


def test_library_has_onednn_beside_it():
    assert (PACKAGE / "_tf_ls_ops.so").exists()
    assert (PACKAGE / "libdnnl.so.3").exists()
    # Python's start-up already maps libraries: a fresh process tells what this one needs.
    result = subprocess.run(
        ["ldd", str(PACKAGE / "_tf_ls_ops.so")], capture_output=True, text=True, check=True
    )
    (line,) = [line for line in result.stdout.splitlines() if "libdnnl.so.3" in line]
    assert str(PACKAGE.resolve()) in line


def test_library_exports_nothing():
    result = subprocess.run(
        ["nm", "--dynamic", "--extern-only", "--defined-only", str(PACKAGE / "_tf_ls_ops.so")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == ""


def test_neurst_hook_is_at_the_root_and_is_removed_with_the_package():
    files = {str(file): file for file in metadata.files("tf_ls") or []}
    hook = files["tf_ls_neurst.pth"]
    assert Path(hook.locate()).parent == PACKAGE.parent
    assert "tf_ls/_tf_ls_ops.so" in files


def test_no_sources_or_tests_in_the_wheel():
    names = [str(file) for file in metadata.files("tf_ls") or []]
    assert not [n for n in names if n.endswith((".cc", ".h", "BUILD", "_test.py", ".lds"))]
    assert not [n for n in names if n.startswith(("tests", "cc", "configure", "tools"))]


def test_command():
    (script,) = metadata.distribution("tf_ls").entry_points
    assert (script.group, script.name) == ("console_scripts", "tf-ls")
    assert script.load().__name__ == "main"


def test_typing_marker():
    assert (PACKAGE / "py.typed").exists()


def test_tensorflow_that_runs_is_the_one_it_was_built_for(tensorflow_version):
    import tensorflow as tf

    assert tf.__version__ == tensorflow_version
    assert sys.version_info >= (3, 9)
