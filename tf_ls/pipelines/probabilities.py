"""Logits as probabilities."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last dimension, in the same type."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-logits)), in the same type."""
    return np.exp(-np.logaddexp(np.zeros_like(logits), -logits))


def highest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the places of the `count` highest of scores [N], highest first, all if there are
    fewer; of equal ones the first comes first."""
    return np.argsort(-scores, kind="stable")[:count]
