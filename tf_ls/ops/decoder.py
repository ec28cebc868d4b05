"""A decoder that generates, as operations take it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_ls.ops.embedding import SINUSOIDS
from tf_ls.ops.layer_attributes import check_layer


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The weights and the structure of a decoder, with what is in front of it and behind it.

    Weights are tensors or variables of one dtype, float32, float16 or bfloat16.
    """

    layers: Sequence[Sequence[tf.Tensor]]
    """The weights of each layer, as for `decoder_layer`."""

    table: tf.Tensor
    """[V, H], the embedding of tokens."""

    num_heads: int
    """As pre_norm, activation and epsilon: as for `decoder_layer`, the same for all layers."""

    scale: float = 1.0
    """What the table's numbers are multiplied by."""

    positions: tf.Tensor | str | None = None
    """As for `embedding`: "sinusoids", or a table [P, H] with as many rows as hypotheses may become
    long (see `SearchOptions.max_extra_length`)."""

    norm: tuple[tf.Tensor, tf.Tensor] | None = None
    """gamma and beta [H] of a layer norm behind the last layer."""

    output_weights: tf.Tensor | None = None
    """[V, H], what logits are made by; None: `table`."""

    output_bias: tf.Tensor | None = None
    """[V]."""

    pre_norm: bool = True
    activation: str = "relu"
    epsilon: float = 1e-6


def decoder_inputs(decoder: Decoder) -> dict[str, Any]:
    """A decoder as operations take it, by the names of their inputs and attributes.

    Raises:
        ValueError: a decoder without layers; unknown positions or activation.
    """
    if not decoder.layers:
        raise ValueError("decoder.layers must have at least one layer, got none")
    sinusoids = isinstance(decoder.positions, str)
    if sinusoids and decoder.positions != SINUSOIDS:
        raise ValueError(
            f'decoder.positions must be "{SINUSOIDS}", a tensor or None, got "{decoder.positions}"'
        )
    return {
        "table": decoder.table,
        "positions": [] if decoder.positions is None or sinusoids else [decoder.positions],
        "norm": [] if decoder.norm is None else list(decoder.norm),
        "output_weights": (
            decoder.table if decoder.output_weights is None else decoder.output_weights
        ),
        "output_bias": [] if decoder.output_bias is None else [decoder.output_bias],
        "weights": [weight for layer in decoder.layers for weight in layer],
        "num_layers": len(decoder.layers),
        "num_heads": decoder.num_heads,
        "pre_norm": decoder.pre_norm,
        "activation": check_layer(decoder.layers[0], decoder.num_heads, decoder.activation),
        "epsilon": decoder.epsilon,
        "scale": decoder.scale,
        "sinusoids": sinusoids,
    }
