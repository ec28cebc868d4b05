"""The lines of a text file that may be larger than memory, and of which every byte is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """A line of text.

    Attributes:
        text: what it says, without the ending.
        ending: b"\\n", b"\\r\\n", or b"" at the end of a file whose last line has none.
    """

    text: str
    ending: bytes

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


class LineReader(Iterable[Line]):
    """Reads the lines of a file, once.

    After the last line `digest` is the SHA-256 of the whole file.
    """

    def __init__(self, path: Path):
        self._path = path
        self.digest = ""

    def __iter__(self) -> Iterator[Line]:
        """Yields lines.

        Raises:
            ValueError: at the first line that is no UTF-8, with its number.
        """
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                content = line.rstrip(b"\n") if line.endswith(b"\n") else line
                if line.endswith(b"\r\n"):
                    content = content[:-1]
                try:
                    text = content.decode()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{self._path}, line {number}: not UTF-8 (byte {error.start + 1} of"
                        f" the line is 0x{content[error.start]:02x})"
                    ) from error
                yield Line(text, line[len(content) :])
        self.digest = digest.hexdigest()


def one_line(text: str) -> str:
    """`text` as one line of a file: line breaks become spaces, what has no UTF-8 becomes "?"."""
    return (
        text.replace("\r\n", " ")
        .replace("\n", " ")
        .replace("\r", " ")
        .encode(errors="replace")
        .decode()
    )
