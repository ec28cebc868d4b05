"""Training NeurST's Transformer on a GPU: stock NeurST, with XLA, PyTorch and tf_ls in one run.

    python benchmarks/gpu_training.py --write-lengths lengths.txt --data build/demo
    python benchmarks/gpu_training.py --lengths lengths.txt [--cells ...] [--contenders ...]

A whole step: forward and backward pass, loss over a vocabulary of 32,000 words, Adam; in float16
with the loss scaled dynamically, and tf_ls in bfloat16 as well. Cells named 128x32 are batches of
128 sentences of 32 words on both sides, without padding; PyTorch gets no mask there. Cells named 4k
and 16k are NeurST's batches of a corpus, 16 of an epoch; their random words have the lengths that
`--write-lengths` takes from the demo's work folder. TensorFlow has a graph for each fixed shape and
one for all batches of a corpus; XLA is left out there, because it compiles anew for every shape,
and PyTorch compiles for dynamic shapes.

Tokens per second count both sides without padding. The ceiling is the card's data sheet, dense
float16, and the products of the model alone. Peak memory is that of the tensors of a step that are
alive together, weights and optimizer among them, as the framework's allocator counts it; what XLA
needs in between is in it.

A process for each contender and model (base on fixed shapes, big, base on the corpus). Cell by
cell `--at-once` of them get ready side by side, compiling for a minute or two; each then waits
while another one is measured, in turn, `--rounds` times. Steps are timed for two seconds, 50 steps
at the most. A cell's figures are the median of its rounds. What is measured is printed at once and
appended to `--out`; `--report` prints the table of such a file, of several runs as well.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
import training_batches
from training_batches import Batch
from workers import Worker, answer_lines, contender_environment, last_words

VOCAB_SIZE = 32000
CORPUS_BATCHES = 16


class Model(NamedTuple):
    """A hyperparameter set of NeurST, and what is in it."""

    hparams_set: str
    hidden: int
    heads: int
    filter_size: int
    layers: int
    dropout: float
    vocab_size: int = VOCAB_SIZE


class Cell(NamedTuple):
    """A model, and sentences times words, or NeurST's batch_size in tokens."""

    model: str
    sentences: int = 0
    length: int = 0
    tokens: int = 0


MODELS = {
    "base": Model("transformer_base", 512, 8, 2048, 6, 0.1),
    "big": Model("transformer_big", 1024, 16, 4096, 6, 0.3),
    "tiny": Model("transformer_32_1e_1d_2h", 32, 2, 128, 1, 0.1, vocab_size=200),
}
CELLS = {
    "base-128x32": Cell("base", 128, 32),
    "base-32x32": Cell("base", 32, 32),
    "base-128x128": Cell("base", 128, 128),
    "base-16x512": Cell("base", 16, 512),
    "big-128x32": Cell("big", 128, 32),
    "big-64x128": Cell("big", 64, 128),
    "base-4k": Cell("base", tokens=4096),
    "base-16k": Cell("base", tokens=16384),
    # To try this script with --device cpu.
    "tiny-4x8": Cell("tiny", 4, 8),
    "tiny-256": Cell("tiny", tokens=256),
}
# In the order in which they are prepared, three by three: the two that compile for long side by
# side, and tf_ls, which is to be compared with them, in turn with both.
CONTENDERS = ("stock-xla", "torch-compiled", "tf_ls", "stock", "torch", "tf_ls-bfloat16")
# TFLOP/s of dense float16 products, NVIDIA's data sheets; the first name that fits.
PEAKS = {
    "H200 NVL": 835,
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "V100": 125,
}


