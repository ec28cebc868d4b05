"""A decoder that generates, as operations take it."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tf_ls.ops.int8_weight import AnyWeight, numbers_of, scales_of
from tf_ls.ops.layer_stack import LayerStack, stack_inputs


@dataclasses.dataclass(frozen=True)
class Decoder(LayerStack):
    """The weights and the structure of a decoder, with what is in front of it and behind it.

    Layers are those of `decoder_layer`, with or without cross-attention.
    """

    output_weights: AnyWeight | None = None
    """[V, H], what logits are made by; None: `table`."""

    output_bias: tf.Tensor | None = None
    """[V]."""


def decoder_inputs(decoder: Decoder) -> dict[str, Any]:
    """A decoder as operations take it, by the names of their inputs and attributes.

    Raises:
        ValueError: a decoder without layers; unknown positions or activation.
    """
    inputs = stack_inputs(decoder)
    output = decoder.table if decoder.output_weights is None else decoder.output_weights
    return {
        **inputs,
        "output_weights": numbers_of(output),
        "scales": [*inputs["scales"], *scales_of([output])],
        "output_bias": [] if decoder.output_bias is None else [decoder.output_bias],
    }
