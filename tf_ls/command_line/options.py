"""Arguments NAME=VALUE."""

from __future__ import annotations

import argparse


def named_value(text: str) -> tuple[str, str]:
    """The two parts of NAME=VALUE, for argparse's `type`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value
