"""What the first step of a pipeline hands to the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Sized
from typing import Any


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An input, and what the model computes of it."""

    source: Any
    """The input as it came."""

    rows: Sequence[Sized]
    """What the model is given, of this input or of others together. What has a similar length goes
    together."""
