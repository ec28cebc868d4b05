"""A file that remembers what of a long piece of work was done, whenever the process ends."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Optional

_FORMAT = "tf_ls progress 1"
_BEGINNING = f'{{"format": "{_FORMAT}"'.encode()


class ProgressMismatch(ValueError):
    """Progress that was made with another input, model or options."""


class ProgressFile:
    """Numbered results, written down batch by batch.

    The file has JSON on each line: first what the results depend on, then a batch of pairs
    [number, result] each. A batch is there whole or not at all: a last line that is not complete,
    because the process was killed while it wrote, is dropped.

    One process at a time has it open.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], *, restart: bool = False):
        """Opens the progress that there is, or begins it.

        Args:
            path: of the file.
            identity: what results depend on, by name.
            restart: begin again, whatever there is.

        Raises:
            ProgressMismatch: if the file was made with another identity.
            ValueError: if the file is something else.
            BlockingIOError: if another process has it open.
        """
        self.path = path
        self.count = 0  # results that were there when it was opened
        self._identity = {"format": _FORMAT, **identity}
        self._file = path.open("a+b")
        try:
            self._lock()
            self._file.seek(0)
            header = self._file.readline()
            if not (header.startswith(_BEGINNING) or _BEGINNING.startswith(header)):
                raise ValueError(f"{path} is there, and it is no progress of a translation")
            if restart or not header.endswith(b"\n"):
                self._begin()
            else:
                self._go_on(header)
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "another process is at work on it", str(self.path)
            ) from error

    def _begin(self) -> None:
        self._file.truncate(0)
        self._write(self._identity)
        self._results = (self._file.tell(), self._file.tell())

    def _go_on(self, header: bytes) -> None:
        found = json.loads(header)
        if found != self._identity:
            names = sorted(found.keys() | self._identity.keys())
            raise ProgressMismatch(
                f"{self.path} cannot be continued: "
                + "; ".join(
                    f"{name} was {found.get(name)}, now it is {self._identity.get(name)}"
                    for name in names
                    if found.get(name) != self._identity.get(name)
                )
            )
        start = end = len(header)
        for line in self._file:
            batch = _parse(line)
            if batch is None:
                break
            self.count += len(batch)
            end += len(line)
        self._file.truncate(end)
        self._results = (start, end)

    def results(self) -> Iterator[tuple[int, str]]:
        """What had been done when the file was opened, in the order in which it was."""
        with self.path.open("rb") as file:
            start, end = self._results
            file.seek(start)
            while file.tell() < end:
                yield from (tuple(pair) for pair in json.loads(file.readline()))

    def add(self, results: Mapping[int, str]) -> None:
        """Writes a batch down. Once this returns, killing the process does not lose it."""
        self._write(list(results.items()))

    def _write(self, content: object) -> None:
        self._file.write(json.dumps(content).encode() + b"\n")
        self._file.flush()

    def remove(self) -> None:
        """Deletes the file: the work is done."""
        os.unlink(self.path)

    def __enter__(self) -> ProgressFile:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._file.close()


def _parse(line: bytes) -> Optional[list]:
    """The batch of a complete line; None if it is not complete."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:  # a machine that lost power may leave zeros
        return None
