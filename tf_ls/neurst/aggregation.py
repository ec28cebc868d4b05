"""How an optimizer puts gradients together before it clips and applies them.

Optimizers of Keras 2 have a place for this, `gradient_aggregator`, which `apply_gradients` calls
once for each update: after gradients were accumulated and unscaled, before they are clipped.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import tensorflow as tf

GradientsAndVariables = list[tuple[tf.Tensor, tf.Variable]]


def to_dense(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> tf.Tensor:
    """The gradient of `variable` as one tensor of its shape: rows given repeatedly are added up."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])


def prepare_optimizer(optimizer: tf.keras.optimizers.Optimizer, workers: str | None = None) -> None:
    """Makes `optimizer` clip whole gradients, and average them over workers.

    Args:
      optimizer: an optimizer of Keras 2, without a loss scale around it.
      workers: "horovod" or "byteps", to average over their workers.
    """
    if workers is not None:
        optimizer.gradient_aggregator = _average_over(workers)
        return
    clipping = (optimizer.clipvalue, optimizer.clipnorm, optimizer.global_clipnorm)
    if any(bound is not None for bound in clipping):
        aggregate = optimizer.gradient_aggregator
        optimizer.gradient_aggregator = lambda pairs: aggregate(_all_dense(pairs))


def _all_dense(pairs: Iterable) -> GradientsAndVariables:
    """Clipping would take each slice of a sparse gradient for a gradient of its own.

    The embedding of a word that occurs n times in a batch has n slices: clipped one by one, their
    sum may be n times what was asked for, and the norm of all of them is not that of the gradient.
    """
    return [(to_dense(gradient, variable), variable) for gradient, variable in pairs]


def _average_over(workers: str):
    """A gradient aggregator that averages over the workers of Horovod or BytePS.

    Sparse gradients are made dense first, as NeurST has it with float16: workers gathering each
    other's slices would send more than they save.
    """
    backend = importlib.import_module(f"{workers}.tensorflow")
    average = backend.push_pull if workers == "byteps" else backend.allreduce  # by default

    def aggregate(pairs: Iterable) -> GradientsAndVariables:
        pairs = _all_dense(pairs)
        if backend.size() == 1:
            return pairs
        return [(average(gradient), variable) for gradient, variable in pairs]

    return aggregate
