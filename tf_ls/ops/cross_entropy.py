"""Label-smoothed cross entropy, of logits or of the hidden states that they are made of."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.host import on_host
from tf_ls.ops.packing import RowLayout


class CrossEntropy(NamedTuple):
    """Losses of single labels or, where that is asked for, their sums over all labels.

    With the distribution t that gives 1 - label_smoothing to the label and
    label_smoothing / (V - 1) to each other word (Szegedy et al., "Rethinking the Inception
    architecture for computer vision", 2016, as NeurST has it):

    Attributes:
        losses: label_weights * (-sum(t * log softmax(logits)) - entropy(t)), float32: the
            cross entropy less the smallest value that it can have.
        nlls: label_weights * -log softmax(logits)[label], float32.
    """

    losses: tf.Tensor
    nlls: tf.Tensor


def cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    label_weights: tf.Tensor,
    label_smoothing: float = 0.0,
) -> CrossEntropy:
    """The label-smoothed cross entropy of logits.

    Args:
        logits: [..., V], float32, float16 or bfloat16. The gradient may take over their memory
            where nothing else reads them, as in the graph of a training step.
        labels: [...], int32 or int64, from 0 to V - 1 where the weight is not zero.
        label_weights: float32 [...]. A weight of zero, as padding has, takes a label out of the
            count: its logits are not read and their gradient is zero. No gradient flows to weights.
        label_smoothing: in [0, 1); 0 if V is 1.

    Returns:
        Losses [...] of the labels, with gradients.

    Raises:
        tf.errors.InvalidArgumentError: shapes that do not fit each other, a label outside of the
            vocabulary, label_smoothing out of range.
    """
    return CrossEntropy(
        *library.ops.ls_cross_entropy(
            logits=logits,
            labels=labels,
            label_weights=label_weights,
            label_smoothing=label_smoothing,
        )[:2]
    )


@tf.RegisterGradient("LSCrossEntropy")
def _cross_entropy_gradient(
    op: tf.Operation, dlosses: tf.Tensor, dnlls: tf.Tensor, _dstatistics: tf.Tensor
):
    logits, labels, label_weights = op.inputs
    dlogits = library.ops.ls_cross_entropy_grad(
        dlosses=dlosses,
        dnlls=dnlls,
        logits=logits,
        labels=labels,
        label_weights=label_weights,
        statistics=op.outputs[2],
        label_smoothing=op.get_attr("label_smoothing"),
    )
    return dlogits, None, None


def projected_cross_entropy(
    x: tf.Tensor,
    layout: RowLayout,
    weights: tf.Tensor,
    bias: tf.Tensor | None,
    labels: tf.Tensor,
    label_weights: tf.Tensor,
    label_smoothing: float = 0.0,
    *,
    summed: bool = False,
) -> CrossEntropy:
    """`cross_entropy` of what `output_projection` returns, without ever holding all the logits.

    They are made for some hundred rows at a time, in float32 whatever the dtype of x.

    Args:
        x: [R, H], float32, float16 or bfloat16.
        layout: of R rows, which names a position of the labels for each, none twice. Positions
            that it does not name have logits of zero, as `output_projection` gives them.
        weights: [V, H], float32 or of x's dtype; an embedding table, often.
        bias: [V], of the weights' dtype, or None.
        labels: [B, L], int32 or int64, from 0 to V - 1 where the weight is not zero.
        label_weights: float32 [B, L]; see `cross_entropy`.
        label_smoothing: in [0, 1); 0 if V is 1.
        summed: whether all that is wanted are sums over all labels. This is for training: the
            gradient of the sum of losses is computed along with it, while the logits are there, and
            kept, and the backward pass only multiplies it by a number. (So all of the gradient is
            NaN or infinite if that number is.) Of single losses nothing is kept, and the backward
            pass makes the logits once more.

    Returns:
        Losses [B, L] of the labels, with gradients; if summed, scalars, of which `nlls` has no
        gradient: pass it through tf.stop_gradient where TensorFlow would differentiate all that
        there is, as it does with all that a tf.function returns.

    Raises:
        tf.errors.InvalidArgumentError: shapes that do not fit each other, a label outside of the
            vocabulary, a position named twice, label_smoothing out of range.
        LookupError: when a gradient through summed `nlls` is asked for.
    """
    labels = tf.convert_to_tensor(labels)
    if labels.dtype == tf.int32:
        # TensorFlow takes an int32 behind an empty list, of biases, for one in a GPU's memory.
        with on_host():
            labels = tf.cast(labels, tf.int64)
    inputs = {
        "x": x,
        "indices": layout.indices,
        "weights": weights,
        "bias": [] if bias is None else [bias],
        "labels": labels,
        "label_weights": label_weights,
        "label_smoothing": label_smoothing,
    }
    if not summed:
        return CrossEntropy(*library.ops.ls_projected_cross_entropy(**inputs))
    loss, nll, _ = library.ops.ls_projected_cross_entropy_sum(**inputs)
    message = "nlls of projected_cross_entropy(summed=True) have no gradient"
    return CrossEntropy(loss, tf.raw_ops.PreventGradient(input=nll, message=message))


@tf.RegisterGradient("LSProjectedCrossEntropy")
def _projected_cross_entropy_gradient(op: tf.Operation, dlosses: tf.Tensor, dnlls: tf.Tensor):
    x, indices, weights, *bias, labels, label_weights = op.inputs
    gradients = library.ops.ls_projected_cross_entropy_grad(
        dlosses=dlosses,
        dnlls=dnlls,
        x=x,
        indices=indices,
        weights=weights,
        bias=bias,
        labels=labels,
        label_weights=label_weights,
        label_smoothing=op.get_attr("label_smoothing"),
    )
    return [gradients.dx, None, gradients.dweights, *gradients.dbias, None, None]


@tf.RegisterGradient("LSProjectedCrossEntropySum")
def _projected_cross_entropy_sum_gradient(
    op: tf.Operation, dloss: tf.Tensor, _dnll: tf.Tensor, _dreserve: tf.Tensor
):
    x, _, weights, *bias, _, _ = op.inputs
    gradients = library.ops.ls_projected_cross_entropy_sum_grad(
        dloss=dloss, x=x, weights=weights, bias=bias, reserve=op.outputs[2]
    )
    return [gradients.dx, None, gradients.dweights, *gradients.dbias, None, None]
