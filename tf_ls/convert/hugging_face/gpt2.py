"""GPT-2: pre-norm layers, and an output layer that is the table of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_ls.convert.hugging_face import config as config_file
from tf_ls.convert.hugging_face import generation
from tf_ls.convert.weight_table import Rule, Same, Weights, WeightTable, columns, vectors
from tf_ls.files import Model

Config = Mapping[str, Any]

FAMILY = "gpt"

_CLASSES = ["GPT2LMHeadModel", "GPT2Model"]

_OPTIONS = config_file.Options(
    sizes={
        "vocab_size": ("src_embedding/token_embedding", 0),
        "n_embd": ("src_embedding/token_embedding", 1),
        "n_positions": ("src_embedding/position_embedding", 0),
        "n_inner": ("encoder_stack/0/ffn_first_bias", 0),
    },
    layers={"n_layer": "encoder_stack"},
    settings={"n_head": "head_num", "layer_norm_epsilon": "epsilon"},
    activation="activation_function",
    defaults={"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
    fixed={
        "add_cross_attention": False,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
        "pruned_heads": {},
    },
)

# LightSeq's defaults; theirs are no part of a model.
_SEARCH = {"sampling_method": "topk", "topk": 1, "topp": 0.75, "extra_decode_length": 50}


def read(config: Config, options: Config, weights: Weights) -> Model:
    """Returns the model of a configuration, options of generation, and weights.

    Raises:
        ConversionError: something has no place in a model file; the message names it.
    """
    config_file.check_architecture(config, _CLASSES)
    model = Model(FAMILY)
    config_file.put_settings(_OPTIONS, config, model)
    prefix = "transformer." if any(name.startswith("transformer.") for name in weights) else ""
    _table(config_file.count_of(_OPTIONS, config, "n_layer"), prefix).read(weights, model)
    config_file.check_sizes(_OPTIONS, config, model)
    # Without a padding, one that is no token.
    padding = options.get("pad_token_id")
    vocabulary = model.shapes()["src_embedding/token_embedding"][0]
    model.settings.update(
        _SEARCH,
        eos_id=generation.token(options, "eos_token_id"),
        src_padding_id=vocabulary if padding is None else padding,
    )
    return model


def write(model: Model) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Returns the JSON files and the weights of a model.

    Raises:
        ConversionError: the model has something that Hugging Face's has no place for.
    """
    config = config_file.of_model(_OPTIONS, model)
    weights = _table(config["n_layer"], "transformer.").write(model)
    tokens = {"eos_token_id": model.setting("eos_id"), "bos_token_id": model.setting("eos_id")}
    if 0 <= model.setting("src_padding_id") < config["vocab_size"]:
        tokens["pad_token_id"] = model.setting("src_padding_id")
    config.update(tokens, model_type="gpt2", architectures=[_CLASSES[0]])
    return {config_file.FILE: config, generation.FILE: tokens}, weights


def _table(layers: int, prefix: str) -> WeightTable:
    fields: dict[str, Rule] = {
        "src_embedding/token_embedding": Same(f"{prefix}wte.weight"),
        "src_embedding/position_embedding": Same(f"{prefix}wpe.weight"),
        "src_embedding/norm_scale": Same(f"{prefix}ln_f.weight"),
        "src_embedding/norm_bias": Same(f"{prefix}ln_f.bias"),
    }
    for i in range(layers):
        fields.update(_layer(f"encoder_stack/{i}", f"{prefix}h.{i}"))
    return WeightTable(
        fields,
        copies={"lm_head.weight": f"{prefix}wte.weight"},
        no_weights=[r".*\.attn\.(masked_)?bias"],
    )


def _layer(field: str, name: str) -> dict[str, Rule]:
    """Its matrices are [inputs, outputs] already."""
    return {
        f"{field}/multihead_norm_scale": Same(f"{name}.ln_1.weight"),
        f"{field}/multihead_norm_bias": Same(f"{name}.ln_1.bias"),
        f"{field}/multihead_project_kernel_qkv": columns(Same(f"{name}.attn.c_attn.weight")),
        f"{field}/multihead_project_bias_qkv": vectors(f"{name}.attn.c_attn.bias"),
        f"{field}/multihead_project_kernel_output": Same(f"{name}.attn.c_proj.weight"),
        f"{field}/multihead_project_bias_output": Same(f"{name}.attn.c_proj.bias"),
        f"{field}/ffn_norm_scale": Same(f"{name}.ln_2.weight"),
        f"{field}/ffn_norm_bias": Same(f"{name}.ln_2.bias"),
        f"{field}/ffn_first_kernel": Same(f"{name}.mlp.c_fc.weight"),
        f"{field}/ffn_first_bias": Same(f"{name}.mlp.c_fc.bias"),
        f"{field}/ffn_second_kernel": Same(f"{name}.mlp.c_proj.weight"),
        f"{field}/ffn_second_bias": Same(f"{name}.mlp.c_proj.bias"),
    }
