"""What clients are told."""

import pytest

from tf_ls.serving.errors import HTTP_STATUS, ServingError, operation_message


def test_every_code_is_one_of_grpc():
    import grpc

    assert set(HTTP_STATUS) <= {code.name for code in grpc.StatusCode}


def test_overload_is_a_503():
    error = ServingError("RESOURCE_EXHAUSTED", "busy", retry_after=2)
    assert (error.http_status, error.retry_after, error.message) == (503, 2, "busy")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("beam_size must be from 1 to 64, got 65", "beam_size must be from 1 to 64, got 65"),
        (
            "Graph execution error:\n\nDetected at node 'Assert' defined at (most recent call"
            ' last):\n  File "/usr/lib/python3/run.py", line 1, in <module>\n'
            "assertion failed: [must be positive]\n\t [[{{node Assert}}]] [Op:__inference_5]",
            "assertion failed: [must be positive]",
        ),
        ("cannot open /home/someone/models/1/assets/vocabulary.txt: gone", "cannot open ...: gone"),
        ("expected a/b, got 3/4 of [2,3]", "expected a/b, got 3/4 of [2,3]"),
    ],
    ids=["plain", "graph", "path", "slashes"],
)
def test_messages_of_operations(raw, told):
    assert operation_message(raw) == told
