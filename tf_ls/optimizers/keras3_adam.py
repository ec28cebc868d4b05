"""LSAdam for Keras 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_ls.ops.adam import Gradient, adam
from tf_ls.optimizers.support import AMSGRAD, why_not

_INFINITY = float("inf")


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSAdam(tf.keras.optimizers.Adam):
    """Adam that updates all variables by one operation.

    It has the arguments, the arithmetic, the variables and the configuration of
    tf.keras.optimizers.Adam. Gradients are clipped and variables decay in the same operation.
    Slices of a sparse gradient with the same index add up (Keras' own adds their squares to v).

    XLA cannot compile it, and Keras 3 compiles models with XLA unless one of their layers forbids
    it: `model.compile(LSAdam(), ..., jit_compile=False)`.

    Raises:
        NotImplementedError: at construction if amsgrad is set; at the first step if variables are
            not float32, not on one device, or on one that tf_ls was not built for, and inside of a
            function that XLA compiles.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ):
        if amsgrad:
            raise _refusal(AMSGRAD)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        raise _refusal("this version of Keras updates variables one by one")

    def _clip_gradients(self, grads):
        return grads if self._clips_by_operation() else super()._clip_gradients(grads)

    def _clips_by_operation(self) -> bool:
        # Keras clips each replica's gradients, and adds them up then; the operation gets the sum.
        return tf.distribute.get_strategy().num_replicas_in_sync == 1

    def _apply_weight_decay(self, variables):
        pass  # the operation does it

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        gradients, variables = zip(*grads_and_vars)
        reason = why_not(variables)
        if reason is not None:
            raise _refusal(reason)

        def step(
            first: tf.Variable, gradients: Sequence[Gradient], learning_rate: tf.Tensor
        ) -> tf.Tensor:
            # Once a replica; variables.handle means the replica's own.
            return self._step(variables, gradients, learning_rate)

        distribution.extended.update(
            variables[0], step, args=(list(gradients), learning_rate), group=False
        )

    def _step(self, variables, gradients, learning_rate) -> tf.Tensor:
        index = [self._get_variable_index(variable) for variable in variables]
        number = tf.cast(self.iterations + 1, tf.float32)
        clips = self._clips_by_operation()
        clip_norm = self.clipnorm or self.global_clipnorm
        return adam(
            variables,
            [self._momentums[i].value for i in index],
            [self._velocities[i].value for i in index],
            gradients,
            learning_rate=tf.cast(learning_rate, tf.float32),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            beta_1_power=tf.pow(tf.cast(self.beta_1, tf.float32), number),
            beta_2_power=tf.pow(tf.cast(self.beta_2, tf.float32), number),
            epsilon=self.epsilon,
            weight_decay=[
                self.weight_decay if self.weight_decay and self._use_weight_decay(v) else 0.0
                for v in variables
            ],
            clip_value=self.clipvalue if clips and self.clipvalue else _INFINITY,
            clip_norm=clip_norm if clips and clip_norm else _INFINITY,
            clip_each=bool(self.clipnorm),
            skip_nonfinite=False,  # as Adam; a LossScaleOptimizer skips such steps itself
        ).finite


def _refusal(reason: str) -> NotImplementedError:
    return NotImplementedError(f"LSAdam cannot do this: {reason}.")
