"""Keeps batches of ids in host memory, where the fused operations read them.

NeurST's distribution strategies copy batches to the GPU, and its tasks compute lengths and decoder
inputs there. To have them back a step would first wait for the one before it to end.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from neurst.utils import compat

from tf_ls.neurst.eligibility import is_stock_only
from tf_ls.ops.host import on_host


def keep_on_host(strategy: tf.distribute.Strategy, dataset: Any) -> Any:
    """A dataset for Keras' `fit` whose batches stay in host memory, if they are integers alone."""
    # Other strategies do not copy batches, or have no say in it.
    if not isinstance(strategy, tf.distribute.MirroredStrategy) or not _has_integers_alone(dataset):
        return dataset
    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    return strategy.experimental_distribute_dataset(dataset, options)


def make_example_to_input(stock):
    """A task's `example_to_input`, which computes on the CPU in training."""

    def example_to_input(self, batch_of_data, mode):
        def compute(batch):
            with on_host():
                return stock(self, batch, mode)

        if mode != compat.ModeKeys.TRAIN or is_stock_only():
            return stock(self, batch_of_data, mode)
        if any(map(tf.keras.backend.is_keras_tensor, tf.nest.flatten(batch_of_data))):
            # Keras would record single operations, without where they are to run.
            return tf.keras.layers.Lambda(compute, name="example_to_input")(batch_of_data)
        return compute(batch_of_data)

    return example_to_input


def _has_integers_alone(dataset: Any) -> bool:
    if not isinstance(dataset, tf.data.Dataset):
        return False
    specs = tf.nest.flatten(dataset.element_spec)
    return all(isinstance(spec, tf.TensorSpec) and spec.dtype.is_integer for spec in specs)
