"""The numbers of a field in the precision in which a file is to have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from tf_ls.files import precision
from tf_ls.files.model import InvalidModelFile, Model, Numbers, as_matrix

Shapes = Mapping[str, tuple[int, ...]]


def check_precision(wanted: Optional[str]) -> None:
    """Raises ValueError if there is no such precision."""
    if wanted is not None and wanted not in precision.PRECISIONS:
        expected = ", ".join(precision.PRECISIONS)
        raise ValueError(f"precision must be one of {expected}; got {wanted!r}")


def precision_of(model: Model, name: str, wanted: Optional[str]) -> str:
    """In what a field is written: in int8 only matrices are, and the others in float32.

    Args:
        model: what has the field.
        name: of the field.
        wanted: float32, float16, bfloat16 or int8; None: as it is, but float64 as float32.
    """
    if wanted is None:
        wanted = model.weights[name].precision
    if wanted == "float64" or (wanted == "int8" and not model.field(name).scales):
        return "float32"
    return wanted


def converted(model: Model, name: str, wanted: str, shapes: Shapes) -> Numbers:
    """Returns a field in another precision; views, if it has that already.

    Raises:
        InvalidModelFile: numbers that are infinite or NaN, or too large for the precision.
    """
    if wanted == model.weights[name].precision:
        scales = [model.scales(name)] if wanted == "int8" else []
        return Numbers(wanted, [model.stored(name)], scales)
    floats = model.float32(name, shapes)
    if wanted == "int8":
        scales = model.field(name).scales
        numbers, steps = precision.quantized(floats.reshape(as_matrix(floats.shape)), scales)
        return Numbers("int8", [numbers.ravel()], [steps])
    try:
        return Numbers(wanted, [precision.from_float32(floats, wanted).ravel()])
    except ValueError as error:
        raise InvalidModelFile(f"{name}: {error}") from error
