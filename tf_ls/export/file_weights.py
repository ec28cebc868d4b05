"""What models of all families of model files are made of, as operations take it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_ls.files.conversion import Shapes
from tf_ls.files.definitions import ENCODER_LAYER
from tf_ls.files.model import InvalidModelFile, Model


def refuse_languages(model: Model) -> None:
    """Raises InvalidModelFile if a model has embeddings of languages, which no operation adds."""
    if model.setting("multilg_type"):
        raise InvalidModelFile(
            "model_conf/multilg_type: expected 0, a model without embeddings of languages, got"
            f" {model.setting('multilg_type')}"
        )


def structure(model: Model) -> dict[str, Any]:
    """What settings say of all layers, as `ops.LayerStack` has it; a Gpt has pre-norm layers."""
    is_post_norm = "is_post_ln" in model.family.settings and model.setting("is_post_ln")
    return {
        "num_heads": model.setting("head_num"),
        "pre_norm": not is_post_norm,
        "activation": model.setting("activation"),
        "epsilon": model.setting("epsilon"),
    }


def encoder_layers(model: Model, shapes: Shapes) -> list[list[tf.Tensor]]:
    """The layers of the encoder's stack, as `ops.encoder_layer` has them."""
    return [
        [weight_of(model, shapes, f"encoder_stack/{i}/{name}") for name in ENCODER_LAYER]
        for i in range(model.layers("encoder_stack"))
    ]


def norms_of(model: Model, shapes: Shapes, part: str) -> dict[str, tuple[tf.Tensor, ...]]:
    """The norms among an embedding's fields: `norm` is behind the layers if they are pre-norm."""
    places = {"norm": "norm", "embedding_norm": "embedding_norm"}
    if not structure(model)["pre_norm"]:
        places = {"norm": "embedding_norm"}
    return {
        place: tuple(
            weight_of(model, shapes, f"{part}/{name}_{half}") for half in ("scale", "bias")
        )
        for name, place in places.items()
        if f"{part}/{name}_scale" in shapes
    }


def weight_of(model: Model, shapes: Shapes, name: str) -> tf.Tensor:
    """A field as operations take it: [3, H] of a bias is [3H], [H, 3, H] of a kernel [H, 3H]."""
    array = model.float32(name, shapes)
    vector = array.ndim == 1 or "bias" in name
    return tf.constant(array.ravel() if vector else array.reshape(len(array), -1))
