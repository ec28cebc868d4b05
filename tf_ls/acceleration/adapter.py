"""What tells accelerate() how layers of one class run fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional


class Adapter(NamedTuple):
    """How layers of one class run fused."""

    # Why a layer cannot run fused, whatever it is called with; None if it can.
    why_not: Callable[[Any], Optional[str]]
    # Why it cannot with these arguments of its call, by name, defaults included; None if it can.
    why_not_with: Callable[[Any, Mapping[str, Any]], Optional[str]]
    # What the layer's call returns: (layer, arguments, remove_padding) -> result.
    call: Callable[[Any, Mapping[str, Any], bool], Any]
