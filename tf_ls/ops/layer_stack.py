"""What an encoder and a decoder have in common, as operations take it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_ls.ops.embedding import SINUSOIDS
from tf_ls.ops.int8_weight import AnyWeight, numbers_of, scales_of
from tf_ls.ops.layer_attributes import check_layer


@dataclasses.dataclass(frozen=True)
class LayerStack:
    """The weights and the structure of layers, with what is in front of them and behind them.

    Weights are tensors or variables, float32, float16 or bfloat16; vectors and positions are of one
    dtype. Where they are packed, matrices of two rows or more may also be `Int8Weight`, each by
    itself.
    """

    layers: Sequence[Sequence[AnyWeight]]
    """The weights of each layer, as for `encoder_layer` or `decoder_layer`."""

    table: AnyWeight
    """[V, H], the embedding of tokens."""

    num_heads: int
    """As pre_norm, activation and epsilon: as for `encoder_layer`, the same for all layers."""

    scale: float = 1.0
    """What the table's numbers are multiplied by."""

    positions: tf.Tensor | str | None = None
    """As for `embedding`: "sinusoids", or a table [P, H] with as many rows as sentences may become
    long (for those that are generated see `SearchOptions.max_extra_length`)."""

    embedding_norm: tuple[tf.Tensor, tf.Tensor] | None = None
    """gamma and beta [H] of a layer norm in front of the first layer, behind scale and
    positions."""

    norm: tuple[tf.Tensor, tf.Tensor] | None = None
    """gamma and beta [H] of a layer norm behind the last layer."""

    pre_norm: bool = True
    activation: str = "relu"

    epsilon: float = 1e-6
    """Of all layer norms."""


def stack_inputs(stack: LayerStack) -> dict[str, Any]:
    """A stack as operations take it, by the names of their inputs and attributes.

    Raises:
        ValueError: a stack without layers; unknown positions or activation.
    """
    if not stack.layers:
        raise ValueError("layers must be at least one layer, got none")
    sinusoids = isinstance(stack.positions, str)
    if sinusoids and stack.positions != SINUSOIDS:
        raise ValueError(
            f'positions must be "{SINUSOIDS}", a tensor or None, got "{stack.positions}"'
        )
    weights = [weight for layer in stack.layers for weight in layer]
    return {
        "table": numbers_of(stack.table),
        "positions": [] if stack.positions is None or sinusoids else [stack.positions],
        "embedding_norm": list(stack.embedding_norm or ()),
        "norm": list(stack.norm or ()),
        "weights": [numbers_of(weight) for weight in weights],
        "scales": scales_of([stack.table, *weights]),
        "num_layers": len(stack.layers),
        "num_heads": stack.num_heads,
        "pre_norm": stack.pre_norm,
        "activation": check_layer(stack.layers[0], stack.num_heads, stack.activation),
        "epsilon": stack.epsilon,
        "scale": stack.scale,
        "sinusoids": sinusoids,
    }
