"""LSCrossEntropyLayer."""

from typing import Any, Optional, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import ClassOrInstanceGetConfig, CrossEntropyConfig, resolve_config
from tf_ls.layers.transformer_layer import attached_mask


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSCrossEntropyLayer(tf.keras.layers.Layer):
    """Label-smoothed cross entropy, summed over a batch, as one fused operation.

    It takes logits as they are, float32, float16 or bfloat16, and computes in float32 under every
    policy.

    Args:
        epsilon: the label smoothing, in [0, 1): the part of 1 that words other than the label
            share. Or a config from `LSCrossEntropyLayer.get_config(epsilon=0.1, ...)`, which the
            other arguments then override.
        padding_idx: the id that stands for padding in the targets; none unless given.
        **kwargs: name, dtype and trainable.

    Raises:
        ValueError: an epsilon outside [0, 1).
    """

    def __init__(
        self,
        epsilon: Union[float, CrossEntropyConfig] = 0.0,
        padding_idx: Optional[int] = None,
        **kwargs: Any,
    ):
        settings = {"padding_idx": padding_idx}
        config = resolve_config(CrossEntropyConfig, epsilon, settings)
        super().__init__(autocast=False, **kwargs)
        self.epsilon = config.epsilon
        self.padding_idx = config.padding_idx
        self.supports_masking = True
        self.supports_jit = False  # Keras 3 then leaves XLA out of compile(jit_compile="auto")

    def _keras_get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "padding_idx": self.padding_idx,
        }

    get_config = ClassOrInstanceGetConfig(CrossEntropyConfig, _keras_get_config)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def call(
        self, inputs: tf.Tensor, targets: tf.Tensor, mask: Optional[Any] = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (loss, nll), sums over all targets that are no padding; float32 scalars.

        loss is the smoothed cross entropy less the smallest value that it can have (see
        `tf_ls.ops.CrossEntropy`), nll the negative log-likelihood.

        Args:
            inputs: logits [..., V].
            targets: [...], integers from 0 to V - 1 where they are no padding.
            mask: [...], Keras' convention: True at real targets, False at padding, beside what
                padding_idx says. Taken from `inputs` if Keras attached one to them.
        """
        targets = tf.convert_to_tensor(targets)
        if targets.dtype not in (tf.int32, tf.int64):  # Keras hands out what it was fed
            targets = tf.cast(targets, tf.int64)
        label_weights = tf.ones_like(targets, tf.float32)
        if self.padding_idx is not None:
            is_padding = tf.equal(targets, tf.cast(self.padding_idx, targets.dtype))
            label_weights = tf.where(is_padding, 0.0, label_weights)
        mask = attached_mask(inputs, mask)
        if mask is not None:
            label_weights *= tf.cast(mask, tf.float32)
        losses, nlls = ops.cross_entropy(inputs, targets, label_weights, self.epsilon)
        return tf.reduce_sum(losses), tf.reduce_sum(nlls)
