"""What the tests here share: models, and servers that serve them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "models"), str(HERE)]

from models_to_serve import save_models  # noqa: E402
from server_process import ServerProcess  # noqa: E402


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder of models; models_to_serve.py says which."""
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def server(models):
    """A server of all of these that everyone may use, with room for requests that take long."""
    flags = [
        "--max-length=1000000",
        "--max-work=4000000",
        "--queue-sentences=300",
        "--queue-seconds=1000",
        "--queue-patience=1000",
    ]
    with ServerProcess(models, *flags, "--max-request-bytes=200000") as process:
        yield process
