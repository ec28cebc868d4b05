"""Models for tests of the server, and what they answer when nothing is batched."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import tensorflow as tf
from small_transformer import SOURCE_WORDS, TARGET_WORDS, build

from tf_ls import export

START, EOS, PADDING = 7, 2, 0
OPTIONS = {"eos": EOS, "beam_size": 3, "max_length": 12}


class Arithmetic(tf.Module):
    """A SavedModel of stock operations, with inputs and outputs of several kinds."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half_plus_two(self, x):
        return {"y": x / 2 + 2}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, "x"),
            tf.TensorSpec([None], tf.string, "name"),
        ]
    )
    def describe(self, x, name):
        return {"sum": tf.reduce_sum(x, 1), "text": name, "raw_bytes": name}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def positive(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(x, "must be positive")]):
            return {"x": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}


def save_arithmetic(path: Path) -> None:
    module = Arithmetic()
    signatures = {
        "serving_default": module.half_plus_two,
        "describe": module.describe,
        "positive": module.positive,
        "total": module.total,
    }
    tf.saved_model.save(module, str(path), signatures=signatures)


def save_models(folder: Path) -> Path:
    """ids: from ids to ids; text: from text to text; arithmetic: stock, versions 3 and 12."""
    export.save(build(), folder / "ids", options=OPTIONS, start=START)
    pieces = folder.parent / f"{folder.name}.pieces"
    documents = Path(__file__).resolve().parents[2] / "docs"
    sentencepiece.SentencePieceTrainer.train(
        input=str(documents / "architecture.md"),
        model_prefix=str(pieces),
        vocab_size=200,
        pad_id=3,
        minloglevel=2,
    )
    export.save(
        build(vocab_size=200, trg_vocab_size=200, padding_idx=3),
        folder / "text",
        options=OPTIONS,
        start=START,
        sentencepiece=f"{pieces}.model",
    )
    for version in (3, 12):
        save_arithmetic(folder / "arithmetic" / str(version))
    return folder


class Unbatched:
    """What a model of `export.save` answers when it is asked one sentence at a time."""

    def __init__(self, path: Path):
        self._model = tf.saved_model.load(str(path))
        self._defaults = self._model.signatures["default_options"]()
        self.generate = functools.lru_cache(None)(self._generate)
        self.translate = functools.lru_cache(None)(self._translate)

    def _generate(self, sentence: tuple[int, ...], **options: Any) -> dict[str, list]:
        """tokens, lengths and scores of a sentence's hypotheses."""
        source = tf.constant([sentence], tf.int64, [1, len(sentence)])
        return self.call("serving_with_options", source=source, **options)

    def _translate(self, sentence: str, **options: Any) -> dict[str, Any]:
        return self.call("translate_with_options", sentences=tf.constant([sentence]), **options)

    def call(self, signature: str, **inputs: Any) -> dict[str, Any]:
        values = dict(self._defaults)
        for name, value in inputs.items():
            dtype = self._defaults[name].dtype if name in self._defaults else None
            values[name] = tf.convert_to_tensor(value, dtype)
        outputs = self._model.signatures[signature](**values)
        return {name: value.numpy()[0] for name, value in outputs.items()}


def sentences(count: int, seed: int) -> list[tuple[int, ...]]:
    """Sentences of 1 to 20 words for the model `ids`, without padding."""
    rng = np.random.default_rng(seed)
    return [
        tuple(rng.integers(1, SOURCE_WORDS, rng.integers(1, 21)).tolist()) for _ in range(count)
    ]


# Options of generation that change what comes.
VARIETY: tuple[dict[str, Any], ...] = (
    {},
    {"beam_size": 1},
    {"beam_size": 4, "num_hypotheses": 3},
    {"method": "greedy"},
    {"max_length": 5},
    {"forbidden_tokens": (EOS, TARGET_WORDS - 1)},
    {"method": "sampling", "num_hypotheses": 2, "seed": 3},
)
