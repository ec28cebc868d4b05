"""NeurST's GPT2: pre-norm layers, learned positions, an output layer that is the table of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from tf_ls.convert.error import ConversionError
from tf_ls.convert.neurst import layers
from tf_ls.convert.neurst.tokens import Tokens
from tf_ls.convert.weight_table import Same, Weights, WeightTable
from tf_ls.files import Model

FAMILY = "gpt"
CLASS = "GPT2"

DEFAULTS = {"ffn_activation": "gelu", "layer_postprocess_epsilon": 1e-5}


def read(params: Mapping[str, Any], variables: Weights, tokens: Optional[Tokens]) -> Model:
    """Returns the model of options and variables.

    A model file does not say what a text begins with: prompts do.
    """
    if tokens is None:
        raise ConversionError("the task, whose vocabulary has the special tokens, is missing")
    timing = params.get("timing")
    kind = timing.get("timing") if isinstance(timing, Mapping) else timing
    if kind != "emb":
        raise ConversionError(f"model.params/timing: expected emb, got {kind!r}")
    layers.expect(params, "share_embedding_and_softmax_weights", True)
    model = Model(FAMILY)
    layers.put_settings(params, model)
    model.settings.update(
        # Prompts do not have it: what follows would be another text.
        src_padding_id=tokens.end,
        eos_id=tokens.end,
        sampling_method="topk",
        topk=1,
        topp=0.75,
        extra_decode_length=50,
        beam_size=1,
    )
    _table(layers.required_count(params, "num_layers")).read(variables, model)
    return model


def write(model: Model) -> tuple[dict[str, Any], dict]:
    """Returns options and variables of a model."""
    positions = model.shapes()["src_embedding/position_embedding"][0]
    params = {
        **layers.params_of(model),
        "share_embedding_and_softmax_weights": True,
        "timing": {"timing": "emb", "max_positions": positions},
    }
    return params, _table(params["num_layers"]).write(model)


def _table(count: int) -> WeightTable:
    return WeightTable(
        {
            "src_embedding/token_embedding": Same("posenc_wrapper/embeddings/shared/weights"),
            "src_embedding/position_embedding": Same("posenc_wrapper/position_embeddings/weights"),
            **layers.norm("src_embedding/norm", "decoder/output_ln"),
            **layers.encoder_layers("decoder", count),
        }
    )
