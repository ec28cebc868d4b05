"""Beam search of NeurST's Transformer: stock NeurST, CTranslate2 and tf_ls in one run.

    python benchmarks/generation.py [--cells base-1x4 demo-8x4 ...] [--contenders ...]

A cell's name says model, sentences and beam size. Sources of 32 words without padding, 64 words
generated for each, EOS forbidden till the end, from random weights that are the same for all:
CTranslate2 gets them converted. Through NeurST's own search layer, which tf_ls takes over by
itself, and which reads the model's variables in each call; tf_ls-saved_model is the same model
exported, whose weights are prepared when it is loaded, as CTranslate2's are. On a GPU all compute
in float16. Those in int8 round the matrices of the same model, CTranslate2 when it loads them.

A process for each contender and model; they take turns, `--rounds` times, and a cell's figures are
the median of its rounds. Tokens are those of the hypotheses that are returned. The first token's
time is that of a search for one word: what is to be done before it and the first step. Peak memory
is the process's on a CPU, libraries and the searches of cells before included, and on a GPU that
of TensorFlow's allocator (CTranslate2 has no such figure). A contender in int8 is compared with
CTranslate2 in int8. The last column compares hypotheses with those of the first contender: two
beams that tie may be ranked either way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
from workers import Worker, answer_lines, contender_environment, last_words

SOURCE_LENGTH = 32
LENGTH = 64


class Model(NamedTuple):
    """A hyperparameter set of NeurST."""

    hparams_set: str
    vocab_size: int
    num_heads: int


MODELS = {
    "demo": Model("transformer_128_2e_2d_4h", 8000, 4),
    "base": Model("transformer_base", 32000, 8),
    "big": Model("transformer_big", 32000, 16),
    "tiny": Model("transformer_32_1e_1d_2h", 200, 2),
}
SAVED_MODEL = "tf_ls-saved_model"
CTRANSLATE2 = "ctranslate2"
CONTENDERS = ("stock", CTRANSLATE2, f"{CTRANSLATE2}-int8", "tf_ls", "tf_ls-bfloat16")
CONTENDERS += (SAVED_MODEL, *(f"{SAVED_MODEL}-{p}" for p in ("bfloat16", "int8", "int8_bfloat16")))
CPU_CELLS = [f"{m}-{n}x{beam}" for m in ("demo", "base") for n in (1, 8, 32) for beam in (1, 4)]
GPU_CELLS = [f"{m}-{n}x4" for m in ("base", "big") for n in (1, 8, 32, 128)]


class Cell(NamedTuple):
    model: str
    sentences: int
    beam_size: int


def main() -> None:
    args = parse_arguments()
    if args.worker:
        work(args.worker, args)
    elif args.report:
        sys.exit(report([json.loads(line) for line in args.report.read_text().splitlines()]))
    else:
        sys.exit(report(measure_all(args)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", type=cell_name, help="MODEL-SENTENCESxBEAM ...")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of CTranslate2")
    parser.add_argument("--out", type=Path, help="append results here, JSON lines")
    parser.add_argument("--report", type=Path, help="print the table of an --out file")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one answer")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.cells = args.cells or (CPU_CELLS if args.device == "cpu" else GPU_CELLS)
    return args


def cell_name(name: str) -> str:
    parse_cell(name)
    return name


def parse_cell(name: str) -> Cell:
    model, _, size = name.partition("-")
    sentences, _, beam_size = size.partition("x")
    if model not in MODELS or not sentences.isdigit() or not beam_size.isdigit():
        raise argparse.ArgumentTypeError(f"expected one of {[*MODELS]}-NxBEAM, got {name}")
    return Cell(model, int(sentences), int(beam_size))


# --- The process that starts others, one after the other asks them to measure, and reports.


def measure_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    results = []
    for model in dict.fromkeys(parse_cell(cell).model for cell in args.cells):
        with tempfile.TemporaryDirectory() as folder:
            for result in measure_model(model, Path(folder), args):
                results.append(result)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    return results


def measure_model(model: str, folder: Path, args: argparse.Namespace):
    """Yields a result for each cell of a model and each contender."""
    workers = {}
    try:
        for contender in args.contenders:
            if contender.startswith(CTRANSLATE2):
                write("stock", contender, model, folder, args)
            elif contender.startswith(SAVED_MODEL):
                write("tf_ls", contender, model, folder, args)
        for contender in args.contenders:
            workers[contender] = start_worker(contender, model, folder, args)
        for cell in args.cells:
            if parse_cell(cell).model != model:
                continue
            rounds = {c: [worker.ask("prepare", cell)] for c, worker in workers.items()}
            for _ in range(args.rounds):
                for contender, heard in rounds.items():
                    if "error" not in heard[-1]:
                        heard.append(workers[contender].ask("measure", cell))
            first = next(iter(rounds.values()))[-1].get("hypotheses")
            for contender, heard in rounds.items():
                result = summarize(cell, contender, heard, first)
                show(result)
                yield result
    finally:
        for worker in workers.values():
            worker.close()


def write(writer: str, contender: str, model: str, folder: Path, args: argparse.Namespace) -> None:
    """Has one contender's process write the model of another."""
    worker = start_worker(writer, model, folder, args)
    written = worker.ask("write", contender)
    worker.close()
    if "error" in written:
        sys.exit(f"no model for {contender}: {written['error']}")


