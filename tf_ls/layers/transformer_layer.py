"""What the encoder layer and the decoder layer share: variables, dtypes, packing, checks."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import EncoderLayerConfig
from tf_ls.layers.keras_version import KERAS_3

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
INITIALIZERS = {"gamma": "ones", "beta": "zeros", "kernel": "glorot_uniform", "bias": "zeros"}
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


class Rows(NamedTuple):
    """A batch as the operations take it."""

    values: tf.Tensor  # [rows, hidden]
    layout: ops.RowLayout


class TransformerLayer(tf.keras.layers.Layer):
    """Base of the two layers; not for direct use."""

    def __init__(self, config: EncoderLayerConfig, **kwargs: Any):
        if config.fp16 and kwargs.get("dtype") is None:
            kwargs["dtype"] = "mixed_float16"
        super().__init__(**kwargs)
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"{type(self).__name__} computes in {', '.join(COMPUTE_DTYPES)}, "
                f"got the dtype {self.compute_dtype}"
            )
        self.hidden_size = config.hidden_size
        self.intermediate_size = config.intermediate_size
        self.num_heads = config.nhead
        self.attn_prob_dropout_ratio = config.attn_prob_dropout_ratio
        self.activation_dropout_ratio = config.activation_dropout_ratio
        self.hidden_dropout_ratio = config.hidden_dropout_ratio
        self.pre_layer_norm = config.pre_layer_norm
        self.activation_fn = config.activation_fn
        self.epsilon = config.epsilon
        self.supports_masking = True
        self.supports_jit = False  # Keras 3 then leaves XLA out of compile(jit_compile="auto")
        self.input_spec = tf.keras.layers.InputSpec(ndim=3, axes={-1: self.hidden_size})
        self._parameter_attributes: list[str] = []

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

    def add_parameters(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
        """Creates the float32 variables of one block.

        They are float32 under every policy: the operations take float32 weights and return float32
        gradients, so Keras must not hand out copies cast to the compute dtype.
        """
        raw = {"autocast": False} if KERAS_3 else {"experimental_autocast": False}
        for name, shape in zip(names, shapes):
            # An attribute each, not a list: tf.train.Checkpoint finds attributes on either Keras.
            attribute = name.replace("/", "_")
            weight = self.add_weight(
                name=name.replace("/", ".") if KERAS_3 else name,  # Keras 3 forbids slashes
                shape=shape,
                dtype="float32",
                initializer=INITIALIZERS[name.rsplit("/", 1)[-1]],
                **raw,
            )
            setattr(self, attribute, weight)
            self._parameter_attributes.append(attribute)

    def add_self_attention(self) -> None:
        h = self.hidden_size
        self.add_parameters(SELF_ATTENTION, [(h,), (h,), (h, 3 * h), (3 * h,), (h, h), (h,)])

    def add_feed_forward(self) -> None:
        h, f = self.hidden_size, self.intermediate_size
        self.add_parameters(FEED_FORWARD, [(h,), (h,), (h, f), (f,), (f, h), (h,)])

    def parameters(self) -> list[tf.Tensor]:
        """Returns the weights in the order the operations take them."""
        weights = [getattr(self, attribute) for attribute in self._parameter_attributes]
        return [weight.value if KERAS_3 else weight for weight in weights]

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
            training=self._is_training(training),
        )

    def to_rows(self, tensors: Sequence[tf.Tensor], masks: Sequence[Any]) -> list[Rows]:
        """Turns batches [B, L, width] into rows: packed where there is a mask, else all of them."""
        paddings = {}
        for i, (tensor, mask) in enumerate(zip(tensors, masks)):
            if mask is not None:
                paddings[i] = self._padding(tensor, mask)
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

    def _is_training(self, training: Any) -> bool:
        if training is None:
            return False
        static = tf.get_static_value(training) if tf.is_tensor(training) else training
        if static is None:
            raise ValueError(
                f"{self.name}: training must be True, False or None when the graph is traced, got "
                f"the tensor {training}; call the layer under tf.cond, once with each value"
            )
        return bool(static)

    def _padding(self, tensor: tf.Tensor, mask: Any) -> tf.Tensor:
        mask = tf.convert_to_tensor(mask)
        if mask.shape.rank != 2 or not mask.shape.is_compatible_with(tensor.shape[:2]):
            raise ValueError(
                f"{self.name}: expected a mask [batch, length] = {tensor.shape[:2]} with "
                f"True at real tokens, got the shape {mask.shape}"
            )
        return tf.logical_not(tf.cast(mask, tf.bool))


def attached_mask(tensor: Any, mask: Optional[Any]) -> Optional[Any]:
    """Returns the mask, or if there is none the one that Keras attached to the tensor."""
    return mask if mask is not None else getattr(tensor, "_keras_mask", None)
