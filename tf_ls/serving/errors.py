"""What a client is told when there is no answer."""

from __future__ import annotations

import re
from typing import Optional

# The HTTP status of each gRPC status that is given: TensorFlow Serving's, but for
# RESOURCE_EXHAUSTED, there 429; here it means an overload, not a client that asks too often.
HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 503,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}

# Absolute paths of at least two parts, in messages of operations.
_PATH = re.compile(r"(?<![\w.:/])/(?:[\w.+@-]+/)+[\w.+@-]*")


class ServingError(Exception):
    """A request that gets no answer.

    Attributes:
        code: the name of a gRPC status, a key of HTTP_STATUS.
        message: what the client is told; nothing of the file system.
        retry_after: seconds until trying again makes sense.
        http_status: over HTTP.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: Optional[int] = None,
        http_status: Optional[int] = None,
    ):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.http_status = http_status or HTTP_STATUS[code]


def invalid(message: str) -> ServingError:
    """The request itself is wrong."""
    return ServingError("INVALID_ARGUMENT", message)


def internal() -> ServingError:
    """Something failed that a client can do nothing about; the log says what."""
    return ServingError("INTERNAL", "the model failed; the server's log says why")


def operation_message(message: str) -> str:
    """What an operation said, without TensorFlow's account of where in the graph it was.

    Neither that nor a path of this machine is a client's business.
    """
    lines = [line.strip() for line in message.splitlines()]
    kept = [
        line
        for line in lines
        if line
        and not line.startswith(("Graph execution error", "Detected at node", "File ", "[["))
        and not re.match(r"<stack traces unavailable>|\(\d+\) |\d+ (root|derived) error", line)
        and "defined at (most recent call last)" not in line
    ]
    text = " ".join(kept or lines[-1:])
    text = re.sub(r"\s*\[\[\{\{node [^\]]*\]\]|\s*\[Op:[^\]]*\]|\{\{[^}]*\}\}\s*", "", text)
    return _PATH.sub("...", text).strip()
