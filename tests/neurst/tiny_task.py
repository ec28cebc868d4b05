"""A translation task so small that NeurST trains on it in seconds, from its own command line.

    corpus = write_tiny_corpus(folder)
    output = run_exp(train_args(corpus, folder / "model", steps=3), folder, stock=True).stdout
    losses = step_losses(output)
    run_exp(predict_args(corpus, folder / "model", folder / "hypotheses.txt"), folder)

Every run is an interpreter of its own. If tf_ls is not installed in this one, its hook reaches
the run through PYTHONPATH, from the source tree.
"""

import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

REPOSITORY = Path(__file__).resolve().parents[2]
PTH_FILE = REPOSITORY / "tf_ls" / "neurst" / "tf_ls_neurst.pth"

# A target word for each source word; the order is reversed, so that attention has something to do.
PAIRS = "a ein and und has hat here hier house Haus likes mag man Mann old alte red rote sees sieht"
LEXICON = dict(zip(PAIRS.split()[::2], PAIRS.split()[1::2]))
# NeurST appends <UNK>, <SEQ_BEG> and <SEQ_END> to both vocabularies. The last is the padding too.
VOCABULARY_SIZE = len(LEXICON) + 3
EOS_ID = VOCABULARY_SIZE - 1


class TinyCorpus(NamedTuple):
    """The files of write_tiny_corpus."""

    source: Path
    target: Path
    source_vocabulary: Path
    target_vocabulary: Path


def write_tiny_corpus(folder: Path, pairs: int = 64, longest: int = 9, seed: int = 0) -> TinyCorpus:
    """Writes `pairs` sentences of 1 to `longest` words and both vocabularies into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = TinyCorpus(*(folder / n for n in ("tiny.en", "tiny.de", "vocab.en", "vocab.de")))
    generator = random.Random(seed)
    words = sorted(LEXICON)
    sentences = [generator.choices(words, k=generator.randint(1, longest)) for _ in range(pairs)]
    _write_lines(corpus.source, (" ".join(s) for s in sentences))
    _write_lines(corpus.target, (" ".join(LEXICON[w] for w in reversed(s)) for s in sentences))
    _write_lines(corpus.source_vocabulary, words)
    _write_lines(corpus.target_vocabulary, (LEXICON[w] for w in words))
    return corpus


def _write_lines(path: Path, lines) -> None:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def flags(values: dict[str, object]) -> list[str]:
    """{"name": value} as NeurST's command line takes it. Values are YAML, dictionaries included."""
    import yaml

    arguments = []
    for name, value in values.items():
        if isinstance(value, (dict, list)):
            value = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
        arguments += [f"--{name}", str(value)]
    return arguments


def dataset_flags(corpus: TinyCorpus) -> dict[str, object]:
    """The flags that name the corpus."""
    return {
        "dataset": "ParallelTextDataset",
        "src_file": corpus.source,
        "trg_file": corpus.target,
        "data_is_processed": True,
    }


def task_flags(corpus: TinyCorpus) -> dict[str, object]:
    """The flags of a translation task on the corpus: whole words, batches of about 100 tokens."""
    return {
        "task": "translation",
        "task.params": {
            "batch_by_tokens": True,
            "batch_size": 100,
            "max_src_len": 16,
            "max_trg_len": 16,
            "src_data_pipeline.class": "TextDataPipeline",
            "src_data_pipeline.params": {"vocab_path": str(corpus.source_vocabulary)},
            "trg_data_pipeline.class": "TextDataPipeline",
            "trg_data_pipeline.params": {"vocab_path": str(corpus.target_vocabulary)},
        },
    }


def train_args(
    corpus: TinyCorpus,
    model_dir: Path,
    steps: int = 3,
    hparams_set: str = "transformer_toy",
    dropout: Optional[float] = None,
    **more: object,
) -> list[str]:
    """Arguments that train `steps` steps, log each and checkpoint the last into `model_dir`.

    dropout replaces every rate of `hparams_set`. `more` are further flags of NeurST and go before
    those made here: dtype="float32", distribution_strategy="none", include="a_module", ... A
    dictionary given with the name of one made here, as model.params is, replaces it.
    """
    values = {
        "entry": "trainer",
        "hparams_set": hparams_set,
        "model_dir": model_dir,
        "train_steps": steps,
        "summary_steps": 1,
        "save_checkpoint_steps": steps,
        "criterion": "label_smoothed_cross_entropy",
        "label_smoothing": 0.1,
        **dataset_flags(corpus),
        **task_flags(corpus),
    }
    if dropout is not None:
        for stack in ("encoder", "decoder"):
            for rate in (
                "attention_dropout_rate",
                "ffn_dropout_rate",
                "layer_postprocess_dropout_rate",
            ):
                values[f"{stack}.{rate}"] = dropout
    values.update(more)
    return flags(values)


def predict_args(
    corpus: TinyCorpus,
    model_dir: Union[Path, str],
    output_file: Path,
    beam_size: int = 2,
    **more: object,
) -> list[str]:
    """Arguments that translate the corpus with the newest checkpoint in `model_dir`.

    Several folders with commas between them make an ensemble.
    """
    values = {
        "entry": "predict",
        "model_dir": model_dir,
        "output_file": output_file,
        "batch_size": 16,
        "metric": "bleu",
        **_search_flags(beam_size),
        **dataset_flags(corpus),
    }
    values.update(more)
    return flags(values)


