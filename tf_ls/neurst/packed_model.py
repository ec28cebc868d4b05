"""NeurST's encoder-decoder models without padding.

Only the model knows the padding of both sides. In training and evaluation it is taken out here,
before the encoder, and comes back with the logits: encoder, decoder and output projection see
tokens only. Logits of padding, which no loss counts, are zero.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from neurst.layers.common_layers import PositionEmbeddingWrapper
from neurst.layers.decoders.transformer_decoder import TransformerDecoder
from neurst.layers.encoders.transformer_encoder import TransformerEncoder
from neurst.layers.modalities.text_modalities import WordEmbeddingSharedWeights
from neurst.models.encoder_decoder_model import EncoderDecoderModel
from neurst.models.model_utils import input_length_to_padding
from neurst.utils import compat

from tf_ls import ops
from tf_ls.neurst import weights
from tf_ls.neurst.eligibility import can_fuse, compute_dtype
from tf_ls.neurst.stacks import PACKED_BATCH, PackedBatch, encode_rows


def make_get_symbols_to_logits_fn(stock):
    """`EncoderDecoderModel.get_symbols_to_logits_fn`, packed where it can be."""

    def get_symbols_to_logits_fn(
        self, inputs, is_training, is_inference, decode_padded_length=None
    ):
        if is_inference or not _can_pack(self):
            return stock(
                self, inputs, is_training, is_inference, decode_padded_length=decode_padded_length
            )
        embedded = self._src_modality(inputs["src"])
        batch = _pack(inputs, embedded)
        source = ops.pack(tf.cast(embedded, compute_dtype()), batch.source)
        cache = {
            "decoding_states": None,
            "memory": encode_rows(self._encoder, source, batch.source, is_training)[-1],
            PACKED_BATCH: batch,
        }

        def symbols_to_logits_fn(symbols, cache, time=None):
            rows = self.get_decoder_output(symbols, cache, time, is_training, decode_padded_length)
            return _logits(self, rows, batch.target, tf.shape(symbols))

        generation_initializer = {
            "decoder_input": inputs["trg_input"],
            "decoder_internal_cache": cache,
            "encoder_inputs_maxlen": tf.shape(embedded)[1],
            "eos_id": self._trg_meta["eos_id"],
            "unk_id": self._trg_meta["unk_id"],
        }
        return symbols_to_logits_fn, generation_initializer

    return get_symbols_to_logits_fn


def _can_pack(model: EncoderDecoderModel) -> bool:
    return all(
        # A subclass with a `call` of its own may want the padding.
        type(stack) is base and weights.are_built(stack) and can_fuse(stack)
        for stack, base in (
            (model._encoder, TransformerEncoder),
            (model._decoder, TransformerDecoder),
        )
    )


def _pack(inputs: dict[str, tf.Tensor], embedded: tf.Tensor) -> PackedBatch:
    paddings = [
        _padding(inputs, "src", tf.shape(embedded)[:2]),
        _padding(inputs, "trg", tf.shape(inputs["trg_input"])),
    ]
    return PackedBatch(*ops.pack_layouts(paddings))


def _padding(inputs: dict[str, tf.Tensor], side: str, shape: tf.Tensor) -> tf.Tensor:
    """The padding [B, L] of a side, as NeurST reads it; none where the inputs tell of none."""
    padding = inputs.get(f"{side}_padding")
    if padding is None:
        length = inputs.get(f"{side}_length")
        if length is None:
            return tf.zeros(shape)
        padding = input_length_to_padding(length, shape[1])
    return tf.cast(padding, tf.float32)


def _logits(
    model: EncoderDecoderModel, rows: tf.Tensor, layout: ops.RowLayout, shape: tf.Tensor
) -> tf.Tensor:
    """Projects packed rows [R, H] onto the target vocabulary: [B, L, V] of NeurST's dtype."""
    table = _output_table(model)
    if table is None:
        return model.output_logits_layer(ops.unpack(rows, layout, shape))
    logits = ops.output_projection(tf.cast(rows, compute_dtype()), layout, *table, shape)
    return tf.cast(logits, compat.CUSTOM_GLOBAL_FLOATX)


def _output_table(model: EncoderDecoderModel) -> tuple[tf.Tensor, tf.Tensor | None] | None:
    """Weights [V, H] and bias [V] of the output layer; None if it is of another kind."""
    if type(model).output_logits_layer is not EncoderDecoderModel.output_logits_layer:
        return None
    linear = model._output_linear_layer
    if linear is not None:
        return tf.transpose(weights.raw(linear.kernel)), weights.raw(linear.bias)
    modality: Any = model._trg_modality
    if type(modality) is PositionEmbeddingWrapper:
        modality = modality.embedding_layer
    if type(modality) is not WordEmbeddingSharedWeights:
        return None
    bias = None if modality._bias is None else weights.raw(modality._bias)
    return weights.raw(modality._shared_weights), bias
