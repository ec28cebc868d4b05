"""Processes that measure side by side: each does what it is told, line by line, and answers.

Contenders need processes of their own: NeurST is stock or fused in the whole of one, and
memory is a process's. They take turns, so that a machine that is slow for a while is slow for all.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from typing import Any, Callable


class Worker:
    """A process that runs `answer_lines`.

    Args:
        command: what starts it.
        environment: its environment variables.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], timeout: float):
        self._timeout = timeout
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  until close()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """Waits for the next thing it says; what it said last if it ended instead."""
        end = threading.Timer(self._timeout, self._process.kill)
        end.start()
        line = self._process.stdout.readline()
        in_time = end.is_alive()
        end.cancel()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._log.seek(0)
        log = self._log.read()[-4000:]
        if in_time:
            return {"error": f"ended with status {status}\n{log}"}
        return {"error": f"{log}\nnot done in {self._timeout:.0f} s"}

    def tell(self, *words: str) -> None:
        """Has it do something, and answer."""
        with contextlib.suppress(BrokenPipeError):  # answer() knows why
            print(*words, file=self._process.stdin, flush=True)

    def ask(self, *words: str) -> dict[str, Any]:
        self.tell(*words)
        return self.answer()

    def close(self) -> None:
        """Ends the process, which then frees the card."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


def contender_environment(contender: str) -> dict[str, str]:
    """The environment in which NeurST runs as `contender` says: stock..., tf_ls, tf_ls-bfloat16."""
    # Several processes share the card, so TensorFlow must not take all of its memory.
    environment = dict(os.environ, TF_FORCE_GPU_ALLOW_GROWTH="true")
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environment.pop("TF_LS_COMPUTE_DTYPE", None)
    environment.pop("TF_LS_DISABLE", None)
    if contender.startswith("stock"):
        environment["TF_LS_DISABLE"] = "1"
    elif contender == "tf_ls-bfloat16":
        environment["TF_LS_COMPUTE_DTYPE"] = "bfloat16"
    return environment


def answer_lines(start: Callable[[], Callable[[list[str]], dict[str, Any]]]) -> None:
    """Answers each line of standard input with what start()(its words) returns.

    What goes wrong becomes {"error": ...}.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print is no answer
    respond = start()
    for line in sys.stdin:
        try:
            answer = respond(line.split())
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


def last_words(error: str) -> str:
    """The last line of an error that says something."""
    lines = [line.strip() for line in error.splitlines()]
    return next((line for line in reversed(lines) if line and line[0] not in "[{^~"), "no reason")
