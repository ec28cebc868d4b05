"""NeurST's TransformerEncoder and TransformerDecoder on fused operations.

The functions here take the place of the classes' own `call`. What they are given decides the rows
that they compute: every position, padding included, as NeurST itself does, or only tokens, where
the model says which those are (see packed_model.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tf_ls import ops
from tf_ls.neurst import weights
from tf_ls.neurst.eligibility import can_fuse, compute_dtype, report_stock


class PackedBatch(NamedTuple):
    """The layouts of a batch without padding; a decoder's cache holds it under PACKED_BATCH."""

    source: ops.RowLayout
    target: ops.RowLayout


PACKED_BATCH = "tf_ls_packed_batch"


def encode_rows(
    encoder: tf.keras.layers.Layer, x: tf.Tensor, layout: ops.RowLayout, is_training: bool
) -> list[tf.Tensor]:
    """The output of every layer, [R, H] each, the last one normalized if the encoder says so.

    Args:
        encoder: a TransformerEncoder that is built.
        x: [R, H], the embedded input, dropout applied, in the dtype to compute in.
        layout: of R rows.
        is_training: whether to apply dropout.
    """
    params = encoder.get_config()
    outputs = []
    for layer in encoder._stacking_layers:
        x = ops.encoder_layer(
            x,
            layout,
            weights.encoder_layer_weights(layer),
            causal=bool(params["attention_monotonic"]),
            training=is_training,
            **structure(params),
            **_dropout(params),
        )
        outputs.append(x)
    outputs = [tf.cast(output, tf.float32) for output in outputs]  # as NeurST's norms return it
    outputs[-1] = _normalized(encoder, outputs[-1])
    return outputs


def decode_rows(
    decoder: tf.keras.layers.Layer,
    x: tf.Tensor,
    layout: ops.RowLayout,
    memory: tf.Tensor | None,
    memory_layout: ops.RowLayout | None,
    lagging: tf.Tensor | None,
    is_training: bool,
) -> tf.Tensor:
    """The decoder's output [R, H] on whole target sentences.

    Args:
        decoder: a TransformerDecoder that is built.
        x: [R, H], the embedded input, dropout applied, in the dtype to compute in.
        layout: of R rows.
        memory: [S, M], the encoder's output, or None.
        memory_layout: of S rows, or None.
        lagging: how far wait-k decoding lags behind, or None.
        is_training: whether to apply dropout.
    """
    params = decoder.get_config()
    memory = None if memory is None else tf.cast(memory, x.dtype)
    for layer in decoder._stacking_layers:
        attends = layer._with_cross_attention
        x = ops.decoder_layer(
            x,
            layout,
            memory if attends else None,
            memory_layout if attends else None,
            weights.decoder_layer_weights(layer),
            memory_lag=lagging if attends else None,
            training=is_training,
            **structure(params),
            **_dropout(params),
        )
    return _normalized(decoder, tf.cast(x, tf.float32))


def make_encoder_call(stock_call):
    """`TransformerEncoder.call`, fused where it can be."""

    def call(self, inputs, inputs_padding, is_training=True):
        if not weights.are_built(self) or not can_fuse(self):
            return stock_call(self, inputs, inputs_padding, is_training=is_training)
        layout = ops.dense_layout(inputs_padding)
        shape = tf.shape(inputs)
        outputs = [
            tf.reshape(output, shape)
            for output in encode_rows(
                self, _input_rows(self, inputs, is_training), layout, is_training
            )
        ]
        return outputs if self._return_all_layers else outputs[-1]

    return call


def make_decoder_call(stock_call):
    """`TransformerDecoder.call`, fused where it can be."""

    def call(
        self, decoder_inputs, cache, decode_lagging=None, is_training=True, decode_loop_step=None
    ):
        def stock():
            return stock_call(
                self,
                decoder_inputs,
                cache,
                decode_lagging=decode_lagging,
                is_training=is_training,
                decode_loop_step=decode_loop_step,
            )

        if not weights.are_built(self) or not can_fuse(self):
            return stock()
        if decode_loop_step is not None:
            report_stock("TransformerDecoder", "its cache is padded (padded_decode)")
            return stock()
        if cache["decoding_states"] is not None:
            return _decode_step(self, decoder_inputs, cache, decode_lagging)
        return _decode_sentences(self, decoder_inputs, cache, decode_lagging, is_training)

    return call


