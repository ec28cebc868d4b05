"""NeurST's Transformer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from tf_ls.convert.error import ConversionError
from tf_ls.convert.neurst import layers
from tf_ls.convert.neurst.tokens import Tokens
from tf_ls.convert.weight_table import (
    Constant,
    Joined,
    Rule,
    Same,
    Scaled,
    Transposed,
    Weights,
    WeightTable,
)
from tf_ls.files import Model
from tf_ls.files.lightseq_export import sinusoids

FAMILY = "transformer"
CLASS = "Transformer"

DEFAULTS = {
    f"{stack}.{name}": value
    for stack in ("encoder", "decoder")
    for name, value in (("ffn_activation", "relu"), ("layer_postprocess_epsilon", 1e-6))
}

# What both stacks must have the same of, for model files have it once.
_ONCE = (
    "hidden_size",
    "num_attention_heads",
    "ffn_activation",
    "post_normalize",
    "layer_postprocess_epsilon",
)
_SHARE_WORDS = "modality.share_source_target_embedding"
_SHARE_OUTPUT = "modality.share_embedding_and_softmax_weights"

# Rows of a table of sinusoids, which NeurST computes for any length.
_POSITIONS = 1024

# NeurST's own search.
_SEARCH = {"length_penalty": "neurst", "max_length": 256}

_PARTS = {"input": "src_embedding", "target": "trg_embedding"}


def read(params: Mapping[str, Any], variables: Weights, tokens: Optional[Tokens]) -> Model:
    """Returns the model of options and variables."""
    if tokens is None:
        raise ConversionError("the task, whose vocabularies have the special tokens, is missing")
    for name in _ONCE:
        encoder, decoder = (params.get(f"{stack}.{name}") or 0 for stack in ("encoder", "decoder"))
        if encoder != decoder:
            raise ConversionError(
                f"model.params/decoder.{name}: expected the encoder's, {encoder!r}, got {decoder!r}"
            )
    layers.expect(params, "encoder.attention_monotonic", False)
    layers.expect(params, "decoder.attention_type", "dot_product")
    model = Model(FAMILY)
    layers.put_settings(params, model, "encoder.")
    timings = {side: _timing(params, side) for side in _PARTS}
    scaled = {side: timing["timing"] == "sinusoids" for side, timing in timings.items()}
    if scaled["input"] != scaled["target"]:
        raise ConversionError("model.params/modality.target.timing: expected the source's")
    forbidden = list(tokens.options()["forbidden_tokens"])
    model.settings.update(
        is_post_ln=bool(params.get("encoder.post_normalize")),
        no_scale_embedding=not scaled["target"],
        beam_size=4,
        length_penalty=0.6,
        extra_decode_length=50,
        sampling_method="beam_search",
        trg_start_id=tokens.start,
        trg_end_id=tokens.end,
        src_padding_id=tokens.padding_alone,
        search_options=json.dumps({**_SEARCH, "forbidden_tokens": forbidden}),
    )
    counts = [layers.required_count(params, f"{s}.num_layers") for s in ("encoder", "decoder")]
    tables = {
        side: _computed(timing, layers.required_count(params, "encoder.hidden_size"))
        for side, timing in timings.items()
    }
    _table(params, counts, model, tables).read(variables, model)
    return model


def write(model: Model) -> tuple[dict[str, Any], dict]:
    """Returns options and variables of a model.

    The table of words is one variable only if source and target have the same.
    """
    shapes = model.shapes()
    post_norm = bool(model.setting("is_post_ln"))
    words = [model.float32(f"{part}/token_embedding", shapes) for part in _PARTS.values()]
    params = {
        **{
            f"{stack}.{name}": value
            for stack in ("encoder", "decoder")
            for name, value in layers.params_of(model, f"{stack}_stack").items()
        },
        "encoder.post_normalize": post_norm,
        "decoder.post_normalize": post_norm,
        "modality.dim": words[0].shape[1],
        _SHARE_OUTPUT: "trg_embedding/output_kernel" not in shapes,
        _SHARE_WORDS: words[0].shape == words[1].T.shape and np.array_equal(words[0], words[1].T),
    }
    tables = {}
    for side, part in _PARTS.items():
        positions = model.float32(f"{part}/position_embedding", shapes)
        timing = _timing_of(positions, not model.setting("no_scale_embedding"))
        name = {"input": "source", "target": "target"}[side]
        params[f"modality.{name}.timing"] = timing
        tables[side] = positions if timing == "sinusoids" else None
    if params[_SHARE_WORDS] and (
        params["modality.source.timing"] != params["modality.target.timing"]
    ):
        params[_SHARE_WORDS] = False  # they are one layer, which has positions, too
    counts = [model.layers(stack) for stack in ("encoder_stack", "decoder_stack")]
    return params, _table(params, counts, model, tables).write(model)


def _timing(params: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """What says how positions are embedded: {"timing": "sinusoids" or "emb", ...}."""
    own = "modality.source.timing" if side == "input" else "modality.target.timing"
    if params.get(_SHARE_WORDS):
        own = "modality.target.timing"
    timing = params.get(own) or params.get("modality.timing")
    timing = timing if isinstance(timing, Mapping) else {"timing": timing}
    if timing.get("timing") not in ("sinusoids", "emb"):
        raise ConversionError(
            f"model.params/{own}: expected sinusoids or emb, got {timing.get('timing')!r}"
        )
    return timing


def _timing_of(positions: np.ndarray, scaled: bool) -> Any:
    """The reverse: a scale of words goes with sinusoids, which may be a variable."""
    if not scaled:
        return {"timing": "emb", "max_positions": len(positions)}
    if np.allclose(positions, sinusoids(*positions.shape), rtol=0, atol=1e-6):
        return "sinusoids"
    return {
        "timing": "sinusoids",
        "max_positions": len(positions),
        "sinusoids_as_variable": True,
    }


def _computed(timing: Mapping[str, Any], hidden: int) -> Any:
    """The positions that are no variable; None if they are one."""
    if timing["timing"] == "sinusoids" and not timing.get("sinusoids_as_variable"):
        return sinusoids(_POSITIONS, hidden)
    return None


def _table(
    params: Mapping[str, Any], counts: list[int], model: Model, tables: Mapping[str, Any]
) -> WeightTable:
    """All variables; those that are scaled have the factor that the model's settings say."""
    shares_output = bool(params.get(_SHARE_OUTPUT))
    fields: dict[str, Rule] = {
        **layers.encoder_layers("TransformerEncoder", counts[0]),
        **layers.decoder_layers("TransformerDecoder", counts[1]),
    }
    scale = 1.0
    if not model.setting("no_scale_embedding"):
        scale = math.sqrt(layers.required_count(params, "encoder.hidden_size"))
    for side, part in _PARTS.items():
        modality = "shared" if params.get(_SHARE_WORDS) else side
        wrapper = f"{modality}_symbol_modality_posenc_wrapper"
        shares = shares_output and modality != "input"
        table = f"{wrapper}/{modality}_symbol_modality/{'shared' if shares else 'emb'}"
        rule = Same if side == "input" else Transposed
        fields[f"{part}/token_embedding"] = Scaled(rule(f"{table}/weights"), scale)
        fields[f"{part}/position_embedding"] = (
            Same(f"{wrapper}/position_embeddings/weights")
            if tables[side] is None
            else Constant(tables[side], "positions are computed")
        )
        if side == "target":
            output = f"{table}/bias" if shares else "softmax_linear/bias"
            fields[f"{part}/shared_bias"] = Joined([Same(output)], 1)
    if not shares_output:
        fields["trg_embedding/output_kernel"] = Same("softmax_linear/kernel")
    if not model.setting("is_post_ln"):
        fields.update(layers.norm("src_embedding/norm", "TransformerEncoder/output_ln"))
        fields.update(layers.norm("trg_embedding/norm", "TransformerDecoder/output_ln"))
    return WeightTable(fields)
