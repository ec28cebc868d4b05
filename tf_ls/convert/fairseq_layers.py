"""The layers of Transformers by Fairseq's names, which BART, mBART and Marian have as well."""

from __future__ import annotations

from tf_ls.convert.weight_table import Rule, Same, Transposed, columns, vectors

_SELF_ATTENTION = {"encoder": "multihead", "decoder": "self"}


def layers(prefix: str, encoder_layers: int, decoder_layers: int) -> dict[str, Rule]:
    """Returns the fields of both stacks, and those of the decoder's projections of the memory.

    Args:
        prefix: what the names of all weights begin with.
        encoder_layers: how many there are.
        decoder_layers: the same.
    """
    fields: dict[str, Rule] = {}
    for stack, count in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        for i in range(count):
            fields.update(_layer(stack, f"{stack}_stack/{i}", f"{prefix}{stack}.layers.{i}"))
    memory = [
        f"{prefix}decoder.layers.{i}.encoder_attn.{part}_proj"
        for i in range(decoder_layers)
        for part in "kv"
    ]
    projection = "trg_embedding/encode_output_project"
    fields[f"{projection}_kernel_kv"] = columns(*(f"{name}.weight" for name in memory))
    fields[f"{projection}_bias_kv"] = vectors(*(f"{name}.bias" for name in memory))
    return fields


def norm(field: str, name: str) -> dict[str, Rule]:
    """Returns the two fields of a norm: FIELD_scale and FIELD_bias."""
    return {f"{field}_scale": Same(f"{name}.weight"), f"{field}_bias": Same(f"{name}.bias")}


def _layer(stack: str, field: str, name: str) -> dict[str, Rule]:
    attention = f"{field}/{_SELF_ATTENTION[stack]}"
    projections = [f"{name}.self_attn.{part}_proj" for part in "qkv"]
    fields: dict[str, Rule] = {
        **norm(f"{attention}_norm", f"{name}.self_attn_layer_norm"),
        f"{attention}_project_kernel_qkv": columns(*(f"{p}.weight" for p in projections)),
        f"{attention}_project_bias_qkv": vectors(*(f"{p}.bias" for p in projections)),
        **_linear(f"{attention}_project", "_output", f"{name}.self_attn.out_proj"),
        **norm(f"{field}/ffn_norm", f"{name}.final_layer_norm"),
        **_linear(f"{field}/ffn_first", "", f"{name}.fc1"),
        **_linear(f"{field}/ffn_second", "", f"{name}.fc2"),
    }
    if stack == "decoder":
        fields.update(norm(f"{field}/encdec_norm", f"{name}.encoder_attn_layer_norm"))
        fields.update(_linear(f"{field}/encdec_project", "_q", f"{name}.encoder_attn.q_proj"))
        fields.update(
            _linear(f"{field}/encdec_project", "_output", f"{name}.encoder_attn.out_proj")
        )
    return fields


def _linear(field: str, suffix: str, name: str) -> dict[str, Rule]:
    return {
        f"{field}_kernel{suffix}": Transposed(f"{name}.weight"),
        f"{field}_bias{suffix}": Same(f"{name}.bias"),
    }
