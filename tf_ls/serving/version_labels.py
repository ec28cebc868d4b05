"""Names of versions, which clients may ask for in place of numbers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Optional

from tf_ls.serving.errors import ServingError

log = logging.getLogger(__name__)

Labels = dict[str, dict[str, int]]


class VersionLabels:
    """The labels of a file: {"MODEL": {"LABEL": VERSION, ...}, ...}. It may change."""

    def __init__(self, path: Optional[Path]):
        """Reads the file.

        Args:
            path: None: there are no labels.

        Raises:
            ValueError: it is not what is expected.
            OSError: it cannot be read.
        """
        self._path = path
        self._content = b""
        self._labels: Labels = {}
        if path is not None:
            self._read(path.read_bytes())

    def refresh(self) -> None:
        """Reads the file again, if it has changed; one that is not right changes nothing."""
        if self._path is None:
            return
        try:
            content = self._path.read_bytes()
            if content != self._content:
                self._read(content)
                log.info("labels of versions", extra={"labels": self._labels})
        except (OSError, ValueError) as error:
            if self._content:
                log.error("labels of versions stay as they were", extra={"reason": str(error)})
            self._content = b""  # said once

    def of(self, model: str) -> set[int]:
        """The versions of a model that have labels."""
        return set(self._labels.get(model, {}).values())

    def number(self, model: str, label: str) -> int:
        """The version of a label.

        Raises:
            ServingError: there is no such label.
        """
        labels = self._labels.get(model, {})
        if label not in labels:
            raise ServingError("NOT_FOUND", f"Unrecognized servable version label: {label}")
        return labels[label]

    def _read(self, content: bytes) -> None:
        self._labels, self._content = _parsed(content, self._path), content


def _parsed(content: bytes, path: Optional[Path]) -> Labels:
    expected = f'{path} must be JSON, {{"MODEL": {{"LABEL": VERSION}}}}'
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from None
    if not isinstance(document, dict) or not all(isinstance(v, dict) for v in document.values()):
        raise ValueError(expected)
    for model, labels in document.items():
        for label, version in labels.items():
            if not label or "/" in label or ":" in label:
                raise ValueError(f"{path}: {model}: {label!r} cannot be a label: no / and no :")
            if isinstance(version, bool) or not isinstance(version, int) or version < 0:
                raise ValueError(f"{path}: {model}: {label} must be a version, got {version!r}")
    return document
