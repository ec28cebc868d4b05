"""Sums of gradients over several batches."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_ls.neurst.aggregation import to_dense


class GradientAccumulator:
    """Adds up the gradients of `variables`, on each replica by itself.

    Costs one copy of the variables. `add`, `mean` and `reset` are made for replica context, where
    gradients are computed and applied; `reset` works everywhere.
    """

    def __init__(self, variables: Sequence[tf.Variable]):
        self._variables = list(variables)
        self._sums = [
            tf.Variable(
                tf.zeros(variable.shape, variable.dtype),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for variable in self._variables
        ]
        self._has_gradient = [False] * len(self._variables)

    def add(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> None:
        """Adds the gradients of one batch, in the order of the variables."""
        self._has_gradient = [gradient is not None for gradient in gradients]
        for total, gradient, variable in zip(self._sums, gradients, self._variables):
            if gradient is not None:
                total.assign_add(to_dense(gradient, variable))

    def mean(self, batches: tf.Tensor) -> list[tf.Tensor | None]:
        """The sums divided by `batches`; None where there was no gradient."""
        return [
            total.value() / tf.cast(batches, total.dtype) if has_gradient else None
            for total, has_gradient in zip(self._sums, self._has_gradient)
        ]

    def reset(self) -> None:
        for total in self._sums:
            total.assign(tf.zeros(total.shape, total.dtype))
