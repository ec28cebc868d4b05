"""A file in memory as far as it is read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Callable, Union

from tf_ls.files.model import InvalidModelFile


def map_file(path: Union[str, os.PathLike]) -> memoryview:
    """Returns a file's bytes, which the system reads when they are looked at.

    The map lasts as long as any view of it. A file that is cut short meanwhile ends the process:
    replace files instead of writing into them, as `replace_file` does.

    Raises:
        FileNotFoundError: there is none.
        InvalidModelFile: it is empty.
    """
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise InvalidModelFile("the file is empty")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Otherwise a file that is not in the system's cache is read in small steps, while who needs it
    # waits: 1.5 times as long as reading its bytes takes, instead of 1.3 times.
    data.madvise(mmap.MADV_WILLNEED)
    return memoryview(data)


def replace_file(path: Union[str, os.PathLike], write: Callable[[Path], None]) -> None:
    """Lets a function write a file, which appears under its name when it is complete."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
