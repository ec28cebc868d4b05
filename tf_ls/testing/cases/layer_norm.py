"""ops.layer_norm."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.shapes import random_shape


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    hidden = int(rng.integers(5, 300))  # of few numbers a gradient is a small difference
    return _inputs(rng, [*random_shape(rng, int(rng.integers(0, 4))), hidden])


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    return _inputs(rng, [4096, 512])


def _inputs(rng, shape) -> Inputs:
    gamma, beta = (tf.constant(rng.normal(size=shape[-1:]), tf.float32) for _ in range(2))
    return {"x": rng.normal(size=shape), "gamma": gamma, "beta": beta}


CASE = Case(
    "layer_norm",
    make_inputs,
    ops.layer_norm,
    reference=reference.layer_norm,
    gradient_reference=reference.layer_norm_tf,
    stock=reference.layer_norm_tf,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSLayerNorm", "LSLayerNormGrad"),
)
