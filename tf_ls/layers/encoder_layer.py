"""LSTransformerEncoderLayer."""

from typing import Any, Optional, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import ClassOrInstanceGetConfig, EncoderLayerConfig, resolve_config
from tf_ls.layers.transformer_layer import Rows, TransformerLayer


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSTransformerEncoderLayer(TransformerLayer):
    """A Transformer encoder layer, self-attention and feed-forward, as one fused operation.

    Args:
        hidden_size: width H of inputs and outputs; or a config from
            `LSTransformerEncoderLayer.get_config(model="transformer-base", ...)`, which the other
            arguments then override.
        intermediate_size: width of the feed-forward block.
        num_heads: number of attention heads; divides hidden_size.
        attn_prob_dropout_ratio: dropout on the attention weights. 0 unless given.
        activation_dropout_ratio: dropout on the activation. 0 unless given.
        hidden_dropout_ratio: dropout on each block's output. 0 unless given.
        pre_layer_norm: x + f(norm(x)) if True (the default), norm(x + f(x)) if False.
        activation_fn: "relu" (the default), "tanh", "gelu" (the tanh form; also "gelu_approx"),
            "gelu_nonapprox" or "silu" (also "swish").
        epsilon: of the layer norms. 1e-6 unless given.
        **kwargs: name, dtype (float32, bfloat16, float16 or a mixed policy) and trainable.

    Raises:
        ValueError: sizes that do not fit, unknown activation, dtype or preset.
    """

    def __init__(
        self,
        hidden_size: Union[int, EncoderLayerConfig],
        intermediate_size: Optional[int] = None,
        num_heads: Optional[int] = None,
        attn_prob_dropout_ratio: Optional[float] = None,
        activation_dropout_ratio: Optional[float] = None,
        hidden_dropout_ratio: Optional[float] = None,
        pre_layer_norm: Optional[bool] = None,
        activation_fn: Optional[str] = None,
        epsilon: Optional[float] = None,
        **kwargs: Any,
    ):
        settings = dict(
            intermediate_size=intermediate_size,
            nhead=num_heads,
            attn_prob_dropout_ratio=attn_prob_dropout_ratio,
            activation_dropout_ratio=activation_dropout_ratio,
            hidden_dropout_ratio=hidden_dropout_ratio,
            pre_layer_norm=pre_layer_norm,
            activation_fn=activation_fn,
            epsilon=epsilon,
        )
        super().__init__(resolve_config(EncoderLayerConfig, hidden_size, settings), **kwargs)

    def _keras_get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.constructor_arguments()}

    get_config = ClassOrInstanceGetConfig(EncoderLayerConfig, _keras_get_config)

    def build(self, input_shape: Any) -> None:
        self.add_self_attention()
        self.add_feed_forward()
        self.built = True

    def call(
        self, inputs: tf.Tensor, mask: Optional[Any] = None, training: Optional[bool] = None
    ) -> tf.Tensor:
        """Returns the layer's outputs.

        Args:
            inputs: [B, L, H].
            mask: [B, L], Keras' convention: True at real tokens, False at padding, which may be
                anywhere. Taken from `inputs` if Keras attached one to them (an Embedding with
                mask_zero, a Masking layer). With a mask, padding is neither read nor computed.
            training: whether dropout happens; a Python value, None is False.

        Returns:
            [B, L, H] in the compute dtype; zeros where the mask is False.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        (rows,) = self.to_rows([inputs], [mask])
        outputs = ops.encoder_layer(
            rows.values, rows.layout, self.parameters(), **self.operation_options(training)
        )
        return self.from_rows(Rows(outputs, rows.layout), inputs, mask)
