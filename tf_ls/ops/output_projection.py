"""The projection onto a vocabulary, padding left out."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.packing import RowLayout


def output_projection(
    x: tf.Tensor,
    layout: RowLayout,
    weights: tf.Tensor,
    bias: tf.Tensor | None,
    batch_and_length: tf.Tensor,
) -> tf.Tensor:
    """The logits x * weights^T + bias of packed rows, as a padded tensor.

    Args:
        x: [R, H], float32, float16 or bfloat16.
        layout: of R rows.
        weights: [V, H], float32 or of x's dtype; an embedding table, often.
        bias: [V], of the weights' dtype, or None.
        batch_and_length: int32 [2], the B and L of the result.

    Returns:
        [B, L, V] of x's dtype; zeros where no row belongs, and no gradient from there.

    Raises:
        tf.errors.InvalidArgumentError: if shapes do not fit each other.
    """
    return library.ops.ls_output_projection(
        x=x,
        indices=layout.indices,
        weights=weights,
        bias=[] if bias is None else [bias],
        batch_and_length=batch_and_length,
    )


@tf.RegisterGradient("LSOutputProjection")
def _output_projection_gradient(op: tf.Operation, dlogits: tf.Tensor):
    x, indices, weights = op.inputs[:3]
    gradients = library.ops.ls_output_projection_grad(
        dlogits=dlogits, x=x, indices=indices, weights=weights, B=op.get_attr("B")
    )
    return [gradients.dx, None, gradients.dweights, *gradients.dbias, None]