def _decode_sentences(
    decoder: tf.keras.layers.Layer,
    inputs: tf.Tensor,
    cache: dict[str, Any],
    lagging: tf.Tensor | None,
    is_training: bool,
) -> tf.Tensor:
    """Whole target sentences: [B, L, H], or [R, H] of a packed batch."""
    packed = cache.get(PACKED_BATCH)
    memory = cache.get("memory")
    if packed is not None:
        rows = ops.pack(tf.cast(inputs, compute_dtype()), packed.target)
        rows = drop_input(decoder, rows, is_training)
        return decode_rows(
            decoder, rows, packed.target, memory, packed.source, lagging, is_training
        )
    shape = tf.shape(inputs)
    layout = ops.dense_layout(tf.zeros(shape[:2]))
    memory_layout = None
    if memory is not None:
        memory_layout = ops.dense_layout(cache["memory_bias"])  # nonzero where there is padding
        memory = _flatten(memory)
    rows = _input_rows(decoder, inputs, is_training)
    rows = decode_rows(decoder, rows, layout, memory, memory_layout, lagging, is_training)
    return tf.reshape(rows, shape)


def _decode_step(
    decoder: tf.keras.layers.Layer,
    inputs: tf.Tensor,
    cache: dict[str, Any],
    lagging: tf.Tensor | None,
) -> tf.Tensor:
    """The next positions of sentences that are being generated; their cache grows."""
    params = decoder.get_config()
    memory_bias = cache.get("memory_bias")
    memory_lengths = None if memory_bias is None else memory_lengths_of(memory_bias)
    single = inputs.shape.rank == 2
    x = tf.expand_dims(inputs, 1) if single else inputs
    for index, layer in enumerate(decoder._stacking_layers):
        state = cache["decoding_states"][f"layer_{index}"]
        keys_values = state["self_attention"]
        attends = layer._with_cross_attention
        x, keys_values["keys"], keys_values["values"] = ops.decoder_layer_step(
            tf.cast(x, keys_values["keys"].dtype),
            keys_values["keys"],
            keys_values["values"],
            state["memory"]["keys"] if attends else None,
            state["memory"]["values"] if attends else None,
            memory_lengths if attends else None,
            weights.decoder_layer_weights(layer),
            memory_lag=lagging if attends else None,
            **structure(params),
        )
    x = _normalized(decoder, tf.cast(x, tf.float32))
    return tf.squeeze(x, 1) if single else x


def memory_lengths_of(memory_bias: tf.Tensor) -> tf.Tensor:
    """How many positions of each sentence's memory there are, int32 [B], of NeurST's bias."""
    return tf.reduce_sum(tf.cast(tf.equal(memory_bias, 0), tf.int32), axis=1)


def input_dropout(stack: tf.keras.layers.Layer, is_training: bool) -> float:
    """The rate of dropout on a stack's input."""
    return stack.get_config()["layer_postprocess_dropout_rate"] if is_training else 0.0


def drop_input(stack: tf.keras.layers.Layer, x: tf.Tensor, is_training: bool) -> tf.Tensor:
    """Dropout on a stack's input, whatever shape it has."""
    rate = input_dropout(stack, is_training)
    return ops.dropout(x, rate) if rate else x


def _input_rows(stack: tf.keras.layers.Layer, x: tf.Tensor, is_training: bool) -> tf.Tensor:
    """A padded input [B, L, H] as rows [B * L, H], dropout applied, in the dtype to compute in."""
    return drop_input(stack, _flatten(tf.cast(x, compute_dtype())), is_training)


def structure(params: dict[str, Any]) -> dict[str, Any]:
    """What layers are, as operations take it, from a stack's configuration."""
    return {
        "num_heads": params["num_attention_heads"],
        "pre_norm": not params["post_normalize"],
        "activation": params["ffn_activation"],
        "epsilon": params["layer_postprocess_epsilon"],
    }


def output_norm(stack: tf.keras.layers.Layer) -> tuple[tf.Variable, tf.Variable] | None:
    """gamma and beta of the layer norm behind a stack's last layer, if it has one."""
    if stack.get_config()["post_normalize"]:
        return None
    norm = stack._output_norm_layer
    return weights.raw(norm.gamma), weights.raw(norm.beta)


def _normalized(stack: tf.keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    norm = output_norm(stack)
    if norm is None:
        return x
    return ops.layer_norm(x, *norm, stack.get_config()["layer_postprocess_epsilon"])


def _flatten(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1]])


def _dropout(params: dict[str, Any]) -> dict[str, float]:
    return {
        "attention_dropout": params["attention_dropout_rate"],
        "activation_dropout": params["ffn_dropout_rate"],
        "residual_dropout": params["layer_postprocess_dropout_rate"],
    }
