"""How far NeurST's losses on tf_ls are from stock NeurST's, and how far stock's are from its own.

    python benchmarks/neurst_agreement.py --data build/demo losses [--steps 200]
    python benchmarks/neurst_agreement.py --data build/demo curves [--steps 800]

`--data` is the work folder of the demo (`make demo` once), whose corpus and subwords are used.

losses: the same batches, the same seed, no dropout, through NeurST's own command line: stock NeurST
on one thread, on two, and on two without oneDNN, and tf_ls on two. How far stock is from itself is
the yardstick for tf_ls. (On two cores with TensorFlow 2.21 the number of threads changed nothing to
the last bit; without oneDNN, TensorFlow adds floating-point numbers in another order.)

curves: with dropout, whose masks cannot be the same: two seeds each of stock NeurST and of tf_ls,
the loss while training, and the test set's BLEU.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "translation"
NEURST = [sys.executable, "-m", "neurst.cli.run_exp"]
COMMON = ["--hparams_set", "transformer_128_2e_2d_4h", "--dtype", "float32"]
COMMON += ["--distribution_strategy", "none"]
RATES = ("attention_dropout_rate", "ffn_dropout_rate", "layer_postprocess_dropout_rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("losses").add_argument("--steps", type=int, default=200)
    commands.add_parser("curves").add_argument("--steps", type=int, default=800)
    args = parser.parse_args()
    if not (args.data / "task.yml").exists():
        parser.error(f"{args.data} is no work folder of the demo: run `make demo` first")
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(args.data.resolve(), Path(folder))
        if args.command == "losses":
            compare_losses(runs, args.steps)
        else:
            compare_curves(runs, args.steps)


def compare_losses(runs: Runs, steps: int) -> None:
    rates = [f"--{stack}.{rate}=0.0" for stack in ("encoder", "decoder") for rate in RATES]
    losses = {
        name: runs.train(name, stock, threads, 1, steps, 1, more=rates, **variables)
        for name, stock, threads, variables in (
            ("stock, one thread", True, 1, {}),
            ("stock, two threads", True, 2, {}),
            ("stock without oneDNN", True, 2, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
            ("tf_ls, two threads", False, 2, {}),
        )
    }
    expected = losses["stock, one thread"]
    print(f"Largest and mean difference of {steps} losses from stock NeurST on one thread:")
    for name, values in losses.items():
        differences = [abs(a - b) for a, b in zip(values, expected)]
        mean = sum(differences) / len(differences)
        print(f"  {name:20} {max(differences):.2e}  {mean:.2e}   last loss {values[-1]:.5f}")


def compare_curves(runs: Runs, steps: int) -> None:
    every = max(1, steps // 8)
    for seed in (1, 2):
        for name, stock in (("stock", True), ("tf_ls", False)):
            label = f"{name}-{seed}"
            curve = runs.train(label, stock, 2, seed=seed, steps=steps, every=every)
            bleu = runs.translate(label, stock)
            shown = " ".join(f"{loss:.3f}" for loss in curve)
            print(f"{label:8} BLEU {bleu:5.2f}   loss every {every} steps: {shown}", flush=True)


class Runs:
    """NeurST's command line on the demo's data, from a folder of its own."""

    def __init__(self, data: Path, folder: Path):
        self.data = data
        self.folder = folder
        for name in ("corpus", "subwords", "task.yml"):
            (folder / name).symlink_to(data / name)

    def train(
        self,
        name: str,
        stock: bool,
        threads: int,
        seed: int,
        steps: int,
        every: int,
        more: list[str] | None = None,
        **variables: str,
    ) -> list[float]:
        """Trains, and returns the mean loss of every `every` steps."""
        module = self.folder / f"seed_{seed}.py"
        module.write_text(f"import tensorflow as tf\n\ntf.keras.utils.set_random_seed({seed})\n")
        command = [*COMMON, "--config_paths", f"{EXAMPLE / 'train.yml'},task.yml"]
        command += ["--model_dir", name, "--include", module.stem, "--train_steps", str(steps)]
        command += ["--summary_steps", str(every), "--save_checkpoint_steps", str(steps)]
        log = self.run(command + (more or []), stock, threads, **variables)
        # NeurST logs the mean over all steps so far.
        pairs = re.findall(r"\{'step': (\d+), .*?'loss': (?:[\w.]+\()?([-+.\w]+)", log)
        if len(pairs) != steps // every:
            sys.exit(f"expected {steps // every} losses in NeurST's log, got {len(pairs)}")
        sums = [(int(step), int(step) * float(mean)) for step, mean in pairs]
        steps_and_sums = [(0, 0.0), *sums]
        return [
            (after - before) / (last - first)
            for (first, before), (last, after) in zip(steps_and_sums, sums)
        ]

    def translate(self, name: str, stock: bool) -> float:
        """The test set's BLEU."""
        command = [*COMMON[2:], "--config_paths", str(EXAMPLE / "predict.yml")]
        log = self.run([*command, "--model_dir", name, "--output_file", f"{name}.txt"], stock, 2)
        return float(re.findall(r"sacre_bleu=([\d.]+)", log)[-1])

    def run(self, arguments: list[str], stock: bool, threads: int, **variables: str) -> str:
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", **variables)
        environment["TF_NUM_INTRAOP_THREADS"] = str(threads)
        environment.pop("TF_LS_COMPUTE_DTYPE", None)
        environment.pop("TF_LS_DISABLE", None)
        if stock:
            environment["TF_LS_DISABLE"] = "1"
        done = subprocess.run(
            [*NEURST, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        fused = "run fused" in done.stdout
        if done.returncode != 0 or fused == stock:
            sys.exit(
                f"NeurST failed, or ran {'fused' if fused else 'stock'}:\n{done.stdout[-5000:]}"
            )
        return done.stdout


if __name__ == "__main__":
    main()
