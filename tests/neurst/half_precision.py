"""NeurST in its own default dtype, for a while."""

import contextlib
from collections.abc import Iterator

import neurst  # noqa: F401  before TensorFlow, so that Keras 2 is chosen
import tensorflow as tf
from neurst.utils import compat


@contextlib.contextmanager
def float16() -> Iterator[None]:
    """NeurST's own default dtype."""
    policy, dtype, lowest = (
        tf.keras.mixed_precision.global_policy(),
        compat.CUSTOM_GLOBAL_FLOATX,
        compat.FLOAT_MIN,
    )
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    compat.register_computation_dtype("float16", -6.0e4)
    yield
    tf.keras.mixed_precision.set_global_policy(policy)
    compat.register_computation_dtype(dtype, lowest)