def start_worker(contender: str, model: str, folder: Path, args: argparse.Namespace) -> Worker:
    command = [sys.executable, __file__, "--worker", contender, "--cells", f"{model}-1x1"]
    command += ["--folder", str(folder), "--device", args.device, "--threads", str(args.threads)]
    return Worker(command, contender_environment(contender), args.timeout)


def summarize(
    cell: str, contender: str, heard: list[dict[str, Any]], first: Optional[list[list[int]]]
) -> dict[str, Any]:
    result = {"cell": cell, "contender": contender}
    for answer in heard:
        if "error" in answer:
            return {**result, "error": answer["error"]}
    prepared, *rounds = heard
    seconds = statistics.median(r["seconds"] for r in rounds)
    same = np.all(np.array(rounds[-1]["hypotheses"]) == np.array(first), axis=1)
    return {
        **result,
        "software": prepared["software"],
        "seconds": seconds,
        "rounds": [round(r["seconds"], 4) for r in rounds],
        "first_seconds": statistics.median(r["first_seconds"] for r in rounds),
        "tokens_per_second": parse_cell(cell).sentences * LENGTH / seconds,
        "peak_bytes": rounds[-1]["peak_bytes"],
        "same": int(same.sum()),
        "sentences": len(same),
    }


def show(result: dict[str, Any]) -> None:
    name = f"{result['cell']:10} {result['contender']:15}"
    if "error" in result:
        print(f"{name} failed: {last_words(result['error'])}", flush=True)
        return
    print(
        f"{name} {result['tokens_per_second']:9,.0f} tokens/s, {result['seconds']:.3f} s"
        f" ({min(result['rounds']):.3f} to {max(result['rounds']):.3f})",
        flush=True,
    )


def report(results: list[dict[str, Any]]) -> int:
    """Prints the table; returns the exit status, 1 if anything failed."""
    latest = {(r["cell"], r["contender"]): r for r in results}
    good = {key: r for key, r in latest.items() if "error" not in r}
    print("\n".join(sorted({r["software"] for r in good.values()})))
    head = ("cell", "contender", "tokens/s", "s", "first token, ms", "peak MB", "times stock")
    head += ("times CTranslate2", "same")
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for (cell, contender), result in good.items():
        row = [cell, contender, f"{result['tokens_per_second']:,.0f}", f"{result['seconds']:.3f}"]
        row.append(f"{1e3 * result['first_seconds']:.1f}")
        peak = result["peak_bytes"]
        row.append("-" if peak is None else f"{peak / 1e6:,.0f}")
        suffix = "-int8" if "int8" in contender else ""
        for peer in ("stock", f"{CTRANSLATE2}{suffix}"):
            other = good.get((cell, peer))
            row.append(f"{other['seconds'] / result['seconds']:.2f}" if other else "-")
        row.append(f"{result['same']} of {result['sentences']}")
        print("| " + " | ".join(row) + " |")
    failed = [r for r in latest.values() if "error" in r]
    for result in failed:
        print(f"{result['cell']} {result['contender']} failed: {last_words(result['error'])}")
    return 1 if failed or not good else 0


# --- The process that measures.


