"""The layer that makes logits of what a NeurST decoder returns."""

from __future__ import annotations

import tensorflow as tf
from neurst.models.encoder_decoder_model import EncoderDecoderModel
from neurst.models.gpt2 import GPT2

from tf_ls.neurst import weights
from tf_ls.neurst.embeddings import word_table


def target_modality(model: EncoderDecoderModel | GPT2) -> tf.keras.layers.Layer:
    """What a model embeds its target with, whose table may be the output layer's too."""
    return model._embedding if isinstance(model, GPT2) else model._trg_modality


def output_table(
    model: EncoderDecoderModel | GPT2,
) -> tuple[tf.Tensor, tf.Tensor | None] | None:
    """Weights [V, H] and bias [V], if any, of the output layer; None if it is of another kind."""
    own = type(model).output_logits_layer
    if own not in (EncoderDecoderModel.output_logits_layer, GPT2.output_logits_layer):
        return None
    linear = model._output_linear_layer
    if linear is not None:
        return tf.transpose(weights.raw(linear.kernel)), _raw(linear.bias)
    words = word_table(target_modality(model))
    return None if words is None else (weights.raw(words._shared_weights), _raw(words._bias))


def _raw(variable: tf.Variable | None) -> tf.Variable | None:
    return None if variable is None else weights.raw(variable)
