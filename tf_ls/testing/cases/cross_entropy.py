"""ops.cross_entropy and ops.projected_cross_entropy."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import output_projection
from tf_ls.testing.shapes import random_shape


def _labels(rng: np.random.Generator, counts: np.ndarray, vocabulary: int) -> Inputs:
    """Returns labels and weights of the shape of `counts`; where that is false they do not count.

    A label that does not count is no word.
    """
    dtype = rng.choice([np.int32, np.int64])
    labels = np.where(counts, rng.integers(0, vocabulary, counts.shape), -1)
    weights = np.where(counts, rng.uniform(0.5, 2.0, counts.shape), 0.0)
    return {
        "labels": labels.astype(dtype),
        "label_weights": tf.constant(weights, tf.float32),
        "label_smoothing": float(rng.choice([0.0, 0.1, 0.7])),
    }


# Of logits ---------------------------------------------------------------------------------------


def logits_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    shape = random_shape(rng, int(rng.integers(1, 3)), most=12)
    vocabulary = int(rng.integers(2, 1500))
    labels = _labels(rng, rng.random(shape) < 0.8, vocabulary)
    return {"logits": 3.0 * rng.normal(size=[*shape, vocabulary]), **labels}


def timed_logits_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    shape, vocabulary = [16, 32], 8000
    labels = {**_labels(rng, np.ones(shape, bool), vocabulary), "label_smoothing": 0.1}
    return {"logits": rng.normal(size=[*shape, vocabulary]), **labels}


def stock_of_logits(logits, labels, label_weights, label_smoothing):
    if logits.dtype.size < 4:  # as models do before a loss
        logits = tf.cast(logits, tf.float32)
    return reference.cross_entropy_tf(logits, labels, label_weights, label_smoothing)


def exact_of_logits(logits, labels, label_weights, label_smoothing):
    arrays = map(np.asarray, (logits, labels, label_weights))
    return reference.cross_entropy(*arrays, label_smoothing)


OF_LOGITS = Case(
    "cross_entropy",
    logits_inputs,
    ops.cross_entropy,
    reference=exact_of_logits,
    gradient_reference=stock_of_logits,
    constants=("label_weights",),
    stock=stock_of_logits,
    make_timing_inputs=timed_logits_inputs,
    output_dtype="float32",
    kernels=("LSCrossEntropy", "LSCrossEntropyGrad"),
)


# Of hidden states --------------------------------------------------------------------------------


def hidden_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    inputs = output_projection.make_inputs(rng, dtype)
    vocabulary = inputs["weights"].shape[0]
    labels = _labels(rng, inputs["batch"].real & (vocabulary > 1), vocabulary)
    if vocabulary == 1:
        labels["label_smoothing"] = 0.0
    return {**inputs, **labels, "summed": bool(rng.integers(2))}


def timed_hidden_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    inputs = output_projection.make_timing_inputs(rng, dtype)
    labels = _labels(rng, inputs["batch"].real, output_projection.TIMED_VOCABULARY)
    return {**inputs, **labels, "label_smoothing": 0.1, "summed": True}


def operation(x, batch, layout, weights, bias, summed, **labels):
    rows = batch.to_rows(x, layout)
    losses, nlls = ops.projected_cross_entropy(rows, layout, weights, bias, **labels, summed=summed)
    return losses, tf.stop_gradient(nlls) if summed else nlls


def exact(x, batch, layout, weights, bias, summed, **labels):
    logits = output_projection.exact(x, batch, layout, weights, bias)
    losses, nlls = exact_of_logits(logits, **labels)
    return (losses.sum(), nlls.sum()) if summed else (losses, nlls)


def stock(x, batch, layout, weights, bias, summed, **labels):
    logits = output_projection.stock(x, batch, layout, weights, bias)
    losses, nlls = stock_of_logits(logits, **labels)
    if not summed:
        return losses, nlls
    return tf.reduce_sum(losses), tf.stop_gradient(tf.reduce_sum(nlls))


OF_HIDDEN_STATES = Case(
    "projected_cross_entropy",
    hidden_inputs,
    operation,
    reference=exact,
    gradient_reference=stock,
    constants=("label_weights",),
    stock=stock,
    make_timing_inputs=timed_hidden_inputs,
    output_dtype="float32",
    kernels=(
        *("LSProjectedCrossEntropy", "LSProjectedCrossEntropyGrad"),
        *("LSProjectedCrossEntropySum", "LSProjectedCrossEntropySumGrad"),
        *("LSPack", "LSUnpack"),
    ),
)

CASES = (OF_LOGITS, OF_HIDDEN_STATES)
