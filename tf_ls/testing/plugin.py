"""A pytest plugin: in a conftest.py, pytest_plugins = ["tf_ls.testing.plugin"]."""

from __future__ import annotations

from typing import Any, Callable

import pytest


@pytest.fixture
def operation_check() -> Callable[..., Any]:
    """`tf_ls.testing.check`, failing with what is wrong and no traceback."""
    from tf_ls.testing.checking import check

    def run_check(case: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return check(case, **options)
        except AssertionError as error:
            message = str(error)
        pytest.fail(message, pytrace=False)

    return run_check
