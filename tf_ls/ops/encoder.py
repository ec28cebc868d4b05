"""An encoder, as operations take it."""

from __future__ import annotations

import dataclasses
from typing import Any

from tf_ls.ops.layer_stack import LayerStack, stack_inputs


@dataclasses.dataclass(frozen=True)
class Encoder(LayerStack):
    """The weights and the structure of an encoder, with what is in front of it and behind it.

    Layers are those of `encoder_layer`.
    """

    causal: bool = False
    """Whether a token attends only to itself and tokens before it."""


def encoder_inputs(encoder: Encoder) -> dict[str, Any]:
    """An encoder as operations take it, by the names of their inputs and attributes.

    Raises:
        ValueError: an encoder without layers; unknown positions or activation.
    """
    return {**stack_inputs(encoder), "causal": encoder.causal}
