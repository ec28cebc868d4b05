"""Lists of ids on their way to a model: checked, padded, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def checked_ids(
    name: str, ids: Sequence[int], count: int, among: str = "the vocabulary"
) -> np.ndarray:
    """Returns ids as an array of integers.

    Args:
        name: of the list, for messages.
        ids: from 0 to count - 1.
        count: how many ids there are.
        among: what they are of, for messages.

    Raises:
        ValueError: something that is no such id.
    """
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be a list of integers, got {ids!r}")
    outside = (array < 0) | (array >= count)
    if outside.any():
        raise ValueError(
            f"{name} has {array[outside][0]} at {outside.argmax()}, which is not in {among} of"
            f" {count}"
        )
    return array


def without_padding(ids: Sequence[int], padding_id: int) -> Sequence[int]:
    """Returns ids without the padding behind them."""
    array = np.asarray(ids)
    if array.ndim != 1:
        return ids
    words = np.flatnonzero(array != padding_id)
    return ids[: words[-1] + 1] if len(words) else ids[:0]


def padded(rows: Sequence[np.ndarray], padding_id: int) -> np.ndarray:
    """Returns rows of any lengths as int64 [B, S], with padding behind the shorter ones."""
    array = np.full([len(rows), max(map(len, rows), default=0)], padding_id, np.int64)
    for place, row in zip(array, rows):
        place[: len(row)] = row
    return array


def batches(lengths: Sequence[int], max_batch_size: int) -> Iterator[np.ndarray]:
    """Yields the places of rows that go together: of several batches, rows of similar lengths."""
    order = np.arange(len(lengths))
    if len(lengths) > max_batch_size:
        order = np.argsort(lengths, kind="stable")[::-1]  # what takes most memory comes first
    for first in range(0, len(order), max_batch_size):
        yield order[first : first + max_batch_size]