def work(contender: str, args: argparse.Namespace) -> None:
    def start() -> Callable[[list[str]], dict[str, Any]]:
        model = MODELS[parse_cell(args.cells[0]).model]
        kind = NeurSTContender
        if contender.startswith(CTRANSLATE2):
            kind = CTranslate2Contender
        elif contender.startswith(SAVED_MODEL):
            kind = SavedModelContender
        searcher = kind(contender, model, args)

        def respond(words: list[str]) -> dict[str, Any]:
            if words[0] == "write":
                searcher.write(words[1])
                return {}
            cell = parse_cell(words[1])
            generator = np.random.default_rng(cell.sentences)
            shape = (cell.sentences, SOURCE_LENGTH)
            source = generator.integers(0, model.vocab_size - 3, shape)
            if words[0] == "prepare":
                searcher.check(cell)
            return measure(searcher, source, cell)

        return respond

    answer_lines(start)


def measure(searcher: Any, source: np.ndarray, cell: Cell) -> dict[str, Any]:
    """The times of one search, and of one for a single word."""

    def search(length: int) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        hypotheses = searcher.search(source, cell.beam_size, length)
        return hypotheses, time.perf_counter() - start

    _, first_seconds = search(1)
    hypotheses, seconds = search(LENGTH)
    if hypotheses.shape != (len(source), LENGTH):
        raise RuntimeError(f"expected {len(source)} x {LENGTH} words, got {hypotheses.shape}")
    return {
        "software": searcher.software,
        "seconds": seconds,
        "first_seconds": first_seconds,
        "hypotheses": hypotheses.tolist(),
        "peak_bytes": searcher.peak_bytes(),
    }


def peak_of_process() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class TensorFlowContender:
    """What contenders on TensorFlow have in common."""

    def __init__(self, tf: Any, args: argparse.Namespace):
        self._tf = tf
        self._on_gpu = args.device == "gpu"
        if not self._on_gpu:
            tf.config.set_visible_devices([], "GPU")
        elif not tf.config.list_physical_devices("GPU"):
            raise RuntimeError("TensorFlow sees no GPU")
        self.software = f"TensorFlow {tf.__version__}"

    def check(self, cell: Cell) -> None:
        """There is but one way."""

    def peak_bytes(self) -> int:
        if not self._on_gpu:
            return peak_of_process()
        return self._tf.config.experimental.get_memory_info("GPU:0")["peak"]


class NeurSTContender(TensorFlowContender):
    """NeurST, stock or on tf_ls, as TF_LS_DISABLE says."""

    def __init__(self, contender: str, model: Model, args: argparse.Namespace):
        import neurst_search

        super().__init__(neurst_search.tf, args)
        self._model = model
        self._folder = args.folder
        self._fused = contender.startswith("tf_ls")
        dtype = "float16" if self._on_gpu and contender != "tf_ls-bfloat16" else "float32"
        self.search = neurst_search.NeurSTSearch(model.hparams_set, model.vocab_size, dtype)

    def check(self, cell: Cell) -> None:
        if self.search.is_fused(cell.beam_size, LENGTH) != self._fused:
            raise RuntimeError(f"NeurST searches {'stock' if self._fused else 'fused'}")

    def write(self, contender: str) -> None:
        """The model for another contender."""
        path = self._folder / contender
        if contender.startswith(CTRANSLATE2):
            import ctranslate2_model

            ctranslate2_model.convert(self.search.weights(), self._model.num_heads, path)
            return
        precision = contender[len(SAVED_MODEL) + 1 :]
        if self._on_gpu:
            precision = {"": "float16", "int8": "int8_float16"}.get(precision, precision)
        self.search.export(path, precision or "float32")


class SavedModelContender(TensorFlowContender):
    """What NeurST's model becomes when tf_ls exports it, in a process without NeurST."""

    def __init__(self, contender: str, model: Model, args: argparse.Namespace):
        import saved_model_search

        super().__init__(saved_model_search.tf, args)
        self.search = saved_model_search.SavedModelSearch(args.folder / contender)


class CTranslate2Contender:
    def __init__(self, contender: str, model: Model, args: argparse.Namespace):
        import ctranslate2
        import ctranslate2_model

        self._on_gpu = args.device == "gpu"
        self.software = f"CTranslate2 {ctranslate2.__version__}"
        between = "float16" if self._on_gpu else "float32"
        self.search = ctranslate2_model.CTranslate2Search(
            args.folder / contender,
            f"int8_{between}" if contender.endswith("int8") else between,
            "cuda" if self._on_gpu else "cpu",
            args.threads,
        )

    def check(self, cell: Cell) -> None:
        """There is but one way."""

    def peak_bytes(self) -> Optional[int]:
        return None if self._on_gpu else peak_of_process()


if __name__ == "__main__":
    main()
