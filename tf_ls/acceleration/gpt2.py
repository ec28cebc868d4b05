"""transformers' TFBlock of GPT-2 on a fused operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.acceleration.adapter import Adapter
from tf_ls.acceleration.rows import Rows, is_padding_mask, padding_of
from tf_ls.acceleration.transformers_layers import (
    activation_name,
    is_training,
    why_not_activation,
    why_not_changed,
    why_not_tensors,
)
from tf_ls.raw_variable import raw


def _why_not(block: Any) -> Optional[str]:
    if not block.attn.scale:
        return "it does not scale attention scores"
    return why_not_activation(block.mlp.act) or why_not_changed(block)


def _why_not_with(block: Any, arguments: Mapping[str, Any]) -> Optional[str]:
    for name in ("layer_past", "head_mask", "encoder_hidden_states"):
        if arguments[name] is not None:
            return f"{name} is given"
    if arguments["output_attentions"]:
        return "output_attentions is given"
    if not is_padding_mask(arguments["attention_mask"]):
        return f"its attention_mask has the shape {arguments['attention_mask'].shape}"
    if block.attn.resid_dropout.rate != block.mlp.dropout.rate:
        return "its dropout rates behind attention and behind the feed-forward network differ"
    if block.ln_1.epsilon != block.ln_2.epsilon:
        return "the epsilons of its layer norms differ"
    return why_not_tensors(arguments["x"], arguments["training"])


def _call(block: Any, arguments: Mapping[str, Any], remove_padding: bool) -> list:
    x = arguments["x"]
    rows = Rows(x, padding_of(arguments["attention_mask"]), remove_padding)
    output = ops.encoder_layer(
        rows.values,
        rows.layout,
        _weights(block),
        num_heads=block.attn.n_head,
        pre_norm=True,
        activation=activation_name(block.mlp.act),
        attention_dropout=block.attn.attn_dropout.rate,
        residual_dropout=block.mlp.dropout.rate,
        epsilon=block.ln_1.epsilon,
        causal=True,
        training=is_training(arguments["training"]),
    )
    present = _keys_and_values(block, x) if arguments["use_cache"] else (None,)
    return [rows.padded(output), present]


def _keys_and_values(block: Any, x: tf.Tensor) -> tf.Tensor:
    """What a model continues sentences from, [2, B, heads, L, H / heads], as the block makes it.

    The operation does not return them. GPT-2 asks for them unless use_cache is False, in training
    too; a tf.function in which nobody reads them does not compute them.
    """
    _, keys, values = tf.split(block.attn.c_attn(block.ln_1(x)), 3, axis=2)
    return tf.stack([block.attn.split_heads(keys), block.attn.split_heads(values)], axis=0)


def _weights(block: Any) -> list[tf.Tensor]:
    return [
        *_norm(block.ln_1),
        *_projection(block.attn.c_attn),
        *_projection(block.attn.c_proj),
        *_norm(block.ln_2),
        *_projection(block.mlp.c_fc),
        *_projection(block.mlp.c_proj),
    ]


def _norm(norm: Any) -> list[tf.Variable]:
    return [raw(norm.gamma), raw(norm.beta)]


def _projection(projection: Any) -> list[tf.Tensor]:
    return [raw(projection.weight), tf.squeeze(raw(projection.bias), 0)]


ADAPTER = Adapter(_why_not, _why_not_with, _call)
