"""Keras optimizers on the fused operations, for Keras 2 and Keras 3 (whatever tf.keras is)."""

from tf_ls.keras_version import KERAS_3

if KERAS_3:
    from tf_ls.optimizers.keras3_adam import LSAdam
else:
    from tf_ls.optimizers.legacy_adam import LSAdam

__all__ = ["LSAdam"]
