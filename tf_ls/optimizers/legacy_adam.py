"""LSAdam for Keras 2."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tf_ls.ops.adam import Gradient, adam
from tf_ls.ops.host import on_host
from tf_ls.optimizers import loss_scale
from tf_ls.optimizers.support import AMSGRAD, why_not

_INFINITY = float("inf")


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSAdam(tf.keras.optimizers.legacy.Adam):
    """Adam that updates all variables by one operation.

    It has the arithmetic, the variables and the configuration of tf.keras.optimizers.legacy.Adam:
    checkpoints go from one to the other, and so do configurations, as long as weight_decay is not
    used. Gradients are clipped and variables decay in the same operation. Sparse gradients mean
    what they mean there: where there is none, moments decay and the variable moves.

    Args:
        learning_rate: a number, a tensor, a schedule, or a function without arguments.
        beta_1, beta_2, epsilon: as in Adam.
        amsgrad: must be False.
        name: of the optimizer.
        weight_decay: times the learning rate, the part of each variable that a step takes away
            (AdamW); None for none.
        kwargs: clipnorm, clipvalue, global_clipnorm, decay, gradient_aggregator and
            gradient_transformers, as in Adam.

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
        name: str = "LSAdam",
        weight_decay: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, name, **kwargs)
        if weight_decay is not None and weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
        self.weight_decay = weight_decay
        self._no_decay: list[str] = []
        self._loss_scale = None
        self._gradients_are_scaled = False
        if amsgrad:
            self._refuse(AMSGRAD)

    def exclude_from_weight_decay(self, var_names: Sequence[str]) -> None:
        """Lets variables be whose name contains one of these regular expressions."""
        self._no_decay = list(var_names)

    @contextlib.contextmanager
    def scaled_by(self, loss_scale: Any, gradients_are_scaled: bool) -> Iterator[None]:
        """Within it steps are skipped, and the scale adapts, as LSLossScaleOptimizer describes."""
        self._loss_scale, self._gradients_are_scaled = loss_scale, gradients_are_scaled
        try:
            yield
        finally:
            self._loss_scale = None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.weight_decay is not None:  # else the configuration is one of Adam's, too
            config["weight_decay"] = self.weight_decay
        return config

    def _refuse(self, reason: str) -> None:
        """Called where one operation cannot do what Adam does; Adam does it if this returns."""
        raise NotImplementedError(f"{type(self).__name__} cannot do this: {reason}.")

    def can_fuse(self, variables: Sequence[tf.Variable]) -> bool:
        """Whether one operation can do a step on these variables; refuses if not."""
        reason = AMSGRAD if self.amsgrad else why_not(variables)
        if self.clipnorm is not None and self.global_clipnorm is not None:
            reason = "it clips by clipnorm or by global_clipnorm, not by both"
        if reason is not None:
            self._refuse(reason)
        return reason is None

    def _transform_gradients(self, grads_and_vars):
        # Either there are transformers or there is clipping, which the operation does.
        grads_and_vars = list(grads_and_vars)
        if self.gradient_transformers or not self.can_fuse([v for _, v in grads_and_vars]):
            return super()._transform_gradients(grads_and_vars)
        return grads_and_vars

    def _distributed_apply(self, distribution, grads_and_vars, apply_state, name):
        gradients, variables = zip(*grads_and_vars)
        if not self.can_fuse(variables):
            return super()._distributed_apply(distribution, grads_and_vars, apply_state, name)
        for gradient, variable in grads_and_vars:
            if variable.constraint is not None and isinstance(gradient, tf.IndexedSlices):
                raise RuntimeError(
                    "a variable with a constraint cannot have a sparse gradient, as"
                    f" {variable.name} has"
                )

        def step(_: tf.Variable, gradients: Sequence[Gradient]) -> tf.Tensor:
            # Once a replica; variables.handle means the replica's own.
            return self._step(variables, gradients, self._coefficients())

        updates = distribution.extended.update(
            variables[0], step, args=(list(gradients),), group=False
        )
        if self._loss_scale is not None:
            # Gradients were summed over replicas before: all have seen the same.
            finite = tf.nest.flatten(distribution.experimental_local_results(updates))[0]
            updates = [updates, loss_scale.update(self._loss_scale, finite)]
        with tf.control_dependencies(tf.nest.flatten(updates)):
            constrained = [
                distribution.extended.update(v, lambda v: v.assign(v.constraint(v)), group=False)
                for v in variables
                if v.constraint is not None
            ]
            with tf.control_dependencies(tf.nest.flatten(constrained)):
                return self.iterations.assign_add(1, read_value=tf.executing_eagerly())

    def _coefficients(self) -> dict[str, tf.Tensor]:
        with on_host():
            return self._fallback_apply_state("/CPU:0", tf.float32)

    def _step(self, variables, gradients, coefficients) -> tf.Tensor:
        clip_norm = self.global_clipnorm if self.clipnorm is None else self.clipnorm
        factor = 1.0
        if self._loss_scale is not None and self._gradients_are_scaled:
            with on_host():
                factor = 1.0 / loss_scale.value_of(self._loss_scale)
        return adam(
            variables,
            [self.get_slot(v, "m") for v in variables],
            [self.get_slot(v, "v") for v in variables],
            gradients,
            learning_rate=coefficients["lr_t"],
            beta_1=coefficients["beta_1_t"],
            beta_2=coefficients["beta_2_t"],
            beta_1_power=coefficients["beta_1_power"],
            beta_2_power=coefficients["beta_2_power"],
            epsilon=coefficients["epsilon"],
            weight_decay=[self._weight_decay_of(v) for v in variables],
            gradient_factor=factor,
            clip_value=_INFINITY if self.clipvalue is None else self.clipvalue,
            clip_norm=_INFINITY if clip_norm is None else clip_norm,
            clip_each=self.clipnorm is not None,
            # As Adam, which updates with what it is given. Keras' LossScaleOptimizer skips steps.
            skip_nonfinite=self._loss_scale is not None,
        ).finite

    def _weight_decay_of(self, variable: tf.Variable) -> float:
        excluded = any(re.search(name, variable.name) for name in self._no_decay)
        return 0.0 if excluded else self.weight_decay or 0.0
