"""The models of a folder, their versions, and taking up new ones while serving."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional, Union

from tf_ls.serving.errors import ServingError
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.version_labels import VersionLabels

log = logging.getLogger(__name__)

# As in TensorFlow Serving's ModelVersionStatus.
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"

# What a client asks for: a version's number, its label, or the newest.
Which = Union[int, str, None]

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


@dataclasses.dataclass(eq=False)
class Version:
    """A version of a model.

    Attributes:
        model: a servable's content, whatever `load` returned; None while there is none.
        state: one of the constants above.
        error: why it could not be loaded, for clients: nothing of the file system.
        fingerprint: of its files when it was loaded.
    """

    name: str
    number: int
    path: Path
    state: str = LOADING
    error: str = ""
    model: Optional[object] = None
    fingerprint: tuple = ()
    leases: int = 0


class ModelStore:
    """Models by name, and of each its newest versions, and those that have labels.

    All methods are for the event loop; loading happens in a thread of its own.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: Optional[str],
        load: Callable[[Path], object],
        keep: int,
        metrics: Metrics,
        labels: Optional[VersionLabels] = None,
    ):
        """Looks, and loads nothing yet.

        Args:
            path: of a SavedModel; of a folder of versions, whose names are numbers; of a folder of
                models, each one of the former.
            name: of the model, if it is one; None: as its folder.
            load: makes a model of a SavedModel's folder; in another thread.
            keep: how many versions of each model to serve, the newest.
            metrics: are told what is served.
            labels: of versions; None: there are none.

        Raises:
            ValueError: there is no SavedModel.
        """
        self._labels = VersionLabels(None) if labels is None else labels
        self._path, self._load, self._keep, self._metrics = path, load, keep, metrics
        self._one = _is_saved_model(path) or bool(_versions(path))
        self._name = name or path.resolve().name
        if not self._one and name is not None:
            raise ValueError(f"{path} is a folder of models, whose names are theirs: not {name}")
        self._models: dict[str, dict[int, Version]] = {}
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._seen: dict[Path, tuple] = {}  # fingerprints of folders that are not loaded yet
        self._was_ready = False
        if not self._found():
            raise ValueError(
                f"{path} has no SavedModel: neither saved_model.pb, nor a folder 1, 2, ... with it,"
                " nor folders of these"
            )

    @property
    def names(self) -> list[str]:
        """Of all models that have, or had, a version."""
        return sorted(name for name, versions in self._models.items() if versions)

    @property
    def ready(self) -> bool:
        """Whether each model that there was at the start has had a version that can be used."""
        return self._was_ready

    @property
    def loaded(self) -> bool:
        """Whether there is anything to serve."""
        return any(v.state == AVAILABLE for vs in self._models.values() for v in vs.values())

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def versions(self, name: str, which: Which = None) -> list[Version]:
        """The versions of a model that there are or were, or one of them, newest first.

        Raises:
            ServingError: there is none.
        """
        number = self._number(name, which)
        found = [
            version
            for version in self._models.get(name, {}).values()
            if number is None or version.number == number
        ]
        if not found:
            of = "" if number is None else f" with version {number}"
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}{of}")
        return sorted(found, key=lambda version: -version.number)

    @contextlib.contextmanager
    def lease(self, name: str, which: Which = None) -> Iterator[Version]:
        """Gives a version, the newest that is available, that stays loaded in the context.

        Raises:
            ServingError: there is none.
        """
        number = self._number(name, which)
        available = [
            version
            for version in self._models.get(name, {}).values()
            if version.state == AVAILABLE and number in (None, version.number)
        ]
        if not available:
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {which}")
        version = max(available, key=lambda version: version.number)
        version.leases += 1
        try:
            yield version
        finally:
            version.leases -= 1
            if version.leases == 0 and version.state == UNLOADING:
                self._unload(version)

    def _number(self, name: str, which: Which) -> Optional[int]:
        if isinstance(which, str) and name in self._models:
            return self._labels.number(name, which)
        return None if isinstance(which, str) else which

    async def start(self) -> None:
        """Loads what there is."""
        await self._refresh(settled=True)

    async def refresh(self) -> None:
        """Loads what is new, and unloads what it replaces.

        A folder is loaded when it has not changed since the last time: nobody is copying it.
        """
        await self._refresh(settled=False)

    async def _refresh(self, settled: bool) -> None:
        self._labels.refresh()
        for name, folders in self._found().items():
            known = self._models.setdefault(name, {})
            labelled = self._labels.of(name)
            missing = self._keep
            for number in sorted(folders, reverse=True):
                if missing <= 0 and number not in labelled:
                    continue
                version, folder = known.get(number), folders[number]
                if version is None or self._try_again(version, folder):
                    if not settled and not self._has_settled(folder):
                        continue
                    version = known[number] = Version(name, number, folder)
                    await self._take_up(version)
                if version.state == AVAILABLE:
                    missing -= 1
            self._retire(known, folders, labelled)
        self._was_ready = self._was_ready or all(
            any(version.state == AVAILABLE for version in versions.values())
            for versions in self._models.values()
        )

    async def refresh_forever(self, seconds: float) -> None:
        """Refreshes at intervals, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except OSError:
                log.exception("the models' folder cannot be read; trying again")

    def _found(self) -> dict[str, dict[int, Path]]:
        """The folders of all versions of all models that there are."""
        if self._one:
            return {self._name: _model(self._path)}
        return {
            folder.name: _model(folder)
            for folder in sorted(self._path.iterdir())
            if not folder.name.startswith(".") and ":" not in folder.name and _model(folder)
        }

    def _try_again(self, version: Version, path: Path) -> bool:
        if version.state != END:
            return False
        return not version.error or _fingerprint(path) != version.fingerprint

    def _has_settled(self, path: Path) -> bool:
        now = _fingerprint(path)
        before, self._seen[path] = self._seen.get(path), now
        return before == now

    async def _take_up(self, version: Version) -> None:
        version.fingerprint = _fingerprint(version.path)
        log.info("loading", extra={"model": version.name, "version": version.number})
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            version.model = await loop.run_in_executor(self._thread, self._load, version.path)
            if _fingerprint(version.path) != version.fingerprint:
                raise ValueError("it was changed while it was loaded")
        except Exception:
            # Whoever asks over the network gets to know no more than this.
            version.error = "could not be loaded; the server's log says why"
            version.state, version.model = END, None
            log.exception(
                "could not be loaded", extra={"model": version.name, "version": version.number}
            )
            self._metrics.load_failed(version.name)
            return
        version.state = AVAILABLE
        self._metrics.version_loaded(version.name, version.number, True)
        log.info(
            "available",
            extra={
                "model": version.name,
                "version": version.number,
                "seconds": round(loop.time() - started, 3),
            },
        )

    def _retire(
        self, known: dict[int, Version], folders: dict[int, Path], labelled: set[int]
    ) -> None:
        """Unloads what is neither new nor labelled, or has no folder any more."""
        available = sorted(
            (v for v in known.values() if v.state == AVAILABLE),
            key=lambda v: (v.number in folders, v.number),
            reverse=True,
        )
        for index, version in enumerate(available):
            gone = version.number not in folders and index > 0
            if gone or (index >= self._keep and version.number not in labelled):
                version.state = UNLOADING
                if version.leases == 0:
                    self._unload(version)

    def _unload(self, version: Version) -> None:
        version.model = None
        version.state = END
        self._metrics.version_loaded(version.name, version.number, False)
        log.info("unloaded", extra={"model": version.name, "version": version.number})
        # A SavedModel's objects refer to each other in circles.
        self._thread.submit(gc.collect)


def _is_saved_model(path: Path) -> bool:
    return any((path / name).is_file() for name in _SAVED_MODEL_FILES)


def _versions(path: Path) -> dict[int, Path]:
    """Folders of versions by their numbers."""
    if not path.is_dir():
        return {}
    return {
        int(folder.name): folder
        for folder in path.iterdir()
        if folder.name.isascii() and folder.name.isdigit() and _is_saved_model(folder)
    }


def _model(path: Path) -> dict[int, Path]:
    """The versions of a model; what is a SavedModel itself is its own version 1."""
    return {1: path} if _is_saved_model(path) else _versions(path)


def _fingerprint(path: Path) -> tuple:
    """Changes when a file of a SavedModel does."""
    files = []
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                state = os.stat(os.path.join(folder, name))
                files.append((folder, name, state.st_size, state.st_mtime_ns))
    return tuple(sorted(files))
