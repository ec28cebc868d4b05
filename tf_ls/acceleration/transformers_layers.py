"""What the adapters of transformers' TensorFlow models share."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow as tf

_COMPUTE_DTYPES = (tf.float32, tf.bfloat16, tf.float16)

# transformers' names of activations, and those of the operations.
_ACTIVATIONS = {
    "gelu": "gelu_nonapprox",
    "gelu_new": "gelu_approx",
    "gelu_fast": "gelu_approx",
    "relu": "relu",
    "tanh": "tanh",
}


def activation_name(function: Any) -> Optional[str]:
    """The operations' name of one of transformers' activations; None if they have none."""
    from transformers.activations_tf import ACT2FN

    for theirs, ours in _ACTIVATIONS.items():
        if function is ACT2FN[theirs]:
            return ours
    return None


def why_not_activation(function: Any) -> Optional[str]:
    if activation_name(function) is None:
        return f"its activation is {getattr(function, '__name__', function)}"
    return None


def why_not_changed(layer: Any) -> Optional[str]:
    """Says which part of a layer is not what the library made it of, such as an adapter's.

    Args:
        layer: whose parts are layers of its own module, of transformers' common one, or Keras'.
    """
    from transformers.modeling_tf_utils import TFConv1D, keras

    plain = (
        TFConv1D,
        keras.layers.Dense,
        keras.layers.Dropout,
        keras.layers.LayerNormalization,
    )
    for part in layer._flatten_layers(include_self=False):
        if type(part) not in plain and type(part).__module__ != type(layer).__module__:
            return f"its {part.name} is a {type(part).__name__}"
        if "call" in vars(part):
            return f"the call of its {part.name} was replaced"
    return None


def why_not_tensors(x: tf.Tensor, training: Any) -> Optional[str]:
    """What operations cannot compute with, of the arguments that all layers have."""
    if x.dtype not in _COMPUTE_DTYPES:
        return f"it computes in {x.dtype.name}"
    if is_training(training) is None:
        return "training is a tensor"
    return None


def is_training(training: Any) -> Optional[bool]:
    """What `training` says when the graph is traced; None if it says nothing then."""
    static = tf.get_static_value(training) if tf.is_tensor(training) else bool(training)
    return None if static is None else bool(static)
