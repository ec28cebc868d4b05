"""The Keras model that NeurST trains, with update_cycle and freeze_variables."""

from __future__ import annotations

import math
import re

import tensorflow as tf
from absl import logging

from tf_ls.neurst.accumulation import GradientAccumulator


class TrainingModel(tf.keras.Model):
    """Takes the place of NeurST's GradAccumKerasModel, which needs TensorFlow 2.3 or 2.4.

    A step, which is what NeurST's callbacks, schedules and train_steps count, takes `update_cycle`
    batches and applies the mean of their gradients once. Every batch weighs the same, however many
    tokens it has. If the data of an epoch end within a step, it is the mean of fewer batches.

    Clipping is the optimizer's work: NeurST builds it with `clip_norm` and `clip_value`, and the
    optimizer clips what it applies, which is accumulated, unscaled and summed over replicas.

    Args:
      inputs, outputs: of the functional model.
      update_cycle: how many batches make a step; None is 1.
      clip_value: bound on each element of a gradient, or None. Checked here only.
      clip_norm: bound on the Euclidean norm of each variable's gradient, or None. Checked here
        only.
      freeze_variables: a regular expression; variables in whose name it is found are not trained.

    Raises:
      ValueError: update_cycle, clip_value or clip_norm is not positive, or freeze_variables is no
        regular expression, or fits no trainable variable, or all of them.
    """

    _frozen_names: frozenset[str] = frozenset()  # Keras asks for weights while it initializes

    def __init__(
        self,
        inputs,
        outputs,
        update_cycle: int | None = 1,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        freeze_variables: str | None = None,
    ):
        super().__init__(inputs, outputs)
        self._update_cycle = _checked_count("update_cycle", update_cycle)
        self._accumulator = None
        clip_value = _checked_bound("clip_value", clip_value)
        clip_norm = _checked_bound("clip_norm", clip_norm)
        names = [variable.name for variable in self.trainable_weights]
        if freeze_variables:
            self._frozen_names = _matching(freeze_variables, names)

        honoured = []
        if self._update_cycle > 1:
            honoured.append(f"update_cycle={self._update_cycle} (a step is the mean of as many)")
        if clip_value is not None:
            honoured.append(f"clip_value={clip_value:g}")
        if clip_norm is not None:
            honoured.append(f"clip_norm={clip_norm:g} (of each variable's gradient)")
        if self._frozen_names:
            honoured.append(
                f"freeze_variables={freeze_variables} ({len(self._frozen_names)} of {len(names)})"
            )
        if honoured:
            logging.info("tf_ls: NeurST trains with %s", ", ".join(honoured))

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        return [v for v in super().trainable_weights if v.name not in self._frozen_names]

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        frozen = [v for v in super().trainable_weights if v.name in self._frozen_names]
        return super().non_trainable_weights + frozen

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """Keras' own step if it is a whole one, or else the part of it that one batch makes."""
        if self._update_cycle == 1:
            return super().train_step(data)
        x, y, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            if self._scales_loss():
                loss = self.optimizer.get_scaled_loss(loss)
        self._accumulator.add(tape.gradient(loss, self.trainable_weights))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def make_train_function(self, force: bool = False):
        """A function from an iterator to the logs of one step, as Keras' documentation has it."""
        if self._update_cycle == 1:
            return super().make_train_function(force)
        if self._accumulator is not None:
            self._accumulator.reset()  # of what an interrupted `fit` may have left
        if self.train_function is not None and not force:
            return self.train_function

        if self._accumulator is None:
            with self.distribute_strategy.scope():
                self._accumulator = GradientAccumulator(self.trainable_weights)
        accumulate = super().make_train_function(force)

        def update(batches: tf.Tensor) -> None:
            self.distribute_strategy.run(self._apply_accumulated, args=(batches,))

        if not self.run_eagerly:
            update = tf.function(update)

        def train_function(iterator):
            batches = 0
            try:
                while batches < self._update_cycle:
                    logs = accumulate(iterator)
                    batches += 1
            except (StopIteration, tf.errors.OutOfRangeError):
                if batches == 0:
                    raise
            update(tf.constant(batches))
            return logs

        self.train_function = train_function
        return train_function

    def _apply_accumulated(self, batches: tf.Tensor) -> None:
        gradients = self._accumulator.mean(batches)
        if self._scales_loss():
            # Infinite or undefined gradients of any batch are so in the mean: the optimizer skips
            # the step. The scale changes with updates only, so it is the same for all batches.
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(list(zip(gradients, self.trainable_weights)))
        self._accumulator.reset()

    def _scales_loss(self) -> bool:
        return isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)


def _checked_count(name: str, value: int | str | None) -> int:
    try:
        count = 1.0 if value is None else float(value)
    except ValueError:
        count = math.nan
    if not (count >= 1 and count.is_integer()):
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(count)


def _checked_bound(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not 0.0 < float(value) < math.inf:
        raise ValueError(f"{name} must be positive, or left out for no clipping, not {value!r}")
    return float(value)


def _matching(expression: str, names: list[str]) -> frozenset[str]:
    try:
        matching = frozenset(name for name in names if re.search(expression, name))
    except re.error as error:
        raise ValueError(
            f"freeze_variables={expression!r} is no regular expression: {error}"
        ) from error
    if not matching or len(matching) == len(names):
        which = "all of" if matching else "none of"
        raise ValueError(
            f"freeze_variables={expression!r} is found in {which} the names of the {len(names)} "
            f"trainable variables, which are like {names[0]!r} and {names[-1]!r}"
        )
    return matching
