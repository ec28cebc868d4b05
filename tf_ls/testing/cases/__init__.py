"""A case for each operation of tf_ls.ops, a file for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tf_ls.testing.case import Case
from tf_ls.testing.cases import (
    adam,
    cross_entropy,
    decoder_layer,
    decoder_layer_step,
    dropout,
    embedding,
    encoder_layer,
    encoding,
    generation,
    layer_norm,
    output_projection,
    packing,
)

BUILT_IN: tuple[Case, ...] = (
    encoder_layer.CASE,
    decoder_layer.CASE,
    decoder_layer_step.CASE,
    layer_norm.CASE,
    dropout.CASE,
    *packing.CASES,
    embedding.CASE,
    output_projection.CASE,
    *cross_entropy.CASES,
    adam.CASE,
    encoding.CASE,
    generation.CASE,
)


def choose(cases: Iterable[Case], names: Sequence[str]) -> list[Case]:
    """The cases of these names.

    Raises:
        ValueError: if there is no case of a name.
    """
    by_name = {case.name: case for case in cases}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(names)]
