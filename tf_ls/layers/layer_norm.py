"""LSLayerNorm."""

from typing import Any

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.operation_layer import OperationLayer


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSLayerNorm(OperationLayer):
    """Layer normalization of the last dimension as one fused operation.

    (x - mean) / sqrt(variance + epsilon) * gamma + beta; Ba et al., "Layer normalization", 2016.
    Statistics, gamma and beta are float32 under every policy.

    Args:
        epsilon: positive; 1e-6 unless given.
        **kwargs: name, dtype (float32, bfloat16, float16 or a mixed policy) and trainable.

    Raises:
        ValueError: an epsilon that is not positive, an unknown dtype.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        if not epsilon > 0.0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.epsilon = epsilon

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}

    def build(self, input_shape: Any) -> None:
        size = input_shape[-1] if len(input_shape) > 0 else None
        if size is None:
            raise ValueError(
                f"{self.name}: the last dimension must be known, got inputs of shape {input_shape}"
            )
        self.add_parameters(["gamma", "beta"], [(int(size),), (int(size),)])
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the normalized inputs [..., H] in the compute dtype."""
        inputs = tf.cast(inputs, self.compute_dtype)
        return ops.layer_norm(inputs, *self.parameters(), self.epsilon)
