"""Loss scaling that LSAdam does itself, for Keras 2."""

from __future__ import annotations

import sys
import threading
from typing import Any

import tensorflow as tf

# The public name is a factory; this is the class around optimizers of tf.keras.optimizers.legacy.
LossScaleOptimizer = sys.modules[
    tf.keras.mixed_precision.LossScaleOptimizer.__module__
].LossScaleOptimizer

_thread = threading.local()


class LSLossScaleOptimizer(LossScaleOptimizer):
    """Keras' LossScaleOptimizer around LSAdam, without an operation for every gradient.

    LSAdam unscales gradients while it applies them, looks whether they are finite, and skips the
    step if they are not. Keras has operations for each gradient to do so, and a branch for which a
    GPU has to be waited for. Losses, scales, skipped steps and checkpoints are the same.

    `get_unscaled_gradients` returns its argument: the `apply_gradients` that follows it in the same
    thread (a replica's) unscales.
    """

    def get_unscaled_gradients(self, grads: list[Any]) -> list[Any]:
        self._gradients_have_been_unscaled = True  # as far as Keras' warnings are concerned
        _thread.gradients_are_scaled = True
        return list(grads)

    def apply_gradients(self, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
        scaled = getattr(_thread, "gradients_are_scaled", False)
        _thread.gradients_are_scaled = False
        gradients, variables = zip(*grads_and_vars)
        if self._optimizer.gradient_transformers or not self._optimizer.can_fuse(variables):
            if scaled:
                gradients = super().get_unscaled_gradients(gradients)
            return super().apply_gradients(zip(gradients, variables), *args, **kwargs)
        with self._optimizer.scaled_by(self._loss_scale, scaled):
            return self._optimizer.apply_gradients(zip(gradients, variables), *args, **kwargs)


def value_of(loss_scale: Any) -> tf.Tensor:
    """The present value, float32 [], of what a LossScaleOptimizer scales by."""
    return tf.cast(loss_scale() if callable(loss_scale) else loss_scale, tf.float32)


def update(loss_scale: Any, finite: tf.Tensor) -> tf.Operation:
    """What a dynamic loss scale does after a step, as Keras does it, but without branches.

    The scale grows after `growth_steps` steps with finite gradients and shrinks, to no less than 1,
    after one without.
    """
    if not hasattr(loss_scale, "growth_steps"):  # a fixed scale
        return tf.no_op()
    scale, counter = loss_scale.current_loss_scale, loss_scale.counter
    multiplier = tf.cast(loss_scale.multiplier, scale.dtype)
    grows = finite & (counter + 1 >= loss_scale.growth_steps)
    grown = scale * multiplier
    grown = tf.where(tf.math.is_finite(grown), grown, scale)
    shrunk = tf.maximum(scale / multiplier, 1.0)
    return tf.group(
        scale.assign(tf.where(finite, tf.where(grows, grown, scale), shrunk)),
        counter.assign(tf.where(finite & ~grows, counter + 1, tf.zeros_like(counter))),
    )
