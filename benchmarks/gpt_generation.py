"""Greedy generation of GPT-2 small: Hugging Face's PyTorch, CTranslate2 and tf_ls in one run.

    python benchmarks/gpt_generation.py [--cells 8x128 ...] [--contenders ...]

A cell's name says prompts x tokens of a prompt; 32 tokens are generated behind each, the end of a
text forbidden. The weights are random, the same for all: transformers reads them from its own
folder, CTranslate2 from what its converter for transformers makes of that, and rounds them when it
is to compute in int8. From lists of ids to lists of ids; `contest.py` says how it is measured. The
last column is the share of generated tokens that are not the first contender's.

Needed: transformers, torch, ctranslate2, of which those that are missing are failed contenders. No
figures of it have been taken yet.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Callable

import contest
import numpy as np
from random_models import random_gpt2

from tf_ls import convert, files

CONTENDERS = ("torch", "ctranslate2", "ctranslate2-int8", "tf_ls", "tf_ls-bfloat16", "tf_ls-int8")
CELLS = [f"{prompts}x{length}" for prompts in (1, 8) for length in (16, 128)]
MODEL_FILE, FOLDER = "gpt.pb", "hugging_face"
LAYERS, HEADS, WORDS = 12, 12, 50257
GENERATED = 32


def main() -> None:
    args = contest.parser_of(__doc__.splitlines()[0], CELLS).parse_args()
    for cell in args.cells:
        prompts_of(cell)

    def make(name: str, args: argparse.Namespace) -> contest.Contender:
        return KINDS[name.split("-")[0]](name, args)

    contest.main(args, CONTENDERS, write_models, make, share_of_others)


def prompts_of(cell: str) -> list[list[int]]:
    prompts, _, length = cell.partition("x")
    if not prompts.isdigit() or not length.isdigit():
        raise SystemExit(f"expected PROMPTSxLENGTH, got {cell}")
    shape = (int(prompts), int(length))
    return np.random.default_rng(0).integers(0, WORDS - 1, shape).tolist()


def write_models(folder: Path, args: argparse.Namespace) -> None:
    """Writes a model file and Hugging Face's folder, with a vocabulary for CTranslate2's sake."""
    model = random_gpt2(LAYERS, 64 * HEADS, HEADS, WORDS)
    files.write(model, folder / MODEL_FILE)
    convert.write(model, folder / FOLDER, to="hugging_face")
    words = {word_of(i): i for i in range(WORDS)}
    (folder / FOLDER / "vocab.json").write_text(json.dumps(words))
    (folder / FOLDER / "merges.txt").write_text("#version: 0.2\n")
    special = {"tokenizer_class": "GPT2Tokenizer"}
    special.update({f"{name}_token": word_of(WORDS - 1) for name in ("bos", "eos", "unk")})
    (folder / FOLDER / "tokenizer_config.json").write_text(json.dumps(special))


def word_of(i: int) -> str:
    return f"w{i}"


def share_of_others(tokens: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean(tokens != wanted))


class GptContender:
    def result(self, cell: str, output: Any) -> np.ndarray:
        """The tokens behind the prompts."""
        tokens = np.array(output)[:, -GENERATED:]
        if tokens.shape != (len(prompts_of(cell)), GENERATED):
            raise RuntimeError(f"expected {GENERATED} tokens of each prompt, got {tokens.shape}")
        return tokens


class Ours(GptContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import tensorflow as tf

        import tf_ls
        import tf_ls.inference as lsi

        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        options = {
            "method": "greedy",
            "max_extra_length": GENERATED,
            "forbidden_tokens": (WORDS - 1,),
        }
        precision = contender.partition("-")[2] or "float32"
        path = args.folder / MODEL_FILE
        self._model = lsi.Gpt(path, 1024, options=options, precision=precision)
        self.software = f"tf_ls {tf_ls.__version__} on TensorFlow {tf.__version__}"

    def prepared(self, cell: str) -> Callable[[], Any]:
        prompts = prompts_of(cell)
        return lambda: self._model.sample(prompts)


class Torch(GptContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import torch
        import transformers

        self._torch = torch
        torch.set_num_threads(args.threads)
        self._model = transformers.GPT2LMHeadModel.from_pretrained(args.folder / FOLDER).eval()
        self.software = f"PyTorch {torch.__version__}, transformers {transformers.__version__}"

    def prepared(self, cell: str) -> Callable[[], Any]:
        prompts = prompts_of(cell)

        def call() -> Any:
            with self._torch.inference_mode():
                ids = self._torch.tensor(prompts)
                return self._model.generate(
                    ids,
                    attention_mask=self._torch.ones_like(ids),
                    do_sample=False,
                    min_new_tokens=GENERATED,
                    max_new_tokens=GENERATED,
                    pad_token_id=WORDS - 1,
                ).tolist()

        return call


class CTranslate2(GptContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import ctranslate2

        converter = ctranslate2.converters.TransformersConverter(str(args.folder / FOLDER))
        path = args.folder / contender
        converter.convert(str(path))
        self._generator = ctranslate2.Generator(
            str(path),
            device="cpu",
            compute_type="int8" if contender.endswith("int8") else "float32",
            inter_threads=1,
            intra_threads=args.threads,
        )
        self.software = f"CTranslate2 {ctranslate2.__version__}"

    def prepared(self, cell: str) -> Callable[[], Any]:
        prompts = [[word_of(i) for i in prompt] for prompt in prompts_of(cell)]

        def call() -> Any:
            results = self._generator.generate_batch(
                prompts,
                max_batch_size=0,
                min_length=GENERATED,
                max_length=GENERATED,
                sampling_topk=1,
                beam_size=1,
                include_prompt_in_result=False,
            )
            return [result.sequences_ids[0] for result in results]

        return call


KINDS = {"tf_ls": Ours, "torch": Torch, "ctranslate2": CTranslate2}


if __name__ == "__main__":
    main()
