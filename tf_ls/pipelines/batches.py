"""Rows of many inputs in batches of similar lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any

from tf_ls.pipelines.prepared import Prepared

Model = Callable[[Sequence[Sized]], Sequence[Any]]


def outputs_of(inputs: Sequence[Prepared], model: Model, batch_size: int) -> list[list[Any]]:
    """Computes all rows of all inputs.

    Args:
        inputs: whose rows are to be computed.
        model: returns as many outputs as it is given rows, in their order.
        batch_size: how many rows it is given at a time, at most.

    Returns:
        The outputs of each input's rows.

    Raises:
        ValueError: the model returned another number of outputs.
    """
    outputs: list[list[Any]] = [[None] * len(one.rows) for one in inputs]
    places = [(i, j) for i, one in enumerate(inputs) for j in range(len(one.rows))]
    # What takes most memory comes first.
    places.sort(key=lambda place: len(inputs[place[0]].rows[place[1]]), reverse=True)
    for first in range(0, len(places), batch_size):
        batch = places[first : first + batch_size]
        found = model([inputs[i].rows[j] for i, j in batch])
        if len(found) != len(batch):
            raise ValueError(f"the model returned {len(found)} outputs for {len(batch)} rows")
        for (i, j), output in zip(batch, found):
            outputs[i][j] = output
    return outputs
