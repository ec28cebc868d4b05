"""What the layer operations have in common."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_approx", "gelu_nonapprox")

_STRUCTURE = ("num_heads", "pre_norm", "activation", "epsilon")
_DROPOUT = ("attention_dropout", "activation_dropout", "residual_dropout")


def activation_attribute(activation: str) -> str:
    """The operations' name of an activation: gelu_approx is what gelu means.

    Raises:
        ValueError: if there is no such activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    return "gelu" if activation == "gelu_approx" else activation


def gradient_attributes(op: tf.Operation, *more: str) -> dict[str, Any]:
    """The attributes of a layer's operation that its gradient takes too."""
    attributes = {name: op.get_attr(name) for name in (*_STRUCTURE, *_DROPOUT, *more)}
    attributes["activation"] = tf.compat.as_str(attributes["activation"])
    return attributes
