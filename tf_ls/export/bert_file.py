"""What a Bert of a model file encodes with."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.export.encoder_model import Dense, EncoderModel, EncoderWithHeads, WordHead
from tf_ls.export.file_weights import (
    encoder_layers,
    norms_of,
    refuse_languages,
    structure,
    weight_of,
)
from tf_ls.files.conversion import Shapes
from tf_ls.files.model import Model


def describe(model: Model) -> EncoderModel:
    """Returns the weights of a Bert in float32, and what they are for.

    Args:
        model: what `tf_ls.files.read` returned for a Bert.

    Raises:
        InvalidModelFile: numbers that are infinite or NaN; embeddings of languages.
    """
    refuse_languages(model)
    shapes = model.shapes()
    weight = functools.partial(weight_of, model, shapes)
    positions, token_types = _positions(model, shapes)
    encoder = ops.Encoder(
        layers=encoder_layers(model, shapes),
        table=weight("src_embedding/token_embedding"),
        positions=tf.constant(positions),
        token_types=token_types,
        **norms_of(model, shapes, "src_embedding"),
        **structure(model),
    )

    def dense(part: str) -> Dense:
        return Dense(weight(f"{part}/kernel"), weight(f"{part}/bias"))

    word_head = None
    if "mlm_head/kernel" in shapes:
        word_head = WordHead(
            dense("mlm_head"),
            (weight("mlm_head/norm_scale"), weight("mlm_head/norm_bias")),
            weight("mlm_head/output_bias"),
        )
    weights = EncoderWithHeads(
        encoder,
        pooler=dense("pooler") if "pooler/kernel" in shapes else None,
        head=dense("head") if "head/kernel" in shapes else None,
        word_head=word_head,
    )
    return EncoderModel(
        weights,
        padding_id=model.setting("src_padding_id"),
        task=model.setting("task"),
        labels=tuple(model.labels()),
    )


def _positions(model: Model, shapes: Shapes) -> tuple[np.ndarray, int]:
    """Embeddings of positions for each token type, [T * P, H] as `ops.Encoder` has them, and T."""
    positions = model.float32("src_embedding/position_embedding", shapes)
    name = "src_embedding/token_type_embedding"
    if name not in shapes:
        return positions, 1
    types = model.float32(name, shapes)
    both = types[:, np.newaxis] + positions
    return both.reshape(-1, positions.shape[1]), len(types)
