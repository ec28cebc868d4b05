"""What the encoder layer and the decoder layer share: variables, dtypes, packing, checks."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import EncoderLayerConfig
from tf_ls.layers.operation_layer import OperationLayer

# The names that NeurST gives the variables of each block, in the order the operations take them.
SELF_ATTENTION = (
    "self_attention_prepost_wrapper/ln/gamma",
    "self_attention_prepost_wrapper/ln/beta",
    "self_attention_prepost_wrapper/self_attention/qkv_transform/kernel",
    "self_attention_prepost_wrapper/self_attention/qkv_transform/bias",
    "self_attention_prepost_wrapper/self_attention/output_transform/kernel",
    "self_attention_prepost_wrapper/self_attention/output_transform/bias",
)
CROSS_ATTENTION = (
    "encdec_attention_prepost_wrapper/ln/gamma",
    "encdec_attention_prepost_wrapper/ln/beta",
    "encdec_attention_prepost_wrapper/encdec_attention/q_transform/kernel",
    "encdec_attention_prepost_wrapper/encdec_attention/q_transform/bias",
    "encdec_attention_prepost_wrapper/encdec_attention/kv_transform/kernel",
    "encdec_attention_prepost_wrapper/encdec_attention/kv_transform/bias",
    "encdec_attention_prepost_wrapper/encdec_attention/output_transform/kernel",
    "encdec_attention_prepost_wrapper/encdec_attention/output_transform/bias",
)
FEED_FORWARD = (
    "ffn_prepost_wrapper/ln/gamma",
    "ffn_prepost_wrapper/ln/beta",
    "ffn_prepost_wrapper/ffn/dense1/kernel",
    "ffn_prepost_wrapper/ffn/dense1/bias",
    "ffn_prepost_wrapper/ffn/dense2/kernel",
    "ffn_prepost_wrapper/ffn/dense2/bias",
)


class Rows(NamedTuple):
    """A batch as the operations take it."""

    values: tf.Tensor  # [rows, hidden]
    layout: ops.RowLayout


class TransformerLayer(OperationLayer):
    """Base of the two layers; not for direct use."""

    def __init__(self, config: EncoderLayerConfig, **kwargs: Any):
        super().__init__(fp16=config.fp16, **kwargs)
        self.hidden_size = config.hidden_size
        self.intermediate_size = config.intermediate_size
        self.num_heads = config.nhead
        self.attn_prob_dropout_ratio = config.attn_prob_dropout_ratio
        self.activation_dropout_ratio = config.activation_dropout_ratio
        self.hidden_dropout_ratio = config.hidden_dropout_ratio
        self.pre_layer_norm = config.pre_layer_norm
        self.activation_fn = config.activation_fn
        self.epsilon = config.epsilon
        self.input_spec = tf.keras.layers.InputSpec(ndim=3, axes={-1: self.hidden_size})

    def constructor_arguments(self) -> dict[str, Any]:
        """Returns what both layers' Keras get_config has beside Keras' own entries."""
        return dict(
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_heads=self.num_heads,
            attn_prob_dropout_ratio=self.attn_prob_dropout_ratio,
            activation_dropout_ratio=self.activation_dropout_ratio,
            hidden_dropout_ratio=self.hidden_dropout_ratio,
            pre_layer_norm=self.pre_layer_norm,
            activation_fn=self.activation_fn,
            epsilon=self.epsilon,
        )

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        return inputs_shape

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        # Keras 3 would derive it from compute_output_shape, which knows nothing of the cache.
        return tf.keras.Operation.compute_output_spec(self, *args, **kwargs)

    def add_self_attention(self) -> None:
        h = self.hidden_size
        self.add_parameters(SELF_ATTENTION, [(h,), (h,), (h, 3 * h), (3 * h,), (h, h), (h,)])

    def add_feed_forward(self) -> None:
        h, f = self.hidden_size, self.intermediate_size
        self.add_parameters(FEED_FORWARD, [(h,), (h,), (h, f), (f,), (f, h), (h,)])

    def operation_options(self, training: Any) -> dict[str, Any]:
        """Returns the keywords that the encoder and the decoder operation share."""
        return dict(
            num_heads=self.num_heads,
            pre_norm=self.pre_layer_norm,
            activation=self.activation_fn,
            attention_dropout=self.attn_prob_dropout_ratio,
            activation_dropout=self.activation_dropout_ratio,
            residual_dropout=self.hidden_dropout_ratio,
            epsilon=self.epsilon,
            training=self.is_training(training),
        )

    def to_rows(self, tensors: Sequence[tf.Tensor], masks: Sequence[Any]) -> list[Rows]:
        """Turns batches [B, L, width] into rows: packed where there is a mask, else all of them."""
        paddings = {}
        for i, (tensor, mask) in enumerate(zip(tensors, masks)):
            if mask is not None:
                paddings[i] = self.padding(tensor, mask)
        layouts = dict(zip(paddings, ops.pack_layouts(list(paddings.values())) if paddings else ()))
        rows = []
        for i, tensor in enumerate(tensors):
            if i in layouts:
                rows.append(Rows(ops.pack(tensor, layouts[i]), layouts[i]))
            else:
                no_padding = tf.zeros(tf.shape(tensor)[:2], tf.bool)
                flat = tf.reshape(tensor, [-1, tensor.shape[-1]])
                rows.append(Rows(flat, ops.dense_layout(no_padding)))
        return rows

    def from_rows(self, rows: Rows, inputs: tf.Tensor, mask: Any) -> tf.Tensor:
        """Undoes to_rows for the output [rows, hidden]; zeros where the mask is False."""
        if mask is None:
            return tf.reshape(rows.values, tf.shape(inputs))
        outputs = ops.unpack(rows.values, rows.layout, tf.shape(inputs)[:2])
        return tf.ensure_shape(outputs, inputs.shape)


def attached_mask(tensor: Any, mask: Optional[Any]) -> Optional[Any]:
    """Returns the mask, or if there is none the one that Keras attached to the tensor."""
    return mask if mask is not None else getattr(tensor, "_keras_mask", None)
