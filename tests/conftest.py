"""Options and checks of the whole test suite."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# TensorFlow's start-up messages would bury a failure's own output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config: pytest.Config) -> None:
    spec = importlib.util.find_spec("tf_ls")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("tf_ls is not installed: `make build`, or `pip install .`.")
    package = Path(spec.origin).parent
    built_here = (package / "_build_info.py").exists() or "TF_LS_LIBRARY" in os.environ
    if package == ROOT / "tf_ls" and not built_here:
        raise pytest.UsageError(
            "The tests would import tf_ls from the source tree, where its library is not: run"
            " `pytest`, not `python -m pytest`, or name the library in TF_LS_LIBRARY."
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "gpu" not in config.getoption("-m"):
        on_gpu = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
