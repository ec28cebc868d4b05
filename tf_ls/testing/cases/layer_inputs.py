"""What the inputs of the layers' cases have in common."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls.testing import reference
from tf_ls.testing.batches import random_batch
from tf_ls.testing.case import Inputs

ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox", "silu")

# What is timed: a hidden size of 256, and sentences as long as sentences are.
TIMED_HIDDEN, TIMED_HEADS, TIMED_FILTER = 256, 4, 1024
TIMED_LENGTHS = [7, 33, 12, 20, 25, 18, 40, 9, 15, 28, 22, 11, 30, 5, 17, 24]


def batch_inputs(
    rng: np.random.Generator,
    dtype: str,
    lengths: list[int],
    length: int,
    width: int,
    kind: str,
    prefix: str = "",
) -> Inputs:
    """Returns x [B, L, width], the batch that it is of, and its layout, all with the prefix."""
    batch = random_batch(rng, lengths, width, kind=kind, dtype=dtype, length=length)
    return {
        prefix or "x": tf.constant(batch.values, dtype),
        f"{prefix}_batch".lstrip("_"): batch,
        f"{prefix}_layout".lstrip("_"): batch.layout(),
    }


def timed_batch_inputs(rng: np.random.Generator, dtype: str, width: int = TIMED_HIDDEN) -> Inputs:
    return batch_inputs(rng, dtype, TIMED_LENGTHS, max(TIMED_LENGTHS), width, "packed")


def random_structure(rng: np.random.Generator, dtype: str, weights: list[np.ndarray]) -> Inputs:
    """Returns weights, and options that every layer has."""
    activation = str(rng.choice(ACTIVATIONS))
    if activation == "relu" and dtype != "float32":
        reference.keep_away_from_kink(weights)
    return {
        "weights": [tf.constant(w) for w in weights],
        "pre_norm": bool(rng.integers(2)),
        "activation": activation,
    }
