"""Matrices in int8."""

from __future__ import annotations

from typing import NamedTuple, Union

import tensorflow as tf


class Int8Weight(NamedTuple):
    """A matrix in int8, each number times the scale of its output.

    On the CPU products quantise rows as they come, each with a scale of its own, and sum exactly in
    32 bits; on the GPU the matrix is multiplied out to what layers compute in when it is packed.
    """

    numbers: tf.Tensor
    """int8 [rows, columns], from -127 to 127."""

    scales: tf.Tensor
    """float32: of a layer's matrix one for each column, of a table [V, H] one for each word."""

    @property
    def shape(self) -> tf.TensorShape:
        return self.numbers.shape

    @property
    def dtype(self) -> tf.DType:
        """Of what it stands for."""
        return self.scales.dtype


AnyWeight = Union[tf.Tensor, Int8Weight]


def numbers_of(weight: AnyWeight) -> tf.Tensor:
    """Returns what operations take as the weight."""
    return weight.numbers if isinstance(weight, Int8Weight) else weight


def scales_of(weights: list[AnyWeight]) -> list[tf.Tensor]:
    """Returns the scales of those that are int8, in their order."""
    return [weight.scales for weight in weights if isinstance(weight, Int8Weight)]
