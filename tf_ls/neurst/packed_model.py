"""NeurST's encoder-decoder models without padding.

Only the model knows the padding of both sides. In training and evaluation it is taken out here,
before the encoder, and comes back with the logits: embeddings, encoder, decoder and output
projection see tokens only. Logits of padding, which no loss counts, are zero.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from neurst.layers.decoders.transformer_decoder import TransformerDecoder
from neurst.layers.encoders.transformer_encoder import TransformerEncoder
from neurst.models.encoder_decoder_model import EncoderDecoderModel
from neurst.models.model_utils import input_length_to_padding
from neurst.utils import compat

from tf_ls import ops
from tf_ls.neurst import weights
from tf_ls.neurst.eligibility import can_fuse, compute_dtype
from tf_ls.neurst.embeddings import embed_rows, word_table
from tf_ls.neurst.output_layer import output_table
from tf_ls.neurst.stacks import (
    PACKED_BATCH,
    PackedBatch,
    decode_rows,
    drop_input,
    encode_rows,
    input_dropout,
)
from tf_ls.ops.host import on_host


def make_get_symbols_to_logits_fn(stock):
    """`EncoderDecoderModel.get_symbols_to_logits_fn`, packed where it can be."""

    def get_symbols_to_logits_fn(
        self, inputs, is_training, is_inference, decode_padded_length=None
    ):
        if is_inference or not _can_pack(self):
            return stock(
                self, inputs, is_training, is_inference, decode_padded_length=decode_padded_length
            )
        batch, cache, source_length = _encode(self, inputs, is_training)

        def symbols_to_logits_fn(symbols, cache, time=None):
            rows = _decode(self, symbols, cache, time, is_training, decode_padded_length)
            return _logits(self, rows, batch.target, tf.shape(symbols))

        generation_initializer = {
            "decoder_input": inputs["trg_input"],
            "decoder_internal_cache": cache,
            "encoder_inputs_maxlen": source_length,
            "eos_id": self._trg_meta["eos_id"],
            "unk_id": self._trg_meta["unk_id"],
        }
        return symbols_to_logits_fn, generation_initializer

    return get_symbols_to_logits_fn


def packed_states(
    model: EncoderDecoderModel, inputs: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, ops.RowLayout, tuple[tf.Tensor, tf.Tensor | None]] | None:
    """What logits are made of without dropout: rows [R, H], their layout, weights [V, H] and bias.

    None where the model does not run packed, or does something of its own on the way.
    """
    own = any(
        getattr(type(model), name) is not getattr(EncoderDecoderModel, name)
        for name in ("call", "get_symbols_to_logits_fn")
    )
    table = output_table(model) if not own and _can_pack(model) else None
    if table is None:
        return None
    batch, cache, _ = _encode(model, inputs, is_training=False)
    rows = _decode(model, inputs["trg_input"], cache, None, False, None)
    return tf.cast(rows, compute_dtype()), batch.target, table


def _can_pack(model: EncoderDecoderModel) -> bool:
    return all(
        # A subclass with a `call` of its own may want the padding.
        type(stack) is base and weights.are_built(stack) and can_fuse(stack)
        for stack, base in (
            (model._encoder, TransformerEncoder),
            (model._decoder, TransformerDecoder),
        )
    )


def _pack(
    model: EncoderDecoderModel, inputs: dict[str, tf.Tensor], is_training: bool
) -> tuple[PackedBatch, tf.Tensor, tf.Tensor]:
    """The layouts of both sides, the encoder's input [R, H], and the length of padded sources."""
    modality = model._src_modality
    embedded = None if word_table(modality) else modality(inputs["src"])
    source_shape = tf.shape(inputs["src"] if embedded is None else embedded)[:2]
    with on_host():
        paddings = [
            padding_of(inputs, "src", source_shape),
            padding_of(inputs, "trg", tf.shape(inputs["trg_input"])),
        ]
        batch = PackedBatch(*ops.pack_layouts(paddings))
    if embedded is None:
        dropout = input_dropout(model._encoder, is_training)
        rows = embed_rows(modality, inputs["src"], batch.source, dropout)
    else:
        rows = ops.pack(tf.cast(embedded, compute_dtype()), batch.source)
        rows = drop_input(model._encoder, rows, is_training)
    return batch, rows, source_shape[1]


def _encode(
    model: EncoderDecoderModel, inputs: dict[str, tf.Tensor], is_training: bool
) -> tuple[PackedBatch, dict[str, Any], tf.Tensor]:
    """The layouts of both sides, what a decoder reads, and the length of padded sources."""
    batch, source, source_length = _pack(model, inputs, is_training)
    cache = {
        "decoding_states": None,
        "memory": encode_rows(model._encoder, source, batch.source, is_training)[-1],
        PACKED_BATCH: batch,
    }
    return batch, cache, source_length


def _decode(
    model: EncoderDecoderModel,
    symbols: tf.Tensor,
    cache: dict[str, Any],
    time: tf.Tensor | None,
    is_training: bool,
    decode_padded_length: int | None,
) -> tf.Tensor:
    """The decoder's output [R, H] on whole target sentences."""
    own = type(model).get_decoder_output is not EncoderDecoderModel.get_decoder_output
    if own or word_table(model._trg_modality) is None:
        return model.get_decoder_output(symbols, cache, time, is_training, decode_padded_length)
    batch = cache[PACKED_BATCH]
    dropout = input_dropout(model._decoder, is_training)
    rows = embed_rows(model._trg_modality, symbols, batch.target, dropout, start=time)
    return decode_rows(
        model._decoder, rows, batch.target, cache["memory"], batch.source, None, is_training
    )


def padding_of(inputs: dict[str, tf.Tensor], side: str, shape: tf.Tensor) -> tf.Tensor:
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
    table = output_table(model)
    if table is None:
        return model.output_logits_layer(ops.unpack(rows, layout, shape))
    logits = ops.output_projection(tf.cast(rows, compute_dtype()), layout, *table, shape)
    return tf.cast(logits, compat.CUSTOM_GLOBAL_FLOATX)