def export_args(
    model_dir: Path, export_path: Path, beam_size: int = 2, **more: object
) -> list[str]:
    """Arguments that write a SavedModel which translates into `export_path`/1."""
    values = {
        "entry": "generation_savedmodel",
        "model_dir": model_dir,
        "export_path": export_path,
        **_search_flags(beam_size),
    }
    values.update(more)
    return flags(values)


def _search_flags(beam_size: int) -> dict[str, object]:
    parameters = {"beam_size": beam_size, "length_penalty": 0.6, "maximum_decode_length": 16}
    return {"search_method": "beam_search", "search_method.params": parameters}


def write_seed_module(folder: Path, seed: int = 1) -> str:
    """Writes a module that fixes all seeds into `folder` and returns its name.

    A run in the same folder imports it when told to: train_args(..., include=name).
    """
    name = f"fix_seed_{seed}"
    code = f"import tensorflow as tf\n\ntf.keras.utils.set_random_seed({seed})\n"
    (Path(folder) / f"{name}.py").write_text(code, encoding="utf-8")
    return name


def environment(folder: Path, stock: bool = False, **more: str) -> dict[str, str]:
    """The environment of a run: this one without the variables that would change it, and `more`.

    stock: NeurST's own layers instead of the fused ones (TF_LS_DISABLE=1).
    """
    env = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "TF_LS_DISABLE")}
    env["TF_CPP_MIN_LOG_LEVEL"] = "2"
    env["CUDA_VISIBLE_DEVICES"] = "-1"
    if stock:
        env["TF_LS_DISABLE"] = "1"
    if not any(getattr(finder, "hooked_name", None) == "neurst" for finder in sys.meta_path):
        hook = Path(folder) / "hook_from_source"
        hook.mkdir(parents=True, exist_ok=True)
        (hook / "sitecustomize.py").write_text(
            PTH_FILE.read_text(encoding="utf-8"), encoding="utf-8"
        )
        paths = [str(hook), str(REPOSITORY), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    env.update(more)
    return env


def run_python(
    arguments: Sequence[str],
    folder: Path,
    stock: bool = False,
    env: Optional[dict[str, str]] = None,
    timeout: float = 300.0,
    check: bool = True,
) -> "subprocess.CompletedProcess[str]":
    """Runs this interpreter with `arguments` in `folder`; stdout holds stderr as well.

    env: variables to add. check: fail with the end of the output if the run does.
    """
    completed = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=str(folder),
        env=environment(folder, stock, **(env or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if check and completed.returncode != 0:
        raise AssertionError(f"exit status {completed.returncode}\n{completed.stdout[-6000:]}")
    return completed


def run_test_file(
    name: str,
    rootpath: Path,
    folder: Path,
    timeout: float = 300.0,
    env: Optional[dict[str, str]] = None,
) -> None:
    """Runs a test file of this folder with pytest, in an interpreter of its own in `folder`.

    NeurST chooses Keras 2 for a whole process, so its tests cannot share one with the others.

    env: as for run_python.
    """
    here = Path(__file__).parent
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-o", "addopts="]
    options += [f"--rootdir={rootpath}", f"--confcutdir={here}"]
    command = ["-m", "pytest", *options, here / name]
    completed = run_python(command, folder, env=env, timeout=timeout)
    print(completed.stdout, file=sys.stderr)


def run_exp(
    arguments: Sequence[str], folder: Path, stock: bool = False, **options
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m neurst.cli.run_exp`, with the options of run_python."""
    return run_python(["-m", "neurst.cli.run_exp", *arguments], folder, stock, **options)


def logged_steps(output: str) -> list[dict[str, float]]:
    """What NeurST's log says about each logged step: step, loss, lr, src_real_tokens_per_sec, ...

    The loss is the mean over the steps of the run so far.
    """
    steps = []
    for line in output.splitlines():
        start = line.find("{'step': ")
        if start >= 0:
            steps.append(_parse_metrics(line[start:]))
    return steps


def _parse_metrics(text: str) -> dict[str, float]:
    """{'step': 3, 'loss': np.float32(1.5)}, with or without np.float32."""
    return {k: float(v) for k, v in re.findall(r"'(\w+)': (?:[\w.]+\()?([-+.\w]+)", text)}


def step_losses(output: str) -> list[float]:
    """The loss of each single step of a run that logged every step."""
    sums = [0.0] + [metrics["loss"] * (i + 1) for i, metrics in enumerate(logged_steps(output))]
    return [later - earlier for earlier, later in zip(sums, sums[1:])]


def read_checkpoint(model_dir: Path, step: Optional[int] = None) -> dict[str, object]:
    """The variables of a checkpoint in `model_dir`, as name: array. Imports TensorFlow.

    step: when it was written; the newest unless told.
    """
    import tensorflow as tf

    path = tf.train.latest_checkpoint(str(model_dir))
    if path is None:
        raise AssertionError(f"no checkpoint in {model_dir}")
    if step is not None:
        path = re.sub(r"\d+$", str(step), path)
    variables = {}
    for name, _ in tf.train.list_variables(path):
        if not name.startswith("_") and not name.startswith("save_counter"):
            plain = name.replace(".S", "/").replace("/.ATTRIBUTES/VARIABLE_VALUE", "")
            variables[plain] = tf.train.load_variable(path, name)
    return variables
