"""Building a wheel, and installing it, in environments of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def pip(*arguments: str, python: str = sys.executable, **environment: str):
    return subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1800,
    )


def test_wheel_in_build_isolation(tmp_path):
    result = pip("wheel", "--no-deps", "--wheel-dir", str(tmp_path), ".")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("tf_ls-")
    assert "py3-none-linux_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "tf_ls/__init__.py",
        "tf_ls/_build_info.py",
        "tf_ls/_tf_ls_ops.so",
        "tf_ls/libdnnl.so.3",
        "tf_ls/import_hooks.py",
        "tf_ls/library.py",
        "tf_ls/sentencepiece.LICENSES",
        "tf_ls/serving/page/index.html",
        "tf_ls/serving/page/main.js",
        "tf_ls/serving/page/style.css",
        "tf_ls_neurst.pth",
    } <= set(names)


def test_without_bazel():
    result = pip("wheel", "--no-deps", ".", TF_LS_BAZEL="/nonexistent/bazel")
    assert result.returncode != 0
    assert "Cannot build tf_ls: Cannot run /nonexistent/bazel" in result.stdout + result.stderr
    assert "apt-get install bazel-bootstrap" in result.stdout + result.stderr


def test_without_tensorflow(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    environment = {name: "" for name in ("TF_LS_PYTHON", "VIRTUAL_ENV")}
    result = pip(
        "install", "--no-deps", ".", python=str(tmp_path / "venv/bin/python"), **environment
    )
    assert result.returncode != 0
    assert "Cannot build tf_ls: TensorFlow is not installed" in result.stdout + result.stderr
