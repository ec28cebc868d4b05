#!/usr/bin/env python3
"""Trains a small English-German Transformer with NeurST on a real corpus, and translates with it.

    python examples/translation/demo.py [--steps N] [--work-dir DIR] [--source en] [--target de]

NeurST runs as its users run it, `python -m neurst.cli.run_exp ...`, and finds tf_ls by itself. For
comparison a short run of stock NeurST (TF_LS_DISABLE=1) comes first. Everything stays in the work
folder: a second call goes on training if N is larger, and otherwise shows the translations again.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

DEFAULT_STEPS = 1200
SAVE_STEPS = 100
VALIDATION_STEPS = 400
SUMMARY_STEPS = 20
STOCK_SECONDS = 110.0
STOCK_STEPS, STOCK_SUMMARY_STEPS = 100, 5
MODEL = ["--hparams_set", "transformer_128_2e_2d_4h", "--dtype", "float32"]
RUN = [*MODEL, "--distribution_strategy", "none"]
SHOWN_SENTENCES = 8
SHOWN_METRICS = {"PPL": "perplexity", "sacre_bleu": "BLEU"}


class Window(NamedTuple):
    """What NeurST's log says about the steps since the line before."""

    step: int
    loss: float
    tokens_per_second: float  # of both sides, padding not counted
    first: bool  # of its run: the time that the start takes is in it


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS, help="steps to train in all")
    parser.add_argument("--work-dir", type=Path, default=REPOSITORY / "build" / "demo")
    parser.add_argument("--source", default="en", help="source language (en)")
    parser.add_argument("--target", default="de", help="target language (de)")
    parser.add_argument("--catalogues", type=Path, help="folder of .mo or .po files, no download")
    parser.add_argument(
        "--no-stock", action="store_true", help="do without the run of stock NeurST"
    )
    arguments = parser.parse_args()
    if arguments.steps < 10:
        parser.error("--steps must be at least 10")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Demo(arguments).run()
    except RuntimeError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from the last checkpoint.")


