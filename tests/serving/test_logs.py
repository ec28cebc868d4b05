"""Logs as lines of JSON."""

import json
import logging
import sys

from tf_ls.serving.logs import JsonFormatter


def formatted(message, *arguments, **more):
    record = logging.getLogger("a").makeRecord(
        "a", logging.WARNING, "file", 1, message, arguments, more.pop("exc_info", None), **more
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_fields():
    line = formatted("%s is\nhere", "x", extra={"model": "m", "seconds": 0.5})
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "a",
        "message": "x is\nhere",
        "model": "m",
        "seconds": 0.5,
    }


def test_exceptions():
    try:
        raise ValueError("no")
    except ValueError:
        line = formatted("failed", exc_info=sys.exc_info())
    assert line["exception"].endswith("ValueError: no")
