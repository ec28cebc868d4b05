"""ops.adam: variables and moments after a step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import DTYPES, Case, Inputs
from tf_ls.testing.shapes import random_shape

BETAS = {"beta_1": 0.9, "beta_2": 0.98}
EPSILON = 1e-6


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    """Random variables, the last of which may have a sparse gradient, with rows that repeat."""
    shapes = [random_shape(rng, int(rng.integers(1, 4))) for _ in range(rng.integers(1, 6))]
    inputs = _inputs(rng, shapes, step=int(rng.integers(1, 1000)))
    inputs["weight_decay"] = float(rng.choice([0.0, 0.1]))
    inputs["gradient_factor"] = float(rng.choice([1.0, 2.0**-10]))
    if rng.integers(2) and shapes[-1][0]:
        rows = rng.integers(0, shapes[-1][0], int(rng.integers(0, 30)))
        inputs["rows"] = rows
        inputs["gradients"][-1] = rng.normal(size=[len(rows), *shapes[-1][1:]])
    return inputs


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    layer = [(256, 768), (768,), (256, 256), (256,), (256, 1024), (1024,), (1024, 256), (256,)]
    return _inputs(rng, [*layer * 6, (8000, 256)], step=10)


def _inputs(rng, shapes, step) -> Inputs:
    def float32(make):
        return [tf.constant(make(shape), tf.float32) for shape in shapes]

    return {
        "variables": float32(lambda shape: rng.normal(size=shape)),
        "m": float32(lambda shape: 0.1 * rng.normal(size=shape)),
        "v": float32(lambda shape: rng.uniform(0.1, 1.0, shape)),
        "gradients": [rng.normal(size=shape) for shape in shapes],
        "rows": None,
        "step": step,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "gradient_factor": 1.0,
    }


def prepare(inputs: Inputs) -> Inputs:
    state = {name: list(map(tf.Variable, inputs[name])) for name in ("variables", "m", "v")}
    return {**inputs, **state}


def operation(variables, m, v, gradients, rows, step, **options):
    if rows is not None:
        shape = tf.constant(variables[-1].shape.as_list())
        gradients = [*gradients[:-1], tf.IndexedSlices(gradients[-1], rows, shape)]
    powers = {f"{name}_power": beta**step for name, beta in BETAS.items()}
    ops.adam(variables, m, v, gradients, **BETAS, **powers, epsilon=EPSILON, **options)
    return [[x.read_value() for x in part] for part in (variables, m, v)]


def exact(variables, m, v, gradients, rows, gradient_factor, **options):
    gradients = [np.asarray(gradient) for gradient in gradients]
    if rows is not None:
        whole = np.zeros(variables[-1].shape)
        np.add.at(whole, np.asarray(rows), gradients[-1])
        gradients[-1] = whole
    updated = [
        reference.adam(*state, gradient * gradient_factor, **BETAS, epsilon=EPSILON, **options)
        for *state, gradient in zip(variables, m, v, gradients)
    ]
    return list(zip(*updated))


def stock(variables, m, v, gradients, rows, step, learning_rate, weight_decay, gradient_factor):
    """The operation of Keras' optimizers, one variable at a time; dense gradients as they are."""
    if rows is not None or weight_decay or gradient_factor != 1.0:
        raise ValueError("stock Adam takes dense gradients, no weight decay and no factor")
    for *state, gradient in zip(variables, m, v, gradients):
        tf.raw_ops.ResourceApplyAdam(
            **{name: x.handle for name, x in zip(("var", "m", "v"), state)},
            beta1_power=BETAS["beta_1"] ** step,
            beta2_power=BETAS["beta_2"] ** step,
            lr=learning_rate,
            beta1=BETAS["beta_1"],
            beta2=BETAS["beta_2"],
            epsilon=EPSILON,
            grad=tf.cast(gradient, tf.float32),
        )
    return [[x.read_value() for x in part] for part in (variables, m, v)]


CASE = Case(
    "adam",
    make_inputs,
    operation,
    reference=exact,
    gradients=False,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    prepare=prepare,
    output_dtype="float32",
    tolerances=dict.fromkeys(DTYPES, 1e-5),  # only the gradients are of the dtype
    kernels=("LSAdam",),
)
