"""Batches to train on: random words in sentences of given lengths, or of a corpus' lengths."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

# NeurST ends a vocabulary with <UNK>, <SEQ_BEG> and <SEQ_END>; the last is the padding, too.
RESERVED = 3


class Batch(NamedTuple):
    """Ids, int64 [sentences, length], and lengths with the end of the sentence, of both sides."""

    source: np.ndarray
    target: np.ndarray
    source_lengths: np.ndarray
    target_lengths: np.ndarray

    @property
    def tokens(self) -> int:
        """Of both sides, padding not counted."""
        return int(self.source_lengths.sum() + self.target_lengths.sum())


def random_batch(
    generator: np.random.Generator,
    pairs: Iterable[tuple[int, int]],
    padded_length: int,
    vocab_size: int,
) -> Batch:
    """Sentences of random words; `pairs` are their lengths on both sides."""
    lengths = np.array(list(pairs), dtype=np.int64).T
    sides = []
    for side in lengths:
        shape = len(side), padded_length
        ids = generator.integers(0, vocab_size - RESERVED, shape, dtype=np.int64)
        ids[np.arange(padded_length) >= side[:, None] - 1] = vocab_size - 1
        sides.append(ids)
    return Batch(*sides, *lengths)


def corpus_batches(
    pairs: list[tuple[int, int]], tokens: int, count: int, vocab_size: int, longest: int = 64
) -> list[Batch]:
    """`count` batches of an epoch of NeurST on sentences of these lengths, evenly spaced.

    Args:
        pairs: see read_lengths.
        tokens: NeurST's batch_size with batch_by_tokens.
        longest: NeurST's max_src_len and max_trg_len.

    Raises:
        ValueError: an epoch has fewer than `count` batches.
    """
    epoch = list(batch_by_tokens(pairs, tokens, longest))
    if len(epoch) < count:
        raise ValueError(f"{len(pairs)} sentences make {len(epoch)} batches, {count} are wanted")
    generator = np.random.default_rng(0)
    return [
        random_batch(generator, *epoch[i * len(epoch) // count], vocab_size) for i in range(count)
    ]


def batch_by_tokens(
    pairs: Iterable[tuple[int, int]], tokens: int, longest: int
) -> Iterator[tuple[list[tuple[int, int]], int]]:
    """What NeurST's translation task makes of sentences: batches with their padded length.

    Both sides are padded to the same multiple of 8, and as many sentences make a batch as `tokens`
    positions of one side allow. Sentences that are too long, and rests, are left out.
    """
    buckets = defaultdict(list)
    for pair in pairs:
        if min(pair) < 2 or max(pair) > longest:  # a sentence of length 1 is only its end
            continue
        padded = -(-max(pair) // 8) * 8
        bucket = buckets[padded]
        bucket.append(pair)
        if len(bucket) == tokens // padded:
            yield buckets.pop(padded), padded


def read_lengths(file: Path) -> list[tuple[int, int]]:
    """The lengths of a corpus' sentence pairs that `write_lengths` wrote, in a fixed random order.

    Raises:
        ValueError: the file is of another kind.
    """
    pairs = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            source, target, count = map(int, line.split())
        except ValueError as error:
            raise ValueError(
                f"{file}:{number}: expected the lengths of source and target and how many such"
                f" pairs there are, got {line[:60]!r}"
            ) from error
        pairs += [(source, target)] * count
    random.Random(0).shuffle(pairs)
    return pairs


def write_lengths(source: Path, target: Path, file: Path) -> int:
    """Counts a corpus' pairs by their lengths; a few kilobytes. Returns how many pairs there are.

    Args:
        source, target: sentences cut into subwords, one a line.
    """
    with source.open(encoding="utf-8") as sources, target.open(encoding="utf-8") as targets:
        # NeurST puts an end to every sentence.
        counts = Counter(
            tuple(len(line.split()) + 1 for line in pair) for pair in zip(sources, targets)
        )
    lines = (f"{s} {t} {count}\n" for (s, t), count in sorted(counts.items()))
    file.write_text("".join(lines))
    return sum(counts.values())
