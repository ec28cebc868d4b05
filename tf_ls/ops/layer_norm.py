"""Layer normalization."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.library import library


def layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-6) -> tf.Tensor:
    """Normalizes the last dimension: (x - mean) / sqrt(variance + epsilon) * gamma + beta.

    Statistics are float32 whatever the dtype of x. Ba et al., "Layer normalization", 2016.

    Args:
        x: [..., H], float32, float16 or bfloat16.
        gamma, beta: float32 [H].
        epsilon: positive.

    Returns:
        A tensor like x.

    Raises:
        tf.errors.InvalidArgumentError: if gamma or beta do not fit x, or epsilon is not positive.
    """
    return library.ops.ls_layer_norm(x=x, gamma=gamma, beta=beta, epsilon=epsilon).y


@tf.RegisterGradient("LSLayerNorm")
def _layer_norm_gradient(op: tf.Operation, dy: tf.Tensor, _dmoments: tf.Tensor):
    x, gamma, _ = op.inputs
    return tuple(library.ops.ls_layer_norm_grad(dy=dy, x=x, gamma=gamma, moments=op.outputs[1]))
