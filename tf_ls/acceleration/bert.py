"""transformers' TFBertEncoder, and its copies for other models, on fused operations.

The encoder takes padding out before its first layer and puts it back after the last.
"""

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


def _why_not(encoder: Any) -> Optional[str]:
    if encoder.config.is_decoder:
        return "it is a decoder"
    for layer in encoder.layer:
        reason = why_not_activation(layer.intermediate.intermediate_act_fn)
        if reason:
            return reason
    return why_not_changed(encoder)


def _why_not_with(encoder: Any, arguments: Mapping[str, Any]) -> Optional[str]:
    for name in ("encoder_hidden_states", "use_cache", "output_attentions"):
        if arguments[name] is not None and arguments[name] is not False:
            return f"{name} is given"
    for name in ("head_mask", "past_key_values"):
        if any(item is not None for item in arguments[name] or ()):
            return f"{name} is given"
    if not is_padding_mask(arguments["attention_mask"]):
        return f"its attention_mask has the shape {arguments['attention_mask'].shape}"
    for layer in encoder.layer:
        outputs = layer.attention.dense_output, layer.bert_output
        if outputs[0].dropout.rate != outputs[1].dropout.rate:
            return "its dropout rates behind attention and behind the feed-forward network differ"
        if outputs[0].LayerNorm.epsilon != outputs[1].LayerNorm.epsilon:
            return "the epsilons of its layer norms differ"
    return why_not_tensors(arguments["hidden_states"], arguments["training"])


def _call(encoder: Any, arguments: Mapping[str, Any], remove_padding: bool) -> Any:
    x = arguments["hidden_states"]
    rows = Rows(x, padding_of(arguments["attention_mask"]), remove_padding)
    training = is_training(arguments["training"])
    all_values = [rows.values]
    for layer in encoder.layer:
        all_values.append(
            ops.encoder_layer(
                all_values[-1], rows.layout, _weights(layer), training=training, **_options(layer)
            )
        )
    output = rows.padded(all_values[-1])
    hidden_states = None
    if arguments["output_hidden_states"]:
        between = (rows.padded(values) for values in all_values[1:-1])
        hidden_states = (x, *between, output)
    if not arguments["return_dict"]:
        return (output,) if hidden_states is None else (output, hidden_states)
    from transformers.modeling_tf_outputs import TFBaseModelOutputWithPastAndCrossAttentions

    return TFBaseModelOutputWithPastAndCrossAttentions(
        last_hidden_state=output, hidden_states=hidden_states
    )


def _options(layer: Any) -> dict[str, Any]:
    attention = layer.attention
    return {
        "num_heads": attention.self_attention.num_attention_heads,
        "pre_norm": False,
        "activation": activation_name(layer.intermediate.intermediate_act_fn),
        "attention_dropout": attention.self_attention.dropout.rate,
        "residual_dropout": attention.dense_output.dropout.rate,
        "epsilon": attention.dense_output.LayerNorm.epsilon,
    }


def _weights(layer: Any) -> list[tf.Tensor]:
    """The layer's variables as the operation takes them: query, key and value side by side.

    They stay the layer's own, so that files, optimizers and names know nothing of it; the operation
    gets a copy in each step.
    """
    attention = layer.attention.self_attention
    projections = (attention.query, attention.key, attention.value)
    return [
        *_norm(layer.attention.dense_output.LayerNorm),
        tf.concat([raw(projection.kernel) for projection in projections], axis=1),
        tf.concat([raw(projection.bias) for projection in projections], axis=0),
        *_dense(layer.attention.dense_output.dense),
        *_norm(layer.bert_output.LayerNorm),
        *_dense(layer.intermediate.dense),
        *_dense(layer.bert_output.dense),
    ]


def _norm(norm: Any) -> list[tf.Variable]:
    return [raw(norm.gamma), raw(norm.beta)]


def _dense(dense: Any) -> list[tf.Variable]:
    return [raw(dense.kernel), raw(dense.bias)]


ADAPTER = Adapter(_why_not, _why_not_with, _call)
