"""Lets NeurST's trainer launch a step while the GPU still computes the one before.

Keras hands callbacks numbers, for which it waits for the GPU after each step, unless all of them
say that they take tensors. NeurST's own look at them every `summary_steps` only.
"""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf


def take_tensors(callbacks: Iterable[tf.keras.callbacks.Callback] | None) -> None:
    """Has NeurST's own callbacks, not those that users derive from them, take tensors."""
    for callback in callbacks or ():
        if type(callback).__module__.startswith("neurst.training."):
            callback._supports_tf_logs = True  # as Keras' own callbacks have it


def make_batch_end(stock):
    """`MetricReductionCallback.custom_on_train_batch_end`, which logs numbers and speed."""

    def custom_on_train_batch_end(self, step, logs=None):
        if logs and step % self._summary_steps == 0:
            # Before the clock is read, so that the time of a step is that of its computation.
            logs = {
                name: value.numpy() if tf.is_tensor(value) else value
                for name, value in logs.items()
            }
        return stock(self, step, logs)

    return custom_on_train_batch_end
