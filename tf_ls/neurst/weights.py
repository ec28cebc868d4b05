"""The variables of NeurST's layers in the order in which the operations take them."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.raw_variable import raw


def are_built(stack: tf.keras.layers.Layer) -> bool:
    """Whether a TransformerEncoder or TransformerDecoder has its variables.

    NeurST's layers make them when they are first called.
    """
    if not stack._stacking_layers:
        return False
    ffn = getattr(stack._stacking_layers[-1], "_ffn_layer", None)
    return ffn is not None and ffn.built and ffn.layer.built and ffn.layer._conv2.built


def encoder_layer_weights(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """Twelve variables of a TransformerEncoderLayer, or of a decoder layer without memory."""
    return [*_self_attention(layer), *_ffn(layer)]


def decoder_layer_weights(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """Twenty variables of a TransformerDecoderLayer, twelve if it has no cross-attention."""
    if not layer._with_cross_attention:
        return encoder_layer_weights(layer)
    return [*_self_attention(layer), *_cross_attention(layer), *_ffn(layer)]


def _self_attention(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    block = layer._selfatt_layer
    return [
        *_norm(block._norm_layer),
        *_transform(block.layer._qkv_transform_layer),
        *_transform(block.layer._output_transform_layer),
    ]


def _cross_attention(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    block = layer._crossatt_layer
    return [
        *_norm(block._norm_layer),
        *_transform(block.layer._q_transform_layer),
        *_transform(block.layer._kv_transform_layer),
        *_transform(block.layer._output_transform_layer),
    ]


def _ffn(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    block = layer._ffn_layer
    # QuantDense puts a cast tensor in `kernel` at every call; the variable is `v`.
    return [
        *_norm(block._norm_layer),
        raw(block.layer._conv1.v),
        raw(block.layer._conv1.bias),
        raw(block.layer._conv2.v),
        raw(block.layer._conv2.bias),
    ]


def _norm(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    return [raw(layer.gamma), raw(layer.beta)]


def _transform(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    return [raw(layer._kernel), raw(layer._bias)]
