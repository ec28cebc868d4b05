"""Models that NeurST has trained to translate, or to continue text, from their folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import neurst  # noqa: F401  first: it chooses Keras 2 and mends itself
import tensorflow as tf
from neurst.data.data_pipelines.text_data_pipeline import TextDataPipeline
from neurst.layers.encoders.transformer_encoder import TransformerEncoder
from neurst.models.encoder_decoder_model import EncoderDecoderModel
from neurst.tasks.language_model import LanguageModel as LanguageModelTask
from neurst.utils.configurable import ModelConfigs

from tf_ls import ops
from tf_ls.convert.neurst import tokens, variables
from tf_ls.export.language_model import LanguageModel
from tf_ls.export.translation_model import TranslationModel, merged_options
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.neurst import eligibility, generation, language_model_folder, stacks, weights
from tf_ls.neurst.embeddings import scale_and_positions, word_table
from tf_ls.neurst.sentencepiece_text import text_of


def load(
    folder: str | os.PathLike, options: ops.SearchOptions | Mapping[str, Any] | None = None
) -> TranslationModel | LanguageModel:
    """Builds the model of a folder and restores its newest checkpoint.

    Args:
        folder: as NeurST's trainer writes it. Vocabularies are read from where its
            model_configs.yml says, as NeurST does: relative paths count from the working directory.
        options: in front of NeurST's own, which forbid the unknown token.

    Raises:
        ValueError: the model is none that generates in one operation, there is no checkpoint of all
            its variables, or a vocabulary is not there.
    """
    configs = ModelConfigs.load(os.fspath(folder))
    try:
        task = tokens.task_of(configs)
        if task is None:
            raise ValueError("it has no task, whose vocabularies have the special tokens")
        special = tokens.of_task(task)
        model = task.build_model(configs)
        continues = isinstance(task, LanguageModelTask)
        reason = language_model_folder.why_not(model) if continues else _why_not(model)
        if reason is not None:
            raise ValueError(reason)
        _restore(model, Path(folder))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if continues:
        text = _text_or_reason(task._data_pipeline)
        return language_model_folder.describe(special, model, options, text)
    source, target = task._src_data_pipeline, task._trg_data_pipeline
    texts = [_text_or_reason(pipeline) for pipeline in (source, target)]
    reasons = [text for text in texts if isinstance(text, str)]
    return TranslationModel(
        weights=encoder_decoder_of(model),
        start=special.start,
        padding_id=special.source_padding,
        padding_is_eos=special.padding_is_end,
        options=merged_options(options, ops.SearchOptions(**special.options())),
        source_text=None if reasons else texts[0],
        target_text=None if reasons else texts[1],
        no_text_because=reasons[0] if reasons else "",
        ids_of=source.encode if isinstance(source, TextDataPipeline) else None,
    )


def _why_not(model: tf.keras.Model) -> str | None:
    """Why a model is not made of words, an encoder and a decoder that operations know."""
    if not isinstance(model, EncoderDecoderModel):
        return f"{type(model).__name__} is no encoder-decoder"
    reason = generation.why_not(model) or eligibility.why_not(model._encoder)
    if reason is not None:
        return reason
    if type(model._encoder) is not TransformerEncoder:  # a subclass may do anything
        return f"its encoder is {type(model._encoder).__name__}"
    if word_table(model._src_modality) is None:
        return "it embeds its source with something else than words"
    return None


def encoder_decoder_of(model: EncoderDecoderModel) -> EncoderDecoder:
    """A model that can be exported, as weights; variables are the float32 ones."""
    return EncoderDecoder(_encoder_of(model), generation.decoder_of(model))


def _encoder_of(model: EncoderDecoderModel) -> ops.Encoder:
    encoder = model._encoder
    params = encoder.get_config()
    scale, positions = scale_and_positions(model._src_modality)
    return ops.Encoder(
        layers=[weights.encoder_layer_weights(layer) for layer in encoder._stacking_layers],
        table=weights.raw(word_table(model._src_modality)._shared_weights),
        scale=scale,
        positions=positions,
        norm=stacks.output_norm(encoder),
        causal=bool(params["attention_monotonic"]),
        **stacks.structure(params),
    )


def _restore(model: tf.keras.Model, folder: Path) -> None:
    """Reads all variables. (NeurST's own function leaves out what it does not find.)"""
    saved = variables.open_newest(folder)
    for variable in model.weights:
        name = variables.own_name(variable.name.split(":")[0])
        if name not in saved:
            raise ValueError(f"the checkpoint does not have {name}")
        variable.assign(saved[name])


def _text_or_reason(pipeline: object):
    if not isinstance(pipeline, TextDataPipeline):
        return f"its data pipeline is {type(pipeline).__name__}"
    return text_of(pipeline)
