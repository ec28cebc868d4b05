"""Answers of two pipelines, compared."""

from __future__ import annotations

from typing import Any

import pytest


def assert_same(ours: Any, expected: Any) -> None:
    """Numbers to 1e-4, everything else exactly."""
    if isinstance(expected, dict):
        assert isinstance(ours, dict)
        assert set(ours) == set(expected)
        for name, value in expected.items():
            assert_same(ours[name], value)
    elif isinstance(expected, list):
        assert isinstance(ours, list)
        assert len(ours) == len(expected)
        for pair in zip(ours, expected):
            assert_same(*pair)
    elif isinstance(expected, (str, int)):
        assert ours == expected
    else:
        assert ours == pytest.approx(float(expected), abs=1e-4)
