"""What the layer operations have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_OTHER_NAMES = {"gelu_approx": "gelu", "swish": "silu"}
ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox", "silu", *_OTHER_NAMES)

_STRUCTURE = ("num_heads", "pre_norm", "activation", "epsilon")
_DROPOUT = ("attention_dropout", "activation_dropout", "residual_dropout")


# A memory_lag behind any sentence's end.
NO_LAG = tf.int32.max


def check_layer(weights: Sequence[tf.Tensor], num_heads: int, activation: str) -> str:
    """Checks what TensorFlow would complain about in its own terms.

    Returns:
        The operations' name of the activation: gelu_approx is what gelu means, swish what silu
        means.

    Raises:
        ValueError: if there are no weights or heads, or no such activation.
    """
    if not weights:
        raise ValueError("weights must be a layer's variables, got none")
    if num_heads < 1:
        raise ValueError(f"num_heads must be at least 1, got {num_heads}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    return _OTHER_NAMES.get(activation, activation)


def structure_attributes(op: tf.Operation) -> dict[str, Any]:
    """The attributes of a layer's operation that say what the layer is."""
    attributes = {name: op.get_attr(name) for name in _STRUCTURE}
    attributes["activation"] = tf.compat.as_str(attributes["activation"])
    return attributes


def gradient_attributes(op: tf.Operation, *more: str) -> dict[str, Any]:
    """The attributes of a layer's operation that its gradient takes too."""
    return structure_attributes(op) | {name: op.get_attr(name) for name in (*_DROPOUT, *more)}
