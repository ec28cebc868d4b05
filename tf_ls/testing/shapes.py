"""Random shapes, among them those that operations get wrong: nothing, one, no multiple of 8."""

from __future__ import annotations

import numpy as np

_KINDS = ("ragged", "ragged", "ragged", "one", "nothing")


def random_shape(rng: np.random.Generator, rank: int, most: int = 20) -> list[int]:
    """Returns a shape of numbers up to `most`; a fifth of them are all 1, a fifth have a 0."""
    shape = rng.integers(1, most + 1, rank).tolist()
    kind = rng.choice(_KINDS)
    if kind == "one":
        return [1] * rank
    if kind == "nothing" and rank:
        shape[rng.integers(rank)] = 0
    return shape


def random_lengths(
    rng: np.random.Generator, least: int = 0, most: int = 20
) -> tuple[list[int], int]:
    """Returns lengths of 1 to 6 sentences, and the length that they are padded to.

    A fifth of the batches have sentences of one token, a fifth have no tokens at all: no sentence,
    or no position, or, if `least` is 0, nothing but padding.
    """
    batch, kind = int(rng.integers(1, 7)), rng.choice(_KINDS)
    if kind == "one":
        return [1] * batch, 1
    if kind == "nothing":
        padding = int(rng.integers(0, 6)) if least == 0 else 0
        return ([0] * batch, padding) if rng.integers(2) else ([], int(rng.integers(0, 6)))
    lengths = rng.integers(least, most + 1, batch).tolist()
    return lengths, max(lengths) + int(rng.integers(0, 3))


def random_heads(rng: np.random.Generator) -> tuple[int, int]:
    """Returns a number of heads, up to 6, and a hidden size, up to 120, that it divides."""
    heads = int(rng.integers(1, 7))
    return heads, heads * int(rng.integers(5, 21))
