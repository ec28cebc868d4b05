"""What is to hold for a model file of any bytes, and a fuzzer that looks for one that breaks it.

    python tests/files/fuzz_model_files.py --seconds 600 [--corpus FOLDER] [--format pb hdf5]

With atheris (coverage-guided) if it is installed; otherwise mutations of the corpus alone. What is
in tests/files/corpus was found so, and is replayed in the tests: NAME.FAMILY.ENDING. A file that
breaks something is left in the corpus, and the message names it.

A file is refused with InvalidModelFile, or all of its numbers can be read: they are finite, of the
shapes that it says, and the same after they were written again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
MODELS = HERE / "models"
FAMILIES = ("transformer", "bert", "gpt")
ENDINGS = (".pb", ".hdf5")
LARGEST = 1 << 16
# What a process may take beside what it has when it begins, whatever files say.
MEMORY = 1 << 30


def check(path: Path, family: str) -> Optional[str]:
    """Checks a file; returns why it was refused, if it was.

    Raises:
        AssertionError, or anything else that is not InvalidModelFile: it is a bug.
    """
    import numpy as np

    from tf_ls import files

    try:
        model = files.read(path, family)
        shapes = model.shapes()
        arrays = {name: model.float32(name, shapes) for name in shapes}
    except files.InvalidModelFile as error:
        return str(error)
    for name, array in arrays.items():
        assert array.dtype == np.float32, name
        assert array.shape == shapes[name], name
        assert np.isfinite(array).all(), name
    again = path.with_name(f"again{path.suffix}")
    files.write(model, again)
    read = files.read(again, family)
    assert {k: v for k, v in read.settings.items() if v} == {
        k: float(np.float32(v)) if isinstance(v, float) else v
        for k, v in model.settings.items()
        if v
    }
    assert read.shapes() == shapes
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.float32(name, shapes), array)
    return None


def family_of(path: Path) -> str:
    return path.name.split(".")[-2]


def seeds(endings: tuple[str, ...]) -> list[Path]:
    """What the search begins with: the corpus, and files that are read."""
    paths = [*CORPUS.iterdir(), *MODELS.iterdir()]
    return sorted(path for path in paths if path.suffix in endings)


class Target:
    """Files of bytes, which `check` gets: the first byte says of what family and format."""

    def __init__(self, folder: Path, corpus: Path, endings: tuple[str, ...]):
        self._folder = folder
        self._corpus = corpus
        self._endings = endings
        self.count = self.accepted = 0

    def data(self, path: Path) -> bytes:
        """Returns a file as the target takes it."""
        kind = FAMILIES.index(family_of(path)) + 3 * self._endings.index(path.suffix)
        return bytes([kind]) + path.read_bytes()

    def __call__(self, data: bytes) -> None:
        if len(data) < 2:
            return
        kinds = 3 * len(self._endings)
        ending, family = divmod(data[0] % kinds, 3)
        name = f"{FAMILIES[family]}{self._endings[ending]}"
        path = self._folder / f"model.{name}"
        path.write_bytes(data[1:])
        self.count += 1
        try:
            self.accepted += check(path, FAMILIES[family]) is None
        except BaseException:
            digest = hashlib.sha256(data).hexdigest()[:12]
            kept = self._corpus / f"{digest}.{name}"
            kept.write_bytes(data[1:])
            print(f"{kept} breaks it", file=sys.stderr, flush=True)
            raise


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Bytes changed, removed, repeated, or replaced by those of another file."""
    changed = bytearray(data)
    for _ in range(1 << rng.randrange(4)):
        place = rng.randrange(1, max(len(changed), 2))
        length = rng.choice((1, 2, 4, 8, rng.randrange(1, 200)))
        kind = rng.randrange(7)
        if kind == 0:
            changed[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            with contextlib.suppress(IndexError):
                changed[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:
            changed[place:place] = changed[place : place + length]
        elif kind == 4:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            changed[place : place + length] = other[start : start + length]
        elif kind == 5:
            changed[place : place + length] = rng.choice((b"\x00", b"\xff", b"\x80")) * length
        else:
            del changed[place:]
    return bytes(changed[:LARGEST])


def search(target: Target, paths: list[Path], seconds: float, seed: int) -> None:
    """Mutates files for so many seconds."""
    rng = random.Random(seed)
    datas = [target.data(path) for path in paths]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        target(mutated(rng.choice(datas), datas, rng))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where to leave what breaks")
    parser.add_argument("--found", type=Path, help="where atheris keeps what reaches new code")
    parser.add_argument("--take", type=int, metavar="N", help="put N of --found into --corpus")
    parser.add_argument("--format", nargs="+", choices=("pb", "hdf5"), default=["pb", "hdf5"])
    parser.add_argument("--mutations", action="store_true", help="without atheris")
    args = parser.parse_args()
    endings = tuple(f".{name}" for name in args.format)
    try:
        import atheris
    except ImportError:
        args.mutations = True
    instrumented = contextlib.nullcontext()
    if not args.mutations:
        instrumented = atheris.instrument_imports(include=["tf_ls.files"])
    with instrumented:
        from tf_ls import files

        files.PRECISIONS  # noqa: B018  imported, with all that it needs
    memory = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (memory + MEMORY, resource.RLIM_INFINITY))
    if args.take is not None:
        take(args.found, args.corpus, endings, args.take)
        return
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        target = Target(Path(folder), args.corpus, endings)
        paths = seeds(endings)
        if args.mutations:
            search(target, paths, args.seconds, args.seed)
            print(f"mutations: {target.count} files, {target.accepted} of them read")
            return
        found = args.found or Path(folder) / "found"
        begin = Path(folder) / "begin"
        found.mkdir(exist_ok=True)
        begin.mkdir()
        for i, path in enumerate(paths):
            (begin / str(i)).write_bytes(target.data(path))
        options = [
            f"-max_total_time={args.seconds:.0f}",
            f"-max_len={LARGEST}",
            "-rss_limit_mb=2048",
            f"-seed={args.seed + 1}",
            f"-artifact_prefix={folder}/",
        ]
        atheris.Setup([sys.argv[0], *options, str(found), str(begin)], target)
        atheris.Fuzz()


def take(found: Path, corpus: Path, endings: tuple[str, ...], count: int) -> None:
    """Puts files that atheris has found into the corpus; the smallest first."""
    datas = sorted((path.read_bytes() for path in found.iterdir()), key=len)
    for data in [data for data in datas if len(data) > 1][:count]:
        ending, family = divmod(data[0] % (3 * len(endings)), 3)
        digest = hashlib.sha256(data).hexdigest()[:12]
        (corpus / f"{digest}.{FAMILIES[family]}{endings[ending]}").write_bytes(data[1:])


def memory_folder() -> Optional[str]:
    """A folder of a file system in memory, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    main()