class Demo:
    """The whole example. Each part looks first whether it is done already."""

    def __init__(self, arguments: argparse.Namespace):
        self.steps = _whole_checkpoints(arguments.steps)
        self.source = arguments.source
        self.target = arguments.target
        self.catalogues = arguments.catalogues
        self.with_stock = not arguments.no_stock
        self.folder = arguments.work_dir.resolve()
        self.model_dir = self.folder / "model"
        self.history = self.folder / "history.jsonl"

    def run(self) -> None:
        """Corpus, subwords, stock NeurST, training, translation."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.make_corpus()
        self.make_subwords()
        self.forget_another_corpus()
        stock = self.measure_stock() if self.with_stock else None
        self.train()
        metrics = self.translate()
        self.show(metrics, stock)

    def make_corpus(self) -> None:
        """Translation catalogues -> corpus/."""
        title("Corpus: translation catalogues of free software")
        command = [HERE / "corpus.py", "corpus", "--source", self.source, "--target", self.target]
        if self.catalogues is not None:
            command += ["--catalogues", self.catalogues.resolve()]
        if subprocess.run([sys.executable, *map(str, command)], cwd=self.folder).returncode != 0:
            raise RuntimeError("there is no corpus, see above")

    def make_subwords(self) -> None:
        """corpus/ -> subwords/, and the NeurST task that names both languages."""
        title("Subwords: Moses words, 8,000 BPE merges")
        command = [HERE / "subwords.py", "corpus", "subwords"]
        command += ["--source", self.source, "--target", self.target]
        self.python(command, "subwords", show_subwords)
        task = yaml.safe_load((HERE / "task.yml").read_text())
        for side, language in (("src", self.source), ("trg", self.target)):
            # Moses knows languages by two letters.
            pipeline = task["task.params"][f"{side}_data_pipeline.params"]
            pipeline["language"] = language.split("_")[0]
        (self.folder / "task.yml").write_text(yaml.safe_dump(task))

    def forget_another_corpus(self) -> None:
        """A model of another corpus does not go with the vocabulary of this one."""
        made_for = self.folder / "model_corpus.json"
        subwords = (self.folder / "subwords" / "subwords.json").read_text()
        if self.model_dir.exists() and made_for.exists() and made_for.read_text() != subwords:
            aside = self.folder / f"model-{time.strftime('%Y%m%d-%H%M%S')}"
            self.model_dir.rename(aside)
            self.history.unlink(missing_ok=True)
            say(f"The corpus has changed: the old model is in {aside} now.")
        made_for.write_text(subwords)

    def measure_stock(self) -> Optional[float]:
        """Tokens per second of stock NeurST on the same task, over at most two minutes."""
        title("Stock NeurST for comparison: TF_LS_DISABLE=1, two minutes at most")
        result = self.folder / "stock.json"
        if result.exists():
            speed = json.loads(result.read_text())["tokens_per_second"]
            say(f"  measured before: {speed:,.0f} tokens/s (delete {result} to measure again)")
            return speed
        model_dir = self.folder / "stock_model"
        shutil.rmtree(model_dir, ignore_errors=True)
        log = TrainingLog(STOCK_STEPS, 0)
        command = self.train_command(model_dir, STOCK_STEPS, STOCK_SUMMARY_STEPS)
        self.python(command, "stock", log.read, stock=True, seconds=STOCK_SECONDS)
        shutil.rmtree(model_dir, ignore_errors=True)
        speed = steady_speed(log.windows)
        if speed is None:
            say("  too slow here to measure anything in that time")
            return None
        result.write_text(json.dumps({"tokens_per_second": speed}) + "\n")
        return speed

    def train(self) -> None:
        """subwords/ -> model/, from the last checkpoint on."""
        done = self.trained_steps()
        title(f"NeurST: {self.steps} steps, dev BLEU every {VALIDATION_STEPS}")
        if done >= self.steps:
            say(f"  The model has been trained for {done} steps already.")
            return
        if done:
            say(f"  going on from step {done}")
        command = self.train_command(self.model_dir, self.steps - done, SUMMARY_STEPS)
        configs = f"{command.pop()},{self.config('valid')}"
        command += [configs, "--eval_steps", min(VALIDATION_STEPS, self.steps)]
        say("  " + shlex.join(["python", *map(str, command)]))
        log = TrainingLog(self.steps, done)
        try:
            self.python(command, "train", log.read)
        finally:
            with self.history.open("a") as file:
                for window in log.windows:
                    file.write(json.dumps(window._asdict()) + "\n")
        if self.trained_steps() < self.steps:
            raise RuntimeError(
                f"NeurST wrote no checkpoint of step {self.steps}, see logs/train.log"
            )

    def train_command(self, model_dir: Path, steps: int, summary_steps: int) -> list:
        """NeurST's command line for `steps` more steps; its configuration files come last."""
        command = ["-m", "neurst.cli.run_exp", *RUN, "--model_dir", model_dir.name]
        command += ["--train_steps", steps, "--summary_steps", min(summary_steps, steps)]
        command += ["--save_checkpoint_steps", min(SAVE_STEPS, self.steps)]
        return [*command, "--config_paths", f"{self.config('train')},task.yml"]

    def config(self, name: str) -> str:
        """The path of a NeurST configuration beside this file, from the work folder."""
        return os.path.relpath(HERE / f"{name}.yml", self.folder)

    def trained_steps(self) -> int:
        """The step of the newest checkpoint, 0 without any."""
        state = self.model_dir / "checkpoint"
        match = re.search(r'^model_checkpoint_path: ".*?(\d+)"', read(state), re.MULTILINE)
        return int(match.group(1)) if match else 0

    def translate(self) -> dict[str, float]:
        """Translates the test set with the newest checkpoint; returns NeurST's metrics."""
        step = self.trained_steps()
        title(f"Test set, translated by the model of step {step}")
        metrics = self.folder / f"test-{step}.json"
        if not metrics.exists():
            command = ["-m", "neurst.cli.run_exp", "--config_paths", self.config("predict")]
            command += ["--model_dir", self.model_dir.name, "--dtype", "float32"]
            command += ["--distribution_strategy", "none", "--save_metric", metrics.name]
            command += ["--output_file", f"test-{step}.txt"]
            say("  " + shlex.join(["python", *map(str, command)]))
            self.python(command, "predict", show_prediction)
        return json.loads(metrics.read_text())

    def show(self, metrics: dict[str, float], stock: Optional[float]) -> None:
        """Some held-out sentences, and the numbers."""
        corpus = self.folder / "corpus"
        sources = read(corpus / "test.source").splitlines()
        references = read(corpus / "test.target").splitlines()
        hypotheses = read(self.folder / f"test-{self.trained_steps()}.txt").splitlines()
        for i in range(0, len(sources), max(1, len(sources) // SHOWN_SENTENCES)):
            say(f"\n  source       {sources[i]}")
            say(f"  translation  {hypotheses[i]}")
            say(f"  reference    {references[i]}")
        # Steps after the last checkpoint of a run that was stopped were trained again.
        logged = (Window(**json.loads(line)) for line in read(self.history).splitlines())
        windows = [*{window.step: window for window in logged}.values()]
        title("Result")
        say(f"  test BLEU        {metrics['sacre_bleu']:.2f} ({len(sources):,} held-out sentences)")
        if windows:
            shown = sorted({0, len(windows) // 4, len(windows) // 2, len(windows) - 1})
            curve = ", ".join(f"{windows[i].loss:.2f} (step {windows[i].step})" for i in shown)
            say(f"  training loss    {curve}")
        speed = steady_speed(windows)
        if speed:
            say(f"  training speed   {speed:,.0f} tokens/s, source and target, without padding")
        if speed and stock:
            say(f"  stock NeurST     {stock:,.0f} tokens/s: {speed / stock:.2f} times as fast")
        say(f"  everything is in {self.folder}")

    def python(
        self,
        command: Sequence,
        name: str,
        follow: Callable[[str], object],
        stock: bool = False,
        seconds: Optional[float] = None,
    ) -> None:
        """Runs Python in the work folder, shows `follow` its output and keeps it in logs/.

        stock: with TF_LS_DISABLE=1. seconds: end it after that time, which is no error.

        Raises:
          RuntimeError: it failed.
        """
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        env.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        if stock:
            env["TF_LS_DISABLE"] = "1"
        log = self.folder / "logs" / f"{name}.log"
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        end = threading.Timer(seconds or 0.0, process.terminate)
        if seconds is not None:
            end.start()
        try:
            with log.open("a") as file:
                file.write(f"$ {shlex.join(map(str, command))}\n")
                for line in process.stdout:
                    file.write(line)
                    follow(line.rstrip("\n"))
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
            end.cancel()
        if process.returncode != 0 and not (seconds and process.returncode == -signal.SIGTERM):
            last = "\n".join(read(log).splitlines()[-15:])
            raise RuntimeError(f"{name} failed, the end of {log} is:\n{last}")


class TrainingLog:
    """Follows NeurST's log of a training run and says in a line what a line of it means."""

    def __init__(self, steps: int, done: int):
        self.windows: list[Window] = []
        self._steps = steps
        self._done = done
        self._begun = time.monotonic()
        self._first: Optional[tuple[int, float]] = None  # a step and when it was logged
        self._sum = 0.0  # of the losses so far; NeurST logs their mean

    def read(self, line: str) -> None:
        """Takes the next line of the log."""
        if "{'step': " in line:
            self._add(parse_metrics(line[line.index("{") :]))
        elif "Evaluating (" in line:
            match = re.search(r"validation set: (\w+)=([\d.]+)", line)
            if match and match.group(1) in SHOWN_METRICS:
                say(f"  dev {SHOWN_METRICS[match.group(1)]} {match.group(2)}")
        elif "tf_ls: " in line:
            say_log(line)
        elif "Training for " in line:
            say(f"  model built after {time.monotonic() - self._begun:.0f} s")

    def _add(self, metrics: dict[str, float]) -> None:
        step = int(metrics["step"])
        total = metrics["loss"] * (step - self._done)
        previous = self.windows[-1].step if self.windows else self._done
        window = Window(
            step=step,
            loss=(total - self._sum) / (step - previous),
            tokens_per_second=metrics["src_real_tokens_per_sec"]
            + metrics["trg_real_tokens_per_sec"],
            first=not self.windows,
        )
        self._sum = total
        self.windows.append(window)
        say(
            f"  step {step}/{self._steps}  loss {window.loss:.2f}"
            f"  {window.tokens_per_second:6,.0f} tokens/s{self._time_left(step)}"
        )

    def _time_left(self, step: int) -> str:
        now = time.monotonic()
        if self._first is None:
            self._first = step, now
            return "  (with the time to start)"
        first_step, first_time = self._first
        left = (now - first_time) / (step - first_step) * (self._steps - step)
        return f"  {left // 60:.0f}:{left % 60:02.0f} left"


def steady_speed(windows: Sequence[Window]) -> Optional[float]:
    """The median of tokens per second, without the windows in which runs started."""
    speeds = [window.tokens_per_second for window in windows if not window.first]
    return statistics.median(speeds) if speeds else None


def parse_metrics(text: str) -> dict[str, float]:
    """{'step': 20, 'loss': np.float32(1.5)} as NeurST logs it."""
    return {k: float(v) for k, v in re.findall(r"'(\w+)': (?:[\w.]+\()?([-+.\w]+)", text)}


def show_subwords(line: str) -> None:
    """Shows what subwords.py says, without the bars of the learner."""
    if line.startswith(("  ", "The ")) and "%|" not in line:
        say(line if line.startswith(" ") else f"  {line}")


def show_prediction(line: str) -> None:
    """Shows the few lines of a prediction's log that say something."""
    if "Generation elapsed" in line or "tf_ls: " in line:
        say_log(line)


def _whole_checkpoints(steps: int) -> int:
    """NeurST writes no checkpoint at the end: the end has to be the step of a checkpoint."""
    return steps if steps <= SAVE_STEPS else -(-steps // SAVE_STEPS) * SAVE_STEPS


def read(path: Path) -> str:
    """The text of a file, none if there is no file."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def say_log(line: str) -> None:
    """Says a line of a log without its time and place."""
    say("  " + re.sub(r"^[IWE]\d{4} [^]]*\] |^WARNING:absl:", "", line))


def title(text: str) -> None:
    """Begins a part of the demo."""
    say(f"\n== {text}")


def say(text: str) -> None:
    """Prints at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
