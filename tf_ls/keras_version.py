"""Which Keras tf.keras is, and that it can run TensorFlow operations."""

import tensorflow as tf

# Keras 2 has no tf.keras.version.
KERAS_3: bool = hasattr(tf.keras, "version") and tf.keras.version().startswith("3.")

if KERAS_3 and tf.keras.backend.backend() != "tensorflow":
    raise ImportError(
        "The layers and optimizers of tf_ls run on TensorFlow, but Keras runs on"
        f" {tf.keras.backend.backend()}: set KERAS_BACKEND=tensorflow before Keras is imported"
    )
