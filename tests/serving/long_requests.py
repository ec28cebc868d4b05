"""Requests that keep a server busy for as long as a test wants."""

from __future__ import annotations

import json
import socket

from models_to_serve import EOS
from server_process import ServerProcess, eventually

# Would take hours, were it not stopped.
ENDLESS = {
    "signature_name": "serving_with_options",
    "inputs": {
        "source": [[1]],
        "beam_size": 1,
        "max_length": 1_000_000,
        "max_extra_length": -1,
        "forbidden_tokens": [EOS],
    },
}


def post(server: ServerProcess, content: bytes, model: str = "ids") -> socket.socket:
    """A connection that has sent a request, and read nothing."""
    connection = socket.create_connection(server.rest.split(":"), timeout=60)
    head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + content)
    return connection


def busy(server: ServerProcess) -> socket.socket:
    """Keeps the model busy until the connection is closed."""
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)
    connection = post(server, json.dumps(ENDLESS).encode())
    eventually(lambda: server.metric("tf_ls_batches_running") == 1)
    return connection
