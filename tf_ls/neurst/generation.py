"""NeurST's models as the operation that generates takes them: the decoder, and what is encoded.

Nothing here keeps a tensor: called in a function, variables are read when the function runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from neurst.layers.decoders.transformer_decoder import TransformerDecoder
from neurst.models.ctnmt_transformer import CtnmtTransformer
from neurst.models.encoder_decoder_ensemble_model import EncoderDecoderEnsembleModel
from neurst.models.encoder_decoder_model import EncoderDecoderModel
from neurst.models.gpt2 import GPT2
from neurst.models.speech_transformer import SpeechTransformer

from tf_ls import ops
from tf_ls.neurst import eligibility, stacks, weights
from tf_ls.neurst.embeddings import scale_and_positions, word_table
from tf_ls.neurst.output_layer import output_table, target_modality

# Those whose methods are known to do what the operation does.
_KNOWN = (EncoderDecoderModel, SpeechTransformer, CtnmtTransformer, GPT2)
_METHODS = ("get_symbols_to_logits_fn", "get_decoder_output", "output_logits_layer")


class Prepared(NamedTuple):
    """What a decoder starts from: B sentences, encoded."""

    memory: tf.Tensor | None
    """[B, S, M], in the dtype that fused layers compute in; None for a decoder-only model."""

    lengths: tf.Tensor | None
    """integers [B], how many positions of the memory there are."""

    start: tf.Tensor
    """integers [B], the tokens to start with."""

    padded_length: tf.Tensor | None
    """The length of the padded sources behind the encoder, by which NeurST limits hypotheses."""

    eos: int
    unk: int | None


def why_not(model: tf.keras.Model) -> str | None:
    """Why a model cannot go through the operation; None if `decoder_of` and `prepare` take it."""
    name = type(model).__name__
    if isinstance(model, EncoderDecoderEnsembleModel):
        return "the model is an ensemble"
    if not isinstance(model, _KNOWN):
        return f"{name} is not a model of NeurST's that generates"
    for method in _METHODS:
        if getattr(type(model), method) not in [getattr(known, method) for known in _KNOWN]:
            return f"{name} has a {method} of its own"
    decoder = model._decoder
    if type(decoder) is not TransformerDecoder:  # a subclass may do anything
        return f"its decoder is {type(decoder).__name__}"
    if not weights.are_built(decoder):
        return "its decoder has no variables yet"
    if word_table(target_modality(model)) is None:
        return "it embeds its target with something else than words"
    if len({layer._with_cross_attention for layer in decoder._stacking_layers}) > 1:
        return "some of its decoder's layers have cross-attention and some do not"
    return eligibility.why_not(decoder)


def decoder_of(model: EncoderDecoderModel | GPT2) -> ops.Decoder:
    """The decoder of a model, its embeddings and its output layer; variables are the float32 ones.

    Args:
        model: one of which `why_not` returns None.
    """
    decoder = model._decoder
    modality = target_modality(model)
    scale, positions = scale_and_positions(modality)
    output_weights, output_bias = output_table(model)
    return ops.Decoder(
        layers=[weights.decoder_layer_weights(layer) for layer in decoder._stacking_layers],
        table=weights.raw(word_table(modality)._shared_weights),
        scale=scale,
        positions=positions,
        norm=stacks.output_norm(decoder),
        output_weights=output_weights,
        output_bias=output_bias,
        **stacks.structure(decoder.get_config()),
    )


def vocabulary_size(model: EncoderDecoderModel | GPT2) -> int:
    """How many words a model that `decoder_of` takes may generate."""
    return word_table(target_modality(model)).vocab_size


def positions(model: EncoderDecoderModel | GPT2) -> int | None:
    """How many positions the table of a model that `decoder_of` takes has; None: no such table."""
    _, table = scale_and_positions(target_modality(model))
    return None if table is None or isinstance(table, str) else table.shape[0]


def prepare(model: EncoderDecoderModel | GPT2, inputs: dict[str, tf.Tensor]) -> Prepared:
    """Encodes the sources of a batch, without their padding where the model can.

    Args:
        model: one of which `why_not` returns None.
        inputs: as for NeurST's searches: src, src_length or src_padding, and trg_input [B], the
            tokens to start with.
    """
    start = inputs["trg_input"]
    # Not is_inference: no step of NeurST's will follow, so there is no need for its cache.
    _, initializer = model.get_symbols_to_logits_fn(
        {**inputs, "trg_input": start[:, tf.newaxis]}, is_training=False, is_inference=False
    )
    memory, lengths = _memory(initializer["decoder_internal_cache"])
    return Prepared(
        memory,
        lengths,
        start,
        initializer.get("encoder_inputs_maxlen"),
        initializer["eos_id"],
        initializer.get("unk_id"),
    )


def _memory(cache: dict[str, Any]) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """What the encoder returned, [B, S, M], padding at the end of each sentence; and lengths."""
    memory = cache.get("memory")
    if memory is None:
        return None, None
    memory = tf.cast(memory, eligibility.compute_dtype())
    packed = cache.get(stacks.PACKED_BATCH)
    if packed is None:
        return memory, stacks.memory_lengths_of(cache["memory_bias"])
    lengths = packed.source.lengths
    padding = ~tf.sequence_mask(lengths)
    (layout,) = ops.pack_layouts([padding])
    return ops.unpack(memory, layout, tf.shape(padding)), lengths
