"""The names of layers' variables, and what model_configs.yml says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_ls.convert import option_values
from tf_ls.convert.error import ConversionError
from tf_ls.convert.weight_table import Joined, Rule, Same
from tf_ls.files import Model
from tf_ls.files.definitions import DECODER_LAYER, ENCODER_LAYER
from tf_ls.files.lightseq_export import (
    DECODER_VARIABLES,
    ENCODER_VARIABLES,
    KEYS_AND_VALUES,
)

# NeurST has them under the same names.
_ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox")


def encoder_layers(stack: str, count: int) -> dict[str, Rule]:
    """Returns the fields of the encoder's stack, of variables STACK/layer_0/..."""
    return {
        f"encoder_stack/{i}/{field}": _rule(f"{stack}/layer_{i}/{variable}")
        for i in range(count)
        for field, variable in zip(ENCODER_LAYER, ENCODER_VARIABLES)
    }


def decoder_layers(stack: str, count: int) -> dict[str, Rule]:
    """Returns the same of a decoder with cross-attention."""
    fields: dict[str, Rule] = {
        f"decoder_stack/{i}/{field}": _rule(f"{stack}/layer_{i}/{variable}")
        for i in range(count)
        for field, variable in zip(DECODER_LAYER, DECODER_VARIABLES)
    }
    for suffix, rank in (("kernel", 2), ("bias", 1)):
        parts = [Same(f"{stack}/layer_{i}/{KEYS_AND_VALUES}/{suffix}") for i in range(count)]
        fields[f"trg_embedding/encode_output_project_{suffix}_kv"] = Joined(parts, rank)
    return fields


def norm(field: str, name: str) -> dict[str, Rule]:
    """Returns the two fields of a norm: FIELD_scale and FIELD_bias."""
    return {f"{field}_scale": Same(f"{name}/gamma"), f"{field}_bias": Same(f"{name}/beta")}


def put_settings(params: Mapping[str, Any], model: Model, prefix: str = "") -> None:
    """Puts what a stack's options say into a model; their names begin with the prefix.

    Raises:
        ConversionError: an option is missing or has no place in a model file.
    """
    activation = required(params, f"{prefix}ffn_activation")
    if activation == "gelu_approx":
        activation = "gelu"
    if activation not in _ACTIVATIONS:
        expected = ", ".join(_ACTIVATIONS)
        raise ConversionError(
            f"{prefix}ffn_activation: expected one of {expected}, got {activation!r}"
        )
    expect(params, f"{prefix}attention_type", "dot_product")
    epsilon = f"{prefix}layer_postprocess_epsilon"
    model.settings.update(
        head_num=required(params, f"{prefix}num_attention_heads"),
        activation=activation,
        use_gelu="gelu" in activation,
        epsilon=option_values.number(f"model.params/{epsilon}", required(params, epsilon)),
    )


def params_of(model: Model, stack: str = "encoder_stack") -> dict[str, Any]:
    """Returns the options of a stack, without dropout.

    Raises:
        ConversionError: NeurST does not have the activation.
    """
    shapes = model.shapes()
    if model.setting("activation") not in _ACTIVATIONS:
        raise ConversionError(f"NeurST has no activation {model.setting('activation')}")
    return {
        "num_layers": model.layers(stack),
        "hidden_size": shapes[f"{stack}/0/ffn_second_bias"][0],
        "num_attention_heads": model.setting("head_num"),
        "filter_size": shapes[f"{stack}/0/ffn_first_bias"][0],
        "ffn_activation": model.setting("activation"),
        "attention_type": "dot_product",
        "layer_postprocess_epsilon": model.setting("epsilon"),
    }


def required(params: Mapping[str, Any], name: str) -> Any:
    """Returns an option that must be there."""
    if params.get(name) is None:
        raise ConversionError(f"model.params/{name} is missing")
    return params[name]


def required_count(params: Mapping[str, Any], name: str) -> int:
    """Returns a size or a number of layers, which must be there."""
    return option_values.count(f"model.params/{name}", required(params, name))


def expect(params: Mapping[str, Any], name: str, *values: Any) -> None:
    """Raises ConversionError if an option has none of some values."""
    if params.get(name) not in (None, *values):
        expected = " or ".join(map(repr, values))
        raise ConversionError(f"model.params/{name}: expected {expected}, got {params[name]!r}")


def _rule(variable: str) -> Joined:
    """A variable whose field has more dimensions: one matrix or vector, as it is."""
    return Joined([Same(variable)], 2 if variable.endswith("/kernel") else 1)
