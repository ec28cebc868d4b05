"""Loading model files: time and memory beside reading their bytes.

    python benchmarks/model_files.py [--megabytes 300] [--precision float32] [--rounds 5] [--cold]

Writes a Transformer of random numbers in both formats and, a process each and in turns, reads its
bytes (`read`), opens it and looks at all of its numbers as `tf_ls.files` gives them (`load`), and
copies them into arrays of their own as well (`copy`). Times are medians; memory is the highest that
the process had, beyond what it had before. Files are in the system's cache, unless --cold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tf_ls import files
from tf_ls.files.definitions import TRANSFORMER

HIDDEN, FFN, WORDS, POSITIONS, DECODER_LAYERS = 1024, 4096, 8000, 256, 2
SIZES = {"H": HIDDEN, "I": FFN, "V": WORDS, "P": POSITIONS, "L": DECODER_LAYERS}
MEGABYTE = 10**6
WORK = ("read", "load", "copy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=300, help="in float32")
    parser.add_argument("--precision", choices=files.PRECISIONS, default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="drop the file from the cache first")
    parser.add_argument("--folder", type=Path, help="where to write the files")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(*args.worker)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        model = random_model(args.megabytes * MEGABYTE)
        for ending in (".pb", ".hdf5"):
            path = files.write(model, Path(folder) / f"model{ending}", args.precision)
            print(f"{path.name}, {args.precision}: {path.stat().st_size / MEGABYTE:.0f} MB")
            report(path, [[measure(w, path, args.cold) for w in WORK] for _ in range(args.rounds)])


def random_model(size: int) -> files.Model:
    """A Transformer of as many encoder layers as make its float32 so many bytes."""
    rng = np.random.default_rng(0)
    model = files.Model("transformer", {"head_num": 16, "beam_size": 4, "trg_end_id": 2})
    layer = 0
    for part in ("src_embedding", "trg_embedding", "decoder_stack"):
        count = DECODER_LAYERS if part == "decoder_stack" else 1
        for i in range(count):
            put(model, part, f"/{i}" if part == "decoder_stack" else "", rng)
    while layer == 0 or 4 * sum(weight.count for weight in model.weights.values()) < size:
        put(model, "encoder_stack", f"/{layer}", rng)
        layer += 1
    return model


def put(model: files.Model, part: str, index: str, rng: np.random.Generator) -> None:
    for name, field in TRANSFORMER.parts[part].fields.items():
        if "G" not in field.shape:
            shape = [s if isinstance(s, int) else SIZES[s] for s in field.shape]
            model.put(f"{part}{index}/{name}", rng.random(shape, np.float32))


def measure(what: str, path: Path, cold: bool) -> dict[str, float]:
    """Seconds and bytes of a process that does it."""
    if cold:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, "--worker", what, str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def work(what: str, name: str) -> None:
    path = Path(name)
    memory = peak_memory()
    begin = time.perf_counter()
    if what == "read":
        kept = path.read_bytes()
    else:
        model = files.read(path, "transformer")
        shapes = model.shapes()
        kept = [model.float32(name, shapes) for name in shapes]
        if what == "copy":
            kept = [np.array(array) for array in kept]
    seconds = time.perf_counter() - begin
    assert len(kept)
    print(json.dumps({"seconds": seconds, "bytes": peak_memory() - memory}))


def peak_memory() -> int:
    # Not what getrusage says, which begins with what the process had before it was this program.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def report(path: Path, rounds: list[list[dict[str, float]]]) -> None:
    print(f"{'':6}{'ms':>8}{'of read':>10}{'memory, of the file':>22}")
    for i, what in enumerate(WORK):
        seconds = statistics.median(r[i]["seconds"] for r in rounds)
        # Of each round, since what else the machine does changes between them.
        ratio = statistics.median(r[i]["seconds"] / r[0]["seconds"] for r in rounds)
        memory = statistics.median(r[i]["bytes"] for r in rounds) / path.stat().st_size
        print(f"{what:6}{1000 * seconds:8.0f}{ratio:10.2f}{memory:22.2f}")


if __name__ == "__main__":
    main()