def main() -> None:
    args = parse_arguments()
    if args.worker:
        work(args.worker, args)
    elif args.write_lengths:
        subwords = args.data / "subwords"
        files = subwords / "train.source", subwords / "train.target"
        pairs = training_batches.write_lengths(*files, args.write_lengths)
        print(f"{args.write_lengths}: the lengths of {pairs:,} sentence pairs")
    elif args.report:
        results = [json.loads(line) for line in args.report.read_text().splitlines()]
        sys.exit(report(results, args.peak_tflops))
    else:
        sys.exit(report(measure_all(args), args.peak_tflops))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cells", nargs="+", choices=CELLS, default=[c for c in CELLS if "tiny" not in c]
    )
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--lengths", type=Path, help="what --write-lengths wrote")
    parser.add_argument("--out", type=Path, help="append results here, JSON lines")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=2, help="of measuring a round, at the most"
    )
    parser.add_argument("--at-once", type=int, default=3, help="contenders prepared side by side")
    parser.add_argument("--timeout", type=float, default=400, help="seconds to prepare")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--peak-tflops", type=float, help="of a card whose name is not known here")
    parser.add_argument(
        "--torch-python",
        type=shlex.split,
        default=[sys.executable],
        help="the command that starts a Python with PyTorch, if it is not this one",
    )
    parser.add_argument("--report", type=Path, help="print the table of an --out file")
    parser.add_argument("--write-lengths", type=Path, help="write the lengths of --data, and end")
    parser.add_argument("--data", type=Path, help="the work folder of the demo (`make demo` once)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write_lengths and not (args.data and (args.data / "subwords").exists()):
        parser.error("--write-lengths needs the work folder of the demo as --data")
    if not (args.write_lengths or args.report or args.lengths):
        of_corpus = [cell for cell in args.cells if CELLS[cell].tokens]
        if of_corpus and args.cells != parser.get_default("cells"):
            parser.error(f"{', '.join(of_corpus)} need --lengths")
        elif of_corpus:
            print(f"Without --lengths, without {' and '.join(of_corpus)}.")
            args.cells = [cell for cell in args.cells if cell not in of_corpus]
    return args


# --- The process that starts others, one after the other asks them to measure, and reports.


def measure_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    start = time.perf_counter()
    groups: dict[tuple[str, bool], list[str]] = {}
    for name in args.cells:
        groups.setdefault((CELLS[name].model, CELLS[name].tokens > 0), []).append(name)
    results = []
    for (_, of_corpus), cells in groups.items():
        contenders = [
            c for c in CONTENDERS if c in args.contenders and not (of_corpus and c == "stock-xla")
        ]
        for first in range(0, len(contenders), args.at_once):
            side_by_side = contenders[first : first + args.at_once]
            for result in measure_side_by_side(side_by_side, cells, args):
                results.append(result)
                show(result)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    print(f"{time.perf_counter() - start:.0f} s in all")
    return results


def measure_side_by_side(contenders: list[str], cells: list[str], args: argparse.Namespace):
    """Yields a result for each contender and cell."""
    workers = [start_worker(contender, cells, args) for contender in contenders]
    try:
        for cell in cells:
            for worker in workers:
                worker.tell("prepare", cell)
            answers = [[worker.answer()] for worker in workers]
            for _ in range(args.rounds):
                for worker, heard in zip(workers, answers):
                    if "error" not in heard[-1]:
                        worker.tell("measure", cell)
                        heard.append(worker.answer())
            for contender, (prepared, *rounds) in zip(contenders, answers):
                yield summarize(contender, cell, prepared, rounds)
    finally:
        for worker in workers:
            worker.close()


def start_worker(contender: str, cells: list[str], args: argparse.Namespace) -> Worker:
    """A process that prepares a contender for cells of one model and measures, when told to."""
    python = args.torch_python if contender.startswith("torch") else [sys.executable]
    command = [*python, __file__, "--worker", contender, "--cells", *cells]
    command += ["--seconds", str(args.seconds), "--device", args.device]
    if args.lengths:
        command += ["--lengths", str(args.lengths)]
    return Worker(command, contender_environment(contender), args.timeout)


def summarize(
    contender: str, cell: str, prepared: dict[str, Any], rounds: list[dict[str, Any]]
) -> dict[str, Any]:
    """One result of what a worker said when it was ready, and of each round."""
    result = {"cell": cell, "contender": contender, "model": MODELS[CELLS[cell].model]._asdict()}
    for answer in (prepared, *rounds):
        if "error" in answer:
            return {**result, "error": answer["error"]}
    seconds = [answer["seconds"] for answer in rounds]
    middle = statistics.median(seconds)
    peaks = [answer["peak_bytes"] for answer in rounds]
    return {
        **result,
        **prepared,
        "milliseconds": 1e3 * middle,
        "rounds": [round(1e3 * s, 4) for s in seconds],
        "tokens_per_second": prepared["tokens"] / middle,
        "flops_per_second": prepared["flops"] / middle,
        "peak_bytes": None if None in peaks else max(peaks),
        "loss": rounds[-1]["loss"],
    }


def show(result: dict[str, Any]) -> None:
    """Prints one result at once."""
    name = f"{result['cell']:13} {result['contender']:15}"
    if "error" in result:
        print(f"{name} failed: {last_words(result['error'])}", flush=True)
        return
    slowest, fastest = max(result["rounds"]), min(result["rounds"])
    print(
        f"{name} {result['milliseconds']:9.2f} ms ({fastest:.2f} to {slowest:.2f})"
        f" {result['tokens_per_second']:9,.0f} tokens/s, loss {result['loss']:.3f},"
        f" ready in {result['prepare_seconds']:.0f} s",
        flush=True,
    )


def report(results: list[dict[str, Any]], peak_tflops: Optional[float]) -> int:
    """Prints the table; returns the exit status, 1 if anything failed."""
    latest = {(r["cell"], r["contender"]): r for r in results}
    good = {key: r for key, r in latest.items() if "error" not in r}
    for line in sorted({f"{r['device']}, {r['software']}" for r in good.values()}):
        print(line)
    head = ("cell", "contender", "tokens/s", "ms", "peak GiB", "of ceiling", "tf_ls is faster")
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for cell in CELLS:
        for contender in CONTENDERS:
            result = good.get((cell, contender))
            if result is None:
                continue
            peak, ceiling = result["peak_bytes"], peak_tflops or ceiling_of(result["device"])
            ours = good.get((cell, "tf_ls"))
            row = [cell, contender, f"{result['tokens_per_second']:,.0f}"]
            row.append(f"{result['milliseconds']:.2f}")
            row.append("-" if peak is None else f"{peak / 2**30:.2f}")
            row.append(f"{result['flops_per_second'] / ceiling / 1e12:.1%}" if ceiling else "-")
            faster = ours["tokens_per_second"] / result["tokens_per_second"] if ours else None
            row.append("-" if faster is None else f"{faster:.2f} times")
            print("| " + " | ".join(row) + " |")
    failed = [r for r in latest.values() if "error" in r]
    for result in failed:
        print(f"{result['cell']} {result['contender']} failed: {last_words(result['error'])}")
    return 1 if failed or not good else 0


def ceiling_of(device: str) -> Optional[float]:
    """TFLOP/s of the card's data sheet."""
    return next((rate for name, rate in PEAKS.items() if name in device), None)


def flops(model: Model, batch: Batch) -> float:
    """Of the products of a step, backward pass included, of tokens alone.

    A product with weights is 2 flops forward and 4 backward for every weight and row; attention 4
    and 8 for every pair and hidden unit, and half of the pairs where it is causal.
    """
    s, t = batch.source_lengths.astype(float), batch.target_lengths.astype(float)
    h = model.hidden
    ffn = 2 * h * model.filter_size
    # Keys and values of cross-attention are made of the source's rows.
    source_weights = model.layers * (4 * h * h + ffn + 2 * h * h)
    target_weights = model.layers * (4 * h * h + ffn + 2 * h * h) + h * model.vocab_size
    pairs = model.layers * (s * s + t * (t + 1) / 2 + s * t).sum()
    return 6 * (s.sum() * source_weights + t.sum() * target_weights) + 12 * h * pairs


# --- The process that measures.


def work(contender: str, args: argparse.Namespace) -> None:
    """Does what it is told, line by line: prepares a cell, or measures one."""

    def start() -> Callable[[list[str]], dict[str, Any]]:
        model = MODELS[CELLS[args.cells[0]].model]
        of_corpus = CELLS[args.cells[0]].tokens > 0
        kind = TorchContender if contender.startswith("torch") else NeurSTContender
        trained = kind(contender, model, of_corpus, args.device)
        timers: dict[str, StepTimer] = {}

        def respond(words: list[str]) -> dict[str, Any]:
            task, cell = words
            if task == "measure":
                return timers[cell].measure(args.seconds)
            data = make_batches(CELLS[cell], model, args.lengths)
            timers[cell] = StepTimer(trained, model, data)
            return timers[cell].describe()

        return respond

    answer_lines(start)


def make_batches(cell: Cell, model: Model, lengths: Optional[Path]) -> list[Batch]:
    if cell.tokens:
        pairs = training_batches.read_lengths(lengths)
        return training_batches.corpus_batches(pairs, cell.tokens, CORPUS_BATCHES, model.vocab_size)
    generator = np.random.default_rng(0)
    pairs = [(cell.length, cell.length)] * cell.sentences
    return [training_batches.random_batch(generator, pairs, cell.length, model.vocab_size)]


class StepTimer:
    """Steps of a contender on batches that lie where it reads them, warmed up."""

    def __init__(self, contender, model: Model, data: list[Batch]):
        start = time.perf_counter()
        self._contender = contender
        self._data = [contender.load(batch) for batch in data]
        self._first_loss = self._take(1)
        self._take(self._whole_passes(3))  # libraries choose how to multiply every new shape
        self._prepare_seconds = time.perf_counter() - start
        start = time.perf_counter()
        steps = self._whole_passes(3)
        self._take(steps)
        self._seconds = (time.perf_counter() - start) / steps
        self._tokens = sum(batch.tokens for batch in data) / len(data)
        self._flops = sum(flops(model, batch) for batch in data) / len(data)

    def describe(self) -> dict[str, Any]:
        """What ran where, tokens and products of a step, and how long it took to get ready."""
        return {
            "device": self._contender.device_name,
            "software": self._contender.software,
            "tokens": self._tokens,
            "flops": self._flops,
            "prepare_seconds": self._prepare_seconds,
        }

    def measure(self, seconds: float) -> dict[str, Any]:
        """Seconds of a step, timed for so long, 50 steps at the most, and its peak memory."""
        steps = self._whole_passes(min(50, math.ceil(seconds / self._seconds)))
        self._take(1)
        self._contender.reset_peak()
        start = time.perf_counter()
        loss = self._take(steps)
        elapsed = time.perf_counter() - start
        if not loss < self._first_loss + 1:
            raise RuntimeError(f"the loss went from {self._first_loss} to {loss}")
        return {
            "seconds": elapsed / steps,
            "peak_bytes": self._contender.peak_bytes(),
            "loss": loss,
        }

    def _take(self, steps: int) -> float:
        """Takes steps and waits for the last one's loss, and so for all of them."""
        for i in range(steps):
            loss = self._contender.step(self._data[i % len(self._data)])
        return self._contender.wait(loss)

    def _whole_passes(self, steps: int) -> int:
        return -(-steps // len(self._data)) * len(self._data)


class NeurSTContender:
    """NeurST, stock or on tf_ls, as TF_LS_DISABLE says."""

    def __init__(self, contender: str, model: Model, any_shape: bool, device: str):
        import neurst_step

        self._tf = tf = neurst_step.tf
        self._on_gpu = device == "gpu"
        self._fused = contender.startswith("tf_ls")
        gpus = tf.config.list_physical_devices("GPU")
        if self._on_gpu and not gpus:
            raise RuntimeError("TensorFlow sees no GPU")
        self.device_name = "CPU"
        if self._on_gpu:
            self.device_name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
        else:
            tf.config.set_visible_devices([], "GPU")
        self.software = f"TensorFlow {tf.__version__}"
        self._step = neurst_step.NeurSTStep(
            model.hparams_set,
            model.vocab_size,
            # Where everything that counts is fused and in bfloat16, no loss needs scaling.
            dtype="float32" if contender == "tf_ls-bfloat16" else "float16",
            xla=contender == "stock-xla",
            any_shape=any_shape,
        )

    def load(self, batch: Batch) -> Any:
        # Where NeurST's trainer has a batch: on the GPU, and with tf_ls in host memory.
        with self._tf.device("CPU:0" if self._fused or not self._on_gpu else "GPU:0"):
            ids = [self._tf.constant(side) for side in (batch.source, batch.target)]
        if self._step.is_fused(*ids) != self._fused:
            raise RuntimeError(f"NeurST runs {'stock' if self._fused else 'fused'}")
        return ids

    def step(self, ids: Any) -> Any:
        return self._step(*ids)

    def wait(self, loss: Any) -> float:
        return float(loss)

    def reset_peak(self) -> None:
        if self._on_gpu:
            self._tf.config.experimental.reset_memory_stats("GPU:0")

    def peak_bytes(self) -> Optional[int]:
        if not self._on_gpu:
            return None
        return self._tf.config.experimental.get_memory_info("GPU:0")["peak"]


class TorchContender:
    """PyTorch, eager or compiled."""

    def __init__(self, contender: str, model: Model, any_shape: bool, device: str):
        import torch
        import torch_transformer

        self._torch = torch
        self._ignored = torch_transformer.IGNORED
        self._device = "cuda" if device == "gpu" else "cpu"
        self.device_name = torch.cuda.get_device_name() if device == "gpu" else "CPU"
        self.software = f"PyTorch {torch.__version__}"
        torch.manual_seed(1)
        network = torch_transformer.Transformer(*model[1:])
        shapes = "dynamic" if any_shape else "static"
        compiled = shapes if contender == "torch-compiled" else None
        self._step = torch_transformer.TorchStep(network, self._device, compiled)
        self._bos = model.vocab_size - 2

    def load(self, batch: Batch) -> Any:
        torch = self._torch
        source, target, source_lengths, target_lengths = (
            torch.from_numpy(part).to(self._device) for part in batch
        )
        begin = torch.full_like(target[:, :1], self._bos)
        mask = torch.arange(source.shape[1], device=self._device) < source_lengths[:, None]
        padding = torch.arange(target.shape[1], device=self._device) >= target_lengths[:, None]
        return (
            source,
            torch.cat([begin, target[:, :-1]], dim=1),
            target.masked_fill(padding, self._ignored),
            None if mask.all() else mask[:, None, None, :],
        )

    def step(self, inputs: Any) -> Any:
        return self._step(*inputs)

    def wait(self, loss: Any) -> float:
        return loss.item()

    def reset_peak(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> Optional[int]:
        return self._torch.cuda.max_memory_allocated() if self._device == "cuda" else None


if __name__ == "__main__":
    main()
