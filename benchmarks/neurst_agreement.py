"""How far NeurST's losses on tf_ls are from stock NeurST's, and how far stock's are from its own.

    python benchmarks/neurst_agreement.py --data build/demo losses [--steps 200]
    python benchmarks/neurst_agreement.py --data build/demo curves [--steps 800]

`--data` is the work folder of the demo (`make demo` once), whose corpus and subwords are used.

losses: the same batches, the same seed, no dropout, through NeurST's own command line: stock NeurST
on one thread, on two, and on two without oneDNN, and tf_ls on two. How far stock is from itself is
the yardstick for tf_ls. (On two cores with TensorFlow 2.21 the number of threads changed nothing to
the last bit; without oneDNN, TensorFlow adds floating-point numbers in another order.)

curves: with dropout, whose masks cannot be the same: two seeds each of stock NeurST and of tf_ls,
the loss while training, and the test set's BLEU. Flags for NeurST's training may follow. On a GPU,
where minutes suffice for a model of base size, side by side since nothing is timed:

    python benchmarks/neurst_agreement.py --data build/demo curves --dtype float16 --seeds 1 \\
        --runs stock tf_ls tf_ls-bfloat16 --at-once 3 -- --hparams_set transformer_base \\
        --batch_size 8192 --dmodel 512 --warmup_steps 500 --initial_factor 0.5
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workers import contender_environment

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "translation"
NEURST = [sys.executable, "-m", "neurst.cli.run_exp"]
MODEL = ["--hparams_set", "transformer_128_2e_2d_4h"]
NO_STRATEGY = ["--distribution_strategy", "none"]
RUNS = ("stock", "tf_ls", "tf_ls-bfloat16")
RATES = ("attention_dropout_rate", "ffn_dropout_rate", "layer_postprocess_dropout_rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("losses").add_argument("--steps", type=int, default=200)
    curves = commands.add_parser("curves")
    curves.add_argument("--steps", type=int, default=800)
    curves.add_argument("--runs", nargs="+", choices=RUNS, default=["stock", "tf_ls"])
    curves.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    curves.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    curves.add_argument("--at-once", type=int, default=1, help="runs side by side")
    curves.add_argument(
        "--stock-search", action="store_true", help="translate with stock NeurST, whatever trained"
    )
    curves.add_argument("flags", nargs="*", help="of NeurST's training, after --")
    args = parser.parse_args()
    if not (args.data / "task.yml").exists():
        parser.error(f"{args.data} is no work folder of the demo: run `make demo` first")
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(args.data.resolve(), Path(folder))
        if args.command == "losses":
            compare_losses(runs, args.steps)
        else:
            compare_curves(runs, args)


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


def compare_curves(runs: Runs, args: argparse.Namespace) -> None:
    every = max(1, args.steps // 8)

    def train_and_translate(run: str, seed: int) -> None:
        label, stock = f"{run}-{seed}", run == "stock"
        # All that counts computes in bfloat16 then, where losses need no scaling.
        variables = {"TF_LS_COMPUTE_DTYPE": "bfloat16"} if run == "tf_ls-bfloat16" else {}
        dtype = "float32" if variables else args.dtype
        options = {"seed": seed, "steps": args.steps, "every": every, "more": args.flags}
        curve = runs.train(label, stock, 2, dtype=dtype, **options, **variables)
        if args.stock_search:
            bleu = runs.translate(label, True, dtype)
        else:
            bleu = runs.translate(label, stock, dtype, **variables)
        shown = " ".join(f"{loss:.3f}" for loss in curve)
        print(f"{label:16} BLEU {bleu:5.2f}   loss every {every} steps: {shown}", flush=True)

    with ThreadPoolExecutor(args.at_once) as pool:
        jobs = [pool.submit(train_and_translate, r, s) for s in args.seeds for r in args.runs]
        for job in jobs:
            job.result()


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
        more: Sequence[str] = (),
        dtype: str = "float32",
        **variables: str,
    ) -> list[float]:
        """Trains, and returns the mean loss of every `every` steps."""
        module = self.folder / f"seed_{seed}.py"
        module.write_text(f"import tensorflow as tf\n\ntf.keras.utils.set_random_seed({seed})\n")
        command = [*MODEL, "--dtype", dtype, *NO_STRATEGY]
        command += ["--config_paths", f"{EXAMPLE / 'train.yml'},task.yml"]
        command += ["--model_dir", name, "--include", module.stem, "--train_steps", str(steps)]
        command += ["--summary_steps", str(every), "--save_checkpoint_steps", str(steps)]
        log = self.run([*command, *more], stock, threads, **variables)
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

    def translate(self, name: str, stock: bool, dtype: str, **variables: str) -> float:
        """The test set's BLEU."""
        command = ["--dtype", dtype, *NO_STRATEGY]
        command += ["--config_paths", str(EXAMPLE / "predict.yml")]
        command += ["--model_dir", name, "--output_file", f"{name}.txt"]
        log = self.run(command, stock, 2, **variables)
        return float(re.findall(r"sacre_bleu=([\d.]+)", log)[-1])

    def run(self, arguments: list[str], stock: bool, threads: int, **variables: str) -> str:
        environment = contender_environment("stock" if stock else "tf_ls")
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        environment["TF_NUM_INTRAOP_THREADS"] = str(threads)
        environment.update(variables)
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
