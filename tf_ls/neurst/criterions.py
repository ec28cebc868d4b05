"""NeurST's label-smoothed cross entropy without a one-hot, and in training without the logits.

Where the logits come from packed rows (see packed_model.py), the loss is computed from these rows:
the padded logits are then nobody's, and TensorFlow leaves their projection out of the step. For
`reduce_loss`, which wants one number, its gradient is computed on the spot.
"""

from __future__ import annotations

import contextvars
from typing import Any, NamedTuple

import tensorflow as tf
from neurst.criterions import register_criterion
from neurst.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropy
from neurst.criterions.label_smoothed_cross_entropy_with_kd import LabelSmoothedCrossEntropyWithKd
from neurst.models.model_utils import input_length_to_nonpadding
from neurst.utils.compat import is_tf_tensor

from tf_ls import ops
from tf_ls.neurst.eligibility import is_stock_only, report_fused
from tf_ls.ops.host import on_host

# The criterion whose caller sums up all losses anyway: `__call__` returns it their sum.
_summed_up: contextvars.ContextVar[LabelSmoothedCrossEntropy | None] = contextvars.ContextVar(
    "_summed_up", default=None
)


def make_call(stock):
    """`LabelSmoothedCrossEntropy.__call__`, of which its subclasses make use."""

    def __call__(self, model_inp, model_out):
        if is_stock_only():
            return stock(self, model_inp, model_out)
        report_fused("LabelSmoothedCrossEntropy", "without one-hot labels")
        logits = model_out["logits"] if isinstance(model_out, dict) else model_out
        if not is_tf_tensor(logits):
            raise ValueError(f"Not supported type of model_out: {type(model_out)}")
        labels = model_inp["trg"]
        with tf.name_scope("loss"):
            with on_host():
                label_weights = _label_weights(model_inp, labels)
            summed = _summed_up.get() is self
            nll_sum = _loss_sum(logits, labels, label_weights, self._label_smoothing, summed)
            n_samples = tf.cast(tf.expand_dims(tf.shape(labels)[0], axis=0), tf.float32)
            return (
                nll_sum,
                n_samples,
                tf.reduce_sum(label_weights, axis=1),
            )

    return __call__


def make_reduce_loss(stock):
    """`reduce_loss`, which NeurST calls for training alone: a mean over all labels."""

    def reduce_loss(self, model_inp, model_out):
        before = _summed_up.set(self if _has_own_call(self) else None)
        try:
            return stock(self, model_inp, model_out)
        finally:
            _summed_up.reset(before)

    return reduce_loss


def register() -> None:
    """Registers the criterion under a name of its own, for those who ask for it."""

    @register_criterion("ls_label_smoothed_cross_entropy")
    class LSLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropy):
        """`LabelSmoothedCrossEntropy`, which is fused under either name."""

    del LSLabelSmoothedCrossEntropy


def _has_own_call(criterion: LabelSmoothedCrossEntropy) -> bool:
    """Whether nobody but NeurST sees what `__call__` returns to `reduce_loss`."""
    own = LabelSmoothedCrossEntropy.__call__, LabelSmoothedCrossEntropyWithKd.__call__
    return type(criterion).__call__ in own


def _label_weights(model_inp: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
    """How much each label counts, float32 [B, L], as NeurST reads it."""

    def given(*names: str) -> tf.Tensor | None:
        return next((model_inp[n] for n in names if model_inp.get(n) is not None), None)

    padding = given("trg_padding", "padding")
    if padding is None:
        length = given("trg_length", "length")
        label_weights = input_length_to_nonpadding(length, tf.shape(labels)[1], tf.float32)
    else:
        label_weights = tf.cast(1 - padding, tf.float32)
    mask = given("mask")
    return label_weights if mask is None else label_weights * tf.cast(mask, tf.float32)


def _loss_sum(
    logits: tf.Tensor,
    labels: tf.Tensor,
    label_weights: tf.Tensor,
    label_smoothing: float,
    summed: bool,
) -> tf.Tensor:
    """The sum of each sentence's losses, float32 [B]; if `summed`, of all losses, a scalar."""
    layer = _LossSum(label_smoothing, summed)
    if any(tf.keras.backend.is_keras_tensor(x) for x in (logits, labels, label_weights)):
        return layer(logits, labels, label_weights)
    return layer.call(logits, labels, label_weights)


class _LossSum(tf.keras.layers.Layer):
    """A layer, because only when it is called for a graph can the logits' origin be seen."""

    def __init__(self, label_smoothing: float, summed: bool):
        super().__init__(dtype="float32", autocast=False)
        self._label_smoothing = label_smoothing
        self._summed = summed

    def call(self, logits, labels, label_weights):
        if labels.dtype not in (tf.int32, tf.int64):
            labels = tf.cast(labels, tf.int32)
        projection = _projection_of(logits)
        if projection is None:
            losses = ops.cross_entropy(logits, labels, label_weights, self._label_smoothing).losses
            return tf.reduce_sum(losses, axis=None if self._summed else 1)
        # The operation only counts positions, since it knows no batch.
        same_shape = tf.debugging.assert_equal(
            tf.shape(labels), projection.batch_and_length, "labels and logits differ in shape"
        )
        with tf.control_dependencies([same_shape]):
            losses = ops.projected_cross_entropy(
                projection.x,
                ops.RowLayout(None, None, projection.indices),
                projection.weights,
                projection.bias,
                labels,
                label_weights,
                self._label_smoothing,
                summed=self._summed,
            ).losses
        return losses if self._summed else tf.reduce_sum(losses, axis=1)


class _Projection(NamedTuple):
    """The inputs of an LSOutputProjection."""

    x: tf.Tensor
    indices: tf.Tensor
    weights: tf.Tensor
    bias: tf.Tensor | None
    batch_and_length: tf.Tensor


def _projection_of(logits: tf.Tensor) -> _Projection | None:
    """What made the logits in the graph, if it was ops.output_projection; None in eager mode."""
    op: Any = getattr(logits, "op", None)
    while op is not None and op.type in ("Identity", "Cast") and op.inputs[0].dtype.is_floating:
        op = op.inputs[0].op
    if op is None or op.type != "LSOutputProjection":
        return None
    x, indices, weights, *bias, batch_and_length = op.inputs
    return _Projection(x, indices, weights, bias[0] if bias else None, batch_and_length)
