"""Training NeurST's Transformer, stock and on tf_ls, side by side.

    python benchmarks/neurst_training.py [--cells demo base] [--modes stock float32 bfloat16]

Every cell is a model and a stream of batches as NeurST makes them: sentences of like lengths side
by side, about a third of the positions padding. Each mode runs in processes of its own, in turn
with the others for several rounds, so that a machine that is slow for a while is slow for all of
them; the table gives medians over rounds. Tokens are those of source and target that are no
padding. Peak memory is the process's, TensorFlow's own some 400 MB included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
from training_batches import Batch, random_batch
from workers import contender_environment


class Cell(NamedTuple):
    """A model, NeurST's hyperparameter set, and the batches to train it on."""

    hparams_set: str
    vocab_size: int
    tokens: int  # positions a batch, padding included, each side
    lengths: tuple[int, ...]  # padded lengths that take turns


CELLS = {
    "demo": Cell("transformer_128_2e_2d_4h", 8000, 4096, (8, 12, 16, 24, 32, 48)),
    "short": Cell("transformer_128_2e_2d_4h", 8000, 1024, (8,)),
    "long": Cell("transformer_128_2e_2d_4h", 8000, 4096, (256,)),
    "base": Cell("transformer_base", 8000, 2048, (32,)),
    "base-128": Cell("transformer_base", 8000, 2048, (128,)),
    "base-32k": Cell("transformer_base", 32000, 1024, (32,)),
}
# What workers.py calls them.
MODES = {"stock": "stock", "float32": "tf_ls", "bfloat16": "tf_ls-bfloat16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of measuring a round")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(CELLS[args.worker[1]], args.seconds)))
        return
    print(f"{'cell':10} {'mode':10} {'tokens/s':>9} {'times stock':>12} {'peak MB':>8}  range")
    for cell in args.cells:
        results: dict[str, list[dict[str, float]]] = {mode: [] for mode in args.modes}
        for _ in range(args.rounds):
            for mode in args.modes:
                results[mode].append(run_worker(mode, cell, args.seconds))
        report(cell, results)


def report(cell: str, results: dict[str, list[dict[str, float]]]) -> None:
    for mode, rounds in results.items():
        speeds = [r["tokens_per_second"] for r in rounds]
        # Round by round, so that what slowed a whole round does not count.
        ratio = "-"
        if "stock" in results:
            stock = [r["tokens_per_second"] for r in results["stock"]]
            ratio = f"{statistics.median(a / b for a, b in zip(speeds, stock)):.2f}"
        memory = statistics.median(r["peak_megabytes"] for r in rounds)
        print(
            f"{cell:10} {mode:10} {statistics.median(speeds):9.0f} {ratio:>12} {memory:8.0f}"
            f"  {min(speeds):.0f} to {max(speeds):.0f}",
            flush=True,
        )


def run_worker(mode: str, cell: str, seconds: float) -> dict[str, float]:
    environment = {**contender_environment(MODES[mode]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--worker", mode, cell, "--seconds", str(seconds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{mode} failed on {cell}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(cell: Cell, seconds: float) -> dict[str, float]:
    from neurst_step import NeurSTStep

    step = NeurSTStep(cell.hparams_set, cell.vocab_size)
    generator = np.random.default_rng(0)

    def batch(length: int) -> Batch:
        shape = cell.tokens // length, 2
        pairs = generator.integers(max(1, length // 3), length + 1, shape)
        pairs[0] = length
        return random_batch(generator, pairs, length, cell.vocab_size)

    batches = [batch(length) for length in cell.lengths]
    for parts in batches:  # traces, and compiles products
        first = float(step(parts.source, parts.target))
    steps = tokens = 0
    start = time.perf_counter()
    while steps < len(batches) or time.perf_counter() - start < seconds:
        parts = batches[steps % len(batches)]
        loss = float(step(parts.source, parts.target))
        tokens += parts.tokens
        steps += 1
    elapsed = time.perf_counter() - start
    if not loss < first + 1:
        sys.exit(f"the loss went from {first} to {loss}")
    return {
        "tokens_per_second": tokens / elapsed,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
