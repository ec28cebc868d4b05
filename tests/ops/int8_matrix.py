"""Products with matrices in int8 as the CPU makes them, in NumPy and float64."""

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.files.quantization import quantize


class Int8Matrix(np.ndarray):
    """A matrix of whole numbers times a scale for each output.

    As the right-hand side of a product it rounds the rows of the left-hand side as they come, each
    to whole numbers from -127 to 127 times a scale of its own.
    """

    def __rmatmul__(self, x):
        x = np.asarray(x, np.float64)
        scales = np.abs(x).max(axis=-1, keepdims=True, initial=0.0) / 127
        scales = np.where(scales > 0, scales, 1.0)
        return np.rint(x / scales) * scales @ np.asarray(self)


def in_int8(matrix, *, outputs_are_rows=False):
    """The same matrix for the reference and for operations."""
    numbers, scales, _ = quantize(matrix, outputs_are_rows=outputs_are_rows)
    wide = scales[:, np.newaxis] if outputs_are_rows else scales
    reference = (numbers * wide.astype(np.float64)).view(Int8Matrix)
    return reference, ops.Int8Weight(tf.constant(numbers), tf.constant(scales))
