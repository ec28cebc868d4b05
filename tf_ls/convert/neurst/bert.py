"""NeurST's Bert: post-norm layers with token types and pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from tf_ls.convert.error import ConversionError
from tf_ls.convert.neurst import layers
from tf_ls.convert.neurst.tokens import Tokens
from tf_ls.convert.weight_table import Same, Weights, WeightTable
from tf_ls.files import Model

FAMILY = "bert"
CLASS = "Bert"

DEFAULTS = {"ffn_activation": "gelu", "layer_postprocess_epsilon": 1e-12}

# Of Google's vocabularies. NeurST's model has no padding of its own: it is told where there is any.
_PADDING = 0


def read(params: Mapping[str, Any], variables: Weights, tokens: Optional[Tokens]) -> Model:
    """Returns the model of options and variables."""
    model = Model(FAMILY)
    layers.put_settings(params, model)
    model.settings.update(
        is_post_ln=True,
        src_padding_id=_PADDING if tokens is None else tokens.padding_alone,
    )
    _table(layers.required_count(params, "num_layers")).read(variables, model)
    return model


def write(model: Model) -> tuple[dict[str, Any], dict]:
    """Returns options and variables of a model."""
    if not model.setting("is_post_ln"):
        raise ConversionError("model_conf/is_post_ln: NeurST's Bert has post-norm layers")
    shapes = model.shapes()
    params = {
        **layers.params_of(model),
        "max_position_embeddings": shapes["src_embedding/position_embedding"][0],
    }
    types = shapes.get("src_embedding/token_type_embedding", (0,))[0]
    if types != 2:
        raise ConversionError(f"token_type_embedding: NeurST's Bert has 2 types, the model {types}")
    return params, _table(params["num_layers"]).write(model)


def _table(count: int) -> WeightTable:
    embedding = "bert_embedding"
    return WeightTable(
        {
            "src_embedding/token_embedding": Same(f"{embedding}/word_embedding"),
            "src_embedding/position_embedding": Same(f"{embedding}/position_embedding"),
            "src_embedding/token_type_embedding": Same(f"{embedding}/token_type_embedding"),
            **layers.norm("src_embedding/norm", f"{embedding}/ln"),
            **layers.encoder_layers("encoder", count),
            "pooler/kernel": Same("pooler/kernel"),
            "pooler/bias": Same("pooler/bias"),
        }
    )
