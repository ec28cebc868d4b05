"""LSTransformerDecoderLayer."""

from typing import Any, Optional, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import ClassOrInstanceGetConfig, DecoderLayerConfig, resolve_config
from tf_ls.layers.transformer_layer import (
    CROSS_ATTENTION,
    Rows,
    TransformerLayer,
    attached_mask,
)

Cache = dict[str, tf.Tensor]
# Where the kernel and the bias of kv_transform are among the layer's parameters.
KV_TRANSFORM = slice(10, 12)


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSTransformerDecoderLayer(TransformerLayer):
    """A Transformer decoder layer as one fused operation.

    Causal self-attention, attention to the encoder's outputs unless has_cross_attn is False, and
    feed-forward.

    Args:
        hidden_size: width H of inputs and outputs; or a config from
            `LSTransformerDecoderLayer.get_config(model="transformer-base", ...)`, which the other
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
        has_cross_attn: whether there is attention to the encoder's outputs. True unless given.
        encoder_hidden_size: width M of the encoder's outputs. hidden_size unless given.
        nlayer: the number of layers of the stack; a hint, accepted for LightSeq's sake.
        **kwargs: name, dtype (float32, bfloat16, float16 or a mixed policy) and trainable.

    Raises:
        ValueError: sizes that do not fit, unknown activation, dtype or preset.
    """

    def __init__(
        self,
        hidden_size: Union[int, DecoderLayerConfig],
        intermediate_size: Optional[int] = None,
        num_heads: Optional[int] = None,
        attn_prob_dropout_ratio: Optional[float] = None,
        activation_dropout_ratio: Optional[float] = None,
        hidden_dropout_ratio: Optional[float] = None,
        pre_layer_norm: Optional[bool] = None,
        activation_fn: Optional[str] = None,
        epsilon: Optional[float] = None,
        has_cross_attn: Optional[bool] = None,
        encoder_hidden_size: Optional[int] = None,
        nlayer: Optional[int] = None,
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
            has_cross_attn=has_cross_attn,
            encoder_hidden_size=encoder_hidden_size,
            nlayer=nlayer,
        )
        config = resolve_config(DecoderLayerConfig, hidden_size, settings)
        super().__init__(config, **kwargs)
        self.has_cross_attn = config.has_cross_attn
        self.encoder_hidden_size = config.encoder_hidden_size or config.hidden_size

    def _keras_get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.constructor_arguments(),
            "has_cross_attn": self.has_cross_attn,
            "encoder_hidden_size": self.encoder_hidden_size,
        }

    get_config = ClassOrInstanceGetConfig(DecoderLayerConfig, _keras_get_config)

    def build(self, input_shape: Any) -> None:
        h, m = self.hidden_size, self.encoder_hidden_size
        self.add_self_attention()
        if self.has_cross_attn:
            self.add_parameters(
                CROSS_ATTENTION,
                [(h,), (h,), (h, h), (h,), (m, 2 * h), (2 * h,), (h, h), (h,)],
            )
        self.add_feed_forward()
        self.built = True

    def call(
        self,
        inputs: tf.Tensor,
        encoder_outputs: Optional[tf.Tensor] = None,
        mask: Optional[Any] = None,
        encoder_mask: Optional[Any] = None,
        training: Optional[bool] = None,
        cache: Optional[Cache] = None,
    ) -> Union[tf.Tensor, tuple[tf.Tensor, Cache]]:
        """Returns the layer's outputs, and with a cache also the cache grown by the inputs.

        Args:
            inputs: [B, L, H]; with a cache, the tokens that follow those in the cache.
            encoder_outputs: [B, S, M]. Needed with cross-attention and without a cache; a cache
                holds what it needs of them.
            mask: [B, L], Keras' convention: True at real tokens, False at padding. Taken from
                `inputs` if Keras attached one to them. Not to be given with a cache.
            encoder_mask: [B, S], the same for encoder_outputs.
            training: whether dropout happens; a Python value, None is False.
            cache: what create_cache or the call before returned. No gradient flows through a call
                with a cache.

        Returns:
            [B, L, H] in the compute dtype; zeros where the mask is False. With a cache a pair of
            it and the new cache.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        if cache is not None:
            return self._step(inputs, mask, training, cache)
        tensors, masks = [inputs], [attached_mask(inputs, mask)]
        if self.has_cross_attn:
            masks.append(attached_mask(encoder_outputs, encoder_mask))
            tensors.append(self._encoder_outputs(encoder_outputs))
        elif encoder_outputs is not None:
            raise ValueError(f"{self.name} has no cross-attention but was given encoder_outputs")
        rows, *memory = self.to_rows(tensors, masks)
        outputs = ops.decoder_layer(
            rows.values,
            rows.layout,
            memory[0].values if memory else None,
            memory[0].layout if memory else None,
            self.parameters(),
            **self.operation_options(training),
        )
        return self.from_rows(Rows(outputs, rows.layout), inputs, masks[0])

    def create_cache(
        self,
        encoder_outputs: Optional[tf.Tensor] = None,
        encoder_mask: Optional[Any] = None,
        batch_size: Optional[Any] = None,
    ) -> Cache:
        """Returns the cache with which incremental decoding starts.

        All of its tensors have the batch as first dimension, so beams can be reordered with
        tf.gather on each.

        Args:
            encoder_outputs: [B, S, M]; needed with cross-attention.
            encoder_mask: [B, S], True at real tokens.
            batch_size: B, needed without cross-attention.

        Returns:
            {"keys", "values": [B, 0, heads, H / heads]} and with cross-attention
            {"memory_keys", "memory_values": [B, S, heads, H / heads], "memory_lengths": int32 [B]}.
        """
        self.build_by_name()
        depth = self.hidden_size // self.num_heads
        if not self.has_cross_attn:
            if batch_size is None:
                raise ValueError(f"{self.name}: create_cache needs batch_size")
            memory = {}
        else:
            encoder_mask = attached_mask(encoder_outputs, encoder_mask)
            memory = self._memory(self._encoder_outputs(encoder_outputs), encoder_mask)
            batch_size = tf.shape(memory["memory_keys"])[0]
        empty = tf.zeros(tf.stack([batch_size, 0, self.num_heads, depth]), self.compute_dtype)
        return {"keys": empty, "values": empty, **memory}

    def _encoder_outputs(self, encoder_outputs: Optional[tf.Tensor]) -> tf.Tensor:
        if encoder_outputs is None:
            raise ValueError(f"{self.name} has cross-attention and needs encoder_outputs")
        encoder_outputs = tf.cast(encoder_outputs, self.compute_dtype)
        shape = encoder_outputs.shape
        if shape.rank != 3 or shape[-1] != self.encoder_hidden_size:
            raise ValueError(
                f"{self.name}: expected encoder_outputs [batch, length, "
                f"{self.encoder_hidden_size}], got the shape {shape}"
            )
        return encoder_outputs

    def _memory(self, encoder_outputs: tf.Tensor, encoder_mask: Optional[Any]) -> Cache:
        batch, length = tf.unstack(tf.shape(encoder_outputs)[:2])
        if encoder_mask is None:
            lengths = tf.fill([batch], length)
        else:
            padding = self.padding(encoder_outputs, encoder_mask)
            # The step reads a prefix of each row: move what is real to the front.
            order = tf.argsort(tf.cast(padding, tf.int32), stable=True)
            encoder_outputs = tf.gather(encoder_outputs, order, batch_dims=1)
            lengths = tf.reduce_sum(tf.cast(tf.logical_not(padding), tf.int32), axis=1)
        kernel, bias = (tf.cast(p, self.compute_dtype) for p in self.parameters()[KV_TRANSFORM])
        keys_and_values = tf.reshape(
            tf.tensordot(encoder_outputs, kernel, 1) + bias,
            [batch, length, 2, self.num_heads, self.hidden_size // self.num_heads],
        )
        keys, values = tf.unstack(keys_and_values, axis=2)
        return {"memory_keys": keys, "memory_values": values, "memory_lengths": lengths}

    def _step(
        self, inputs: tf.Tensor, mask: Any, training: Any, cache: Cache
    ) -> tuple[tf.Tensor, Cache]:
        if mask is not None or self.is_training(training):
            raise ValueError(f"{self.name}: a call with a cache takes no mask and does not train")
        expected = {"keys", "values"}
        if self.has_cross_attn:
            expected |= {"memory_keys", "memory_values", "memory_lengths"}
        if set(cache) != expected:
            raise ValueError(
                f"{self.name}: expected a cache with {sorted(expected)} as create_cache makes it, "
                f"got {sorted(cache)}"
            )
        outputs, keys, values = ops.decoder_layer_step(
            inputs,
            cache["keys"],
            cache["values"],
            cache.get("memory_keys"),
            cache.get("memory_values"),
            cache.get("memory_lengths"),
            self.parameters(),
            num_heads=self.num_heads,
            pre_norm=self.pre_layer_norm,
            activation=self.activation_fn,
            epsilon=self.epsilon,
        )
        return outputs, {**cache, "keys": keys, "values": values}
