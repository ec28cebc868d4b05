"""Contenders that do the same, a process each, in turns: who measures them, and what is measured.

A cell is what is computed at a time, by its name. A benchmark is a script that calls `main`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Protocol

import numpy as np
from workers import Worker, answer_lines, contender_environment, last_words


class Contender(Protocol):
    """Something that computes."""

    software: str
    """Its name and version."""

    def prepared(self, cell: str) -> Callable[[], Any]:
        """Returns what computes a cell's output once; all that is done once for all is done."""

    def result(self, cell: str, output: Any) -> np.ndarray:
        """Returns the numbers of an output that all contenders must agree on."""


def parser_of(description: str, cells: Sequence[str]) -> argparse.ArgumentParser:
    """Returns a parser of the arguments that all contests have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cells", nargs="+", default=list(cells))
    parser.add_argument("--contenders", nargs="+")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--calls", type=int, default=3, help="in each round, of which the best counts"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one answer")
    parser.add_argument("--out", type=Path, help="append results here, JSON lines")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def main(
    args: argparse.Namespace,
    contenders: Sequence[str],
    write_models: Callable[[Path, argparse.Namespace], None],
    make: Callable[[str, argparse.Namespace], Contender],
    difference: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    """Holds the contest, or is one of its workers; exits with 1 if anything failed.

    Args:
        args: of `parser_of`.
        contenders: their names, unless the arguments name some.
        write_models: writes to a folder what contenders read.
        make: returns the contender of a name, in a process of its own.
        difference: of a result from the first contender's, the second argument.
    """
    if args.worker:
        answer_lines(lambda: _responder(make(args.worker, args), args.calls))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder), args)
        results = _measure(args.contenders or contenders, Path(folder), args, difference)
    sys.exit(_report(results))


def _responder(contender: Contender, calls: int) -> Callable[[list[str]], dict[str, Any]]:
    def respond(words: list[str]) -> dict[str, Any]:
        task, cell = words
        call = contender.prepared(cell)
        if task == "prepare":
            result = contender.result(cell, call())
            # All of it would be much text; what is left is the same for all.
            places = np.random.default_rng(0).permutation(result.size)[:5000]
            return {"software": contender.software, "sample": result.flat[places].tolist()}
        times = []
        for _ in range(calls):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return {"seconds": min(times)}

    return respond


def _measure(
    contenders: Sequence[str],
    folder: Path,
    args: argparse.Namespace,
    difference: Callable[[np.ndarray, np.ndarray], float],
) -> list[dict[str, Any]]:
    command = [sys.executable, sys.argv[0], "--folder", str(folder), "--device", args.device]
    command += ["--calls", str(args.calls), "--threads", str(args.threads), "--worker"]
    workers = {c: Worker([*command, c], contender_environment(c), args.timeout) for c in contenders}
    results = []
    try:
        for cell in args.cells:
            answers = {name: [worker.ask("prepare", cell)] for name, worker in workers.items()}
            for _ in range(args.rounds):
                for name, heard in answers.items():
                    if "error" not in heard[-1]:
                        heard.append(workers[name].ask("measure", cell))
            wanted = next((a[0]["sample"] for a in answers.values() if "error" not in a[0]), None)
            for name, heard in answers.items():
                result = _summary(cell, name, heard, wanted, difference)
                results.append(result)
                _show(result)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    finally:
        for worker in workers.values():
            worker.close()
    return results


def _summary(
    cell: str,
    contender: str,
    answers: list[dict[str, Any]],
    wanted: list[float],
    difference: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, Any]:
    result = {"cell": cell, "contender": contender}
    for answer in answers:
        if "error" in answer:
            return {**result, "error": answer["error"]}
    prepared, *rounds = answers
    seconds = [answer["seconds"] for answer in rounds]
    return {
        **result,
        "software": prepared["software"],
        "seconds": statistics.median(seconds),
        "rounds": [round(s, 5) for s in seconds],
        "difference": float(difference(np.array(prepared["sample"]), np.array(wanted))),
    }


def _show(result: dict[str, Any]) -> None:
    name = f"{result['cell']:12} {result['contender']:20}"
    if "error" in result:
        print(f"{name} failed: {last_words(result['error'])}", flush=True)
        return
    low, high = (1e3 * bound(result["rounds"]) for bound in (min, max))
    print(
        f"{name} {1e3 * result['seconds']:9.2f} ms ({low:.2f} to {high:.2f}),"
        f" difference {result['difference']:.1e}",
        flush=True,
    )


def _report(results: list[dict[str, Any]]) -> int:
    """Prints a table of milliseconds; returns the exit status."""
    good = {(r["cell"], r["contender"]): r for r in results if "error" not in r}
    print("\n".join(sorted({r["software"] for r in good.values()})))
    contenders = list(dict.fromkeys(contender for _, contender in good))
    print("\n| cell | " + " | ".join(contenders) + " |\n|" + "---|" * (len(contenders) + 1))
    for cell in dict.fromkeys(cell for cell, _ in good):
        row = [good.get((cell, contender)) for contender in contenders]
        times = [f"{1e3 * r['seconds']:.2f}" if r else "-" for r in row]
        print(f"| {cell} | " + " | ".join(times) + " |")
    failed = sorted({(r["contender"], last_words(r["error"])) for r in results if "error" in r})
    for contender, why in failed:
        print(f"{contender} failed: {why}")
    return 1 if failed or not good else 0
