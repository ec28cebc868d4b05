"""A real server in a process of its own, and what is needed to talk to it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional


class ServerProcess:
    """`tf-ls serve PATH` on free ports, from when it serves to its end.

    Attributes:
        rest: host and port.
        grpc: host and port.
        logs: what it has logged.
    """

    def __init__(self, path: Path, *flags: str, environment: Optional[dict[str, str]] = None):
        command = [sys.executable, "-m", "tf_ls", "serve", str(path), "--rest-port=0"]
        self.process = subprocess.Popen(
            [*command, "--grpc-port=0", "--poll-seconds=0.1", "--drain-wait=0.1", *flags],
            cwd="/",  # where no source tree is found
            env={**os.environ, **(environment or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.logs: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._lines: queue.Queue = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            if line.startswith("{"):
                self.logs.append(json.loads(line))
                self._lines.put(self.logs[-1])
            else:
                self.other.append(line)
        self._lines.put(None)

    def wait_for(self, message: str, seconds: float = 120, **fields: Any) -> dict[str, Any]:
        """Waits for a line of the log that has not been waited for."""
        end = time.monotonic() + seconds
        while True:
            line = self._lines.get(timeout=max(end - time.monotonic(), 0.01))
            assert line is not None, f"it has ended:\n{''.join(self.other)}\n{self.logs}"
            if line["message"] == message and fields.items() <= line.items():
                return line

    def __enter__(self) -> ServerProcess:
        try:
            self.rest = f"127.0.0.1:{self.wait_for('REST listens')['port']}"
            self.grpc = f"127.0.0.1:{self.wait_for('gRPC listens')['port']}"
            self.wait_for("serving")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def request(
        self, path: str, content: Any = None, *, headers: Optional[dict[str, str]] = None
    ) -> tuple[int, Any]:
        """The status and the JSON (or text) of an answer; `content` is posted, bytes or JSON."""
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
        request = urllib.request.Request(f"http://{self.rest}{path}", content, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, _content(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _content(error)

    def predict(self, model: str, content: Any, **more: Any) -> tuple[int, Any]:
        return self.request(f"/v1/models/{model}:predict", content, **more)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        _, text = self.request("/metrics")
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.split("{")[0].split(" ")[0] == name
        )


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.01)


def _content(response: Any) -> Any:
    text = response.read().decode()
    return json.loads(text) if response.headers.get_content_type() == "application/json" else text
