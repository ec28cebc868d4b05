"""One step of Adam on any number of variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Union

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.host import on_host

Gradient = Union[tf.Tensor, tf.IndexedSlices]


class AdamResult(NamedTuple):
    """What a step has seen of the gradients."""

    finite: tf.Tensor  # bool []: whether none of them had an infinity or a NaN
    norm: tf.Tensor  # float32 []: their global norm before clipping by norm


def adam(
    variables: Sequence[tf.Variable],
    m: Sequence[tf.Variable],
    v: Sequence[tf.Variable],
    gradients: Sequence[Gradient],
    *,
    learning_rate: float | tf.Tensor,
    beta_1: float | tf.Tensor,
    beta_2: float | tf.Tensor,
    beta_1_power: float | tf.Tensor,
    beta_2_power: float | tf.Tensor,
    epsilon: float | tf.Tensor,
    weight_decay: float | Sequence[float] | tf.Tensor = 0.0,
    gradient_factor: float | tf.Tensor = 1.0,
    clip_value: float | tf.Tensor = float("inf"),
    clip_norm: float | tf.Tensor = float("inf"),
    clip_each: bool = False,
    skip_nonfinite: bool = True,
) -> AdamResult:
    """Updates variables and their moments in place, in one operation.

    Gradients are multiplied by gradient_factor, held within [-clip_value, clip_value], and scaled
    down where their norm is above clip_norm. Then, with g for one of them,

        m += (g - m) * (1 - beta_1)
        v += (g^2 - v) * (1 - beta_2)
        variable -= learning_rate * weight_decay * variable
        variable -= learning_rate * sqrt(1 - beta_2_power) / (1 - beta_1_power)
                    * m / (sqrt(v) + epsilon)

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015; weight decay of Loshchilov
    and Hutter, "Decoupled weight decay regularization", 2019. Tensors that were read from a
    variable before keep their values.

    Args:
        variables: float32, of any shapes, all on one device; none twice.
        m, v: a float32 variable each, of the same shape.
        gradients: a float32, float16 or bfloat16 tensor of the variable's shape, or
            tf.IndexedSlices of it: slices of the same index add up, and where there is none the
            gradient is zero (moments decay and the variable moves there too).
        learning_rate: finite.
        beta_1, beta_2: in [0, 1).
        beta_1_power, beta_2_power: to the power of the step, which counts from 1.
        epsilon: not negative.
        weight_decay: one number for all variables, or one for each.
        gradient_factor: the inverse of a loss scale.
        clip_value, clip_norm: not negative; infinity clips nothing.
        clip_each: clip_norm bounds the norm of each gradient, not the norm of all.
        skip_nonfinite: update nothing if a gradient is not finite.

    Returns:
        Whether the gradients were finite, and their global norm, of which slices are counted one
        by one (as in tf.linalg.global_norm).

    Raises:
        ValueError: if the lists are not equally long.
        tf.errors.InvalidArgumentError: if a variable is not initialized, not float32 or given
            twice, or if shapes, indices or hyperparameters are not as above.
    """
    count = len(variables)
    if not len(m) == len(v) == len(gradients) == count:
        raise ValueError(
            "variables, m, v and gradients must be equally long, got"
            f" {count}, {len(m)}, {len(v)} and {len(gradients)}"
        )
    if count == 0:
        return AdamResult(tf.constant(True), tf.constant(0.0))
    sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]
    order = sorted(range(count), key=sparse.__getitem__)  # the operation takes sparse ones last
    slices = [gradients[i] for i in order if sparse[i]]
    with on_host():
        weight_decay = tf.broadcast_to(tf.convert_to_tensor(weight_decay, tf.float32), [count])
        if any(sparse):
            weight_decay = tf.gather(weight_decay, order)
        scalars = {
            "learning_rate": tf.convert_to_tensor(learning_rate, tf.float32),
            "beta1": _double(beta_1),
            "beta2": _double(beta_2),
            "beta1_power": tf.convert_to_tensor(beta_1_power, tf.float32),
            "beta2_power": tf.convert_to_tensor(beta_2_power, tf.float32),
            "epsilon": tf.convert_to_tensor(epsilon, tf.float32),
            "gradient_factor": tf.convert_to_tensor(gradient_factor, tf.float32),
            "clip_value": tf.convert_to_tensor(clip_value, tf.float32),
            "clip_norm": tf.convert_to_tensor(clip_norm, tf.float32),
        }
    return AdamResult(
        *library.ops.ls_adam(
            variables=[variables[i].handle for i in order],
            moments=_stacked_handles([*(m[i] for i in order), *(v[i] for i in order)]),
            dense_gradients=[gradients[i] for i in order if not sparse[i]],
            sparse_gradients=[s.values for s in slices],
            indices=[tf.cast(s.indices, tf.int64) for s in slices],
            weight_decay=weight_decay,
            **scalars,
            clip_each=clip_each,
            skip_nonfinite=skip_nonfinite,
        )
    )


def _stacked_handles(variables: Sequence[tf.Variable]) -> tf.Tensor:
    """Their handles as one tensor, made when a tf.function is traced, not when it is called."""
    handles = [variable.handle for variable in variables]
    if any(hasattr(handle, "graph") for handle in handles):
        return library.ops.ls_stack_handles(handles)
    with tf.init_scope():
        return library.ops.ls_stack_handles(handles)


def _double(value: float | tf.Tensor) -> tf.Tensor:
    # tf.cast would make a float32 of a Python number first.
    return tf.cast(value, tf.float64) if tf.is_tensor(value) else tf.constant(value, tf.float64)
