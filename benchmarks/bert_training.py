"""Training transformers' TFBertModel on the CPU: its own layers, and with tf_ls.accelerate.

    python benchmarks/bert_training.py [--cells ...] [--contenders ...] [--layers 12] [--hidden 768]

A whole step: forward and backward pass with dropout, a classifier on the pooled state, Adam. Cells
are sentences x positions; of "-half" cells, half of the positions are padding, sentences being of
all lengths. "stock" computes padding, "tf_ls" removes it, "tf_ls-dense" computes it too
(remove_padding=False).

A process for each contender; all are made ready, and then measured in turn, `--rounds` times. A
figure is the median of its rounds, memory the most that the process had resident, Python and
TensorFlow included.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from typing import Any, Callable, NamedTuple

import numpy as np
from workers import Worker, answer_lines, last_words

CONTENDERS = ("stock", "tf_ls", "tf_ls-dense")
VOCAB_SIZE = 30522


class Cell(NamedTuple):
    """A batch, half of whose positions may be padding."""

    sentences: int
    length: int
    half: bool


def parse_cell(text: str) -> Cell:
    """The cell that a text such as 8x128 or 8x128-half names."""
    size, _, half = text.partition("-")
    sentences, length = map(int, size.split("x"))
    if half not in ("", "half"):
        raise ValueError(f"expected SENTENCESxLENGTH or SENTENCESxLENGTH-half, got {text}")
    return Cell(sentences, length, bool(half))


def make_batch(cell: Cell) -> dict[str, np.ndarray]:
    """Random ids and an attention mask; sentences of a half cell have lengths 1/8 to 7/8."""
    lengths = np.full(cell.sentences, cell.length)
    if cell.half:
        lengths = np.linspace(cell.length / 8, cell.length * 7 / 8, cell.sentences).round()
    generator = np.random.default_rng(1)
    ids = generator.integers(1000, VOCAB_SIZE, [cell.sentences, cell.length], dtype=np.int32)
    mask = (np.arange(cell.length) < lengths[:, None]).astype(np.int32)
    return {"input_ids": ids * mask, "attention_mask": mask}


def make_step(contender: str, layers: int, hidden: int) -> Callable[..., Any]:
    """A function of a batch's tensors that trains on it and returns the loss."""
    import tensorflow as tf
    from transformers import BertConfig, TFBertForSequenceClassification
    from transformers.modeling_tf_utils import keras

    import tf_ls

    config = BertConfig(
        vocab_size=VOCAB_SIZE,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
    )
    model = TFBertForSequenceClassification(config)
    if contender != "stock":
        tf_ls.accelerate(model, remove_padding=contender == "tf_ls")
    optimizer = keras.optimizers.Adam(1e-5)

    @tf.function
    def step(input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            logits = model(inputs, training=True).logits
            labels = tf.zeros_like(logits[:, 0], tf.int32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return step


def work(args: argparse.Namespace) -> None:
    def start() -> Callable[[list[str]], dict[str, Any]]:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        step = make_step(args.worker, args.layers, args.hidden)
        batches = {
            cell: {name: tf.constant(value) for name, value in make_batch(parse_cell(cell)).items()}
            for cell in args.cells
        }

        def respond(words: list[str]) -> dict[str, Any]:
            (cell,) = words
            began = time.perf_counter()
            float(step(**batches[cell]))
            seconds = time.perf_counter() - began
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            return {"seconds": seconds, "megabytes": resident}

        return respond

    answer_lines(start)


def measure(args: argparse.Namespace) -> int:
    """Prints a table; returns 1 if a contender failed."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2")
    failed = 0
    print("| batch | contender | s a step | times stock | MB |\n|---|---|---|---|---|")
    # Memory is the most that a process ever had, so a cell has processes of its own.
    for cell in args.cells:
        workers = {}
        for contender in args.contenders:
            options = [f"--layers={args.layers}", f"--hidden={args.hidden}"]
            options += [f"--threads={args.threads}", "--cells", cell, "--worker", contender]
            workers[contender] = Worker(
                [sys.executable, __file__, *options], environment, args.timeout
            )
        answers: dict[str, list[dict[str, Any]]] = {contender: [] for contender in workers}
        for _ in range(args.rounds + 1):  # the first traces the function, and does not count
            for contender, worker in workers.items():
                if not answers[contender] or "error" not in answers[contender][-1]:
                    answers[contender].append(worker.ask(cell))
        for worker in workers.values():
            worker.close()
        failed |= report(cell, answers)
    return failed


def report(cell: str, answers: dict[str, list[dict[str, Any]]]) -> int:
    medians: dict[str, float] = {}
    failed = 0
    for contender, heard in answers.items():
        if "error" in heard[-1]:
            print(f"| {cell} | {contender} | failed: {last_words(heard[-1]['error'])} | | |")
            failed = 1
            continue
        seconds = medians[contender] = statistics.median(a["seconds"] for a in heard[1:])
        times = f"{medians['stock'] / seconds:.2f}" if "stock" in medians else ""
        print(f"| {cell} | {contender} | {seconds:.3f} | {times} | {heard[-1]['megabytes']:.0f} |")
    sys.stdout.flush()
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=["8x128", "8x128-half"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=400, help="seconds to wait for a step")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
    else:
        sys.exit(measure(args))


if __name__ == "__main__":
    main()
