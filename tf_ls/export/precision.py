"""What weights and computations of an exported model may be in."""

from __future__ import annotations

from typing import NamedTuple


class Precision(NamedTuple):
    weights: str
    """Of what is stored. With int8: of what is not in int8."""

    activations: str
    """Of what layers compute in between products."""

    is_int8: bool = False
    """Whether matrices are stored in int8."""


PRECISIONS = {
    "float32": Precision("float32", "float32"),
    "float16": Precision("float16", "float16"),
    "bfloat16": Precision("bfloat16", "bfloat16"),
    "int8": Precision("float32", "float32", is_int8=True),
    "int8_float16": Precision("float32", "float16", is_int8=True),
    "int8_bfloat16": Precision("float32", "bfloat16", is_int8=True),
}


def precision_of(name: str) -> Precision:
    """Returns a precision by its name.

    Raises:
        ValueError: there is none.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {name!r}")
    return PRECISIONS[name]
