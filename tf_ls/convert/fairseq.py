"""Fairseq's checkpoints of Transformers (checkpoint_best.pt): read, without Fairseq."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np

from tf_ls.convert import checkpoint, fairseq_layers
from tf_ls.convert.checkpoint import Checkpoint
from tf_ls.convert.error import ConversionError
from tf_ls.convert.option_values import count
from tf_ls.convert.weight_table import (
    Constant,
    Rule,
    Same,
    Scaled,
    Transposed,
    WeightTable,
    WithoutRows,
)
from tf_ls.files import Model
from tf_ls.files.lightseq_export import sinusoids

ENDING = ".pt"

# Of every dictionary of Fairseq's. Generation starts with EOS.
_PADDING, _EOS = 1, 2
# Positions of tokens count from here.
_FIRST_POSITION = _PADDING + 1
_POSITIONS = 1024
_EPSILON = 1e-5

ACTIVATIONS = {
    "relu": "relu",
    "tanh": "tanh",
    "swish": "silu",
    "gelu": "gelu_nonapprox",
    "gelu_accurate": "gelu",
    "gelu_fast": "gelu",
}

# Options that must be so, or not be there: others compute something else.
_FIXED = {
    "adaptive_input": False,
    "adaptive_softmax_cutoff": None,
    "char_inputs": False,
    "cross_self_attention": False,
    "no_cross_attention": False,
    "no_decoder_final_norm": False,
    "no_token_positional_embeddings": False,
    "encoder_layers_to_keep": None,
    "decoder_layers_to_keep": None,
}

# What both stacks must have the same of, for model files have it once.
_ONCE = ("normalize_before", "embed_dim", "attention_heads")

# How Fairseq's fairseq-generate searches, as `tf_ls.ops.SearchOptions`: its defaults.
_SEARCH = {
    "length_penalty": "exponent",
    "length_penalty_alpha": 1.0,
    "early_stopping": True,
    "min_length": 2,
    "forbidden_tokens": [_PADDING],
    "max_extra_length": None,
}
_BEAM_SIZE, _LONGEST = 5, 200

_OUTPUT = "decoder.output_projection.weight"
_SHARES_OUTPUT = ("share_decoder_input_output_embed", "share_all_embeddings")

# Older versions numbered the norms of a layer.
_NUMBERED_NORMS = {
    "encoder": ("self_attn_layer_norm", "final_layer_norm"),
    "decoder": ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
}


def read(path: Union[str, os.PathLike]) -> Model:
    """Returns the Transformer of a checkpoint; its numbers are in memory, in float32.

    Nothing of the file is executed: beside tensors and plain data it may have the options of a
    command line, an argparse.Namespace.

    Raises:
        FileNotFoundError: there is none.
        ImportError: PyTorch is not installed.
        ConversionError: it is no checkpoint of Fairseq's, or has an option or weights that a model
            file has no place for; the message names it.
    """
    state = checkpoint.load_pytorch(path, safe=[argparse.Namespace])
    try:
        options = _options(state)
        weights = _renamed(checkpoint.of_tensors(state["model"], path))
        model = _model(options, weights)
        model.check()
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    return model


def is_checkpoint(path: Path) -> bool:
    """Whether a file's name is that of one."""
    return path.is_file() and path.suffix == ENDING


class _Options:
    """The options of a model, by name."""

    def __init__(self, given: Mapping[str, Any]):
        self._given = given

    def get(self, name: str, default: Any) -> Any:
        value = self._given.get(name)
        return default if value is None else value

    def of_stack(self, stack: str, name: str) -> Any:
        """One that must be there: encoder_NAME or decoder_NAME."""
        value = self._given.get(f"{stack}_{name}")
        if value is None:
            raise ConversionError(f"the option {stack}_{name} is missing")
        return value

    def check(self) -> None:
        """Raises ConversionError if one is other than model files can have it."""
        for name, expected in _FIXED.items():
            if self.get(name, expected) != expected:
                raise ConversionError(f"{name}: expected {expected!r}, got {self._given[name]!r}")
        for name in _ONCE:
            encoder, decoder = (self.of_stack(stack, name) for stack in ("encoder", "decoder"))
            if encoder != decoder:
                raise ConversionError(
                    f"decoder_{name}: expected the encoder's, {encoder!r}, got {decoder!r}"
                )


def _options(state: Any) -> _Options:
    """The model's options: `cfg.model` of newer versions, `args` of older ones."""
    if not isinstance(state, Mapping) or not isinstance(state.get("model"), Mapping):
        raise ConversionError("expected a checkpoint of Fairseq's, with weights under 'model'")
    given = (state.get("cfg") or {}).get("model") or state.get("args")
    if isinstance(given, argparse.Namespace):
        given = vars(given)
    if not isinstance(given, Mapping):
        raise ConversionError("expected the options of the model under 'cfg' or 'args'")
    options = _Options(given)
    options.check()
    return options


def _renamed(weights: Checkpoint) -> Checkpoint:
    """The weights under the names that newer versions have given them."""
    readers = {}
    for name in weights:
        read = functools.partial(weights.__getitem__, name)
        numbered = re.fullmatch(r"(encoder|decoder)(\.layers\.\d+)\.layer_norms\.(\d)\.(\w+)", name)
        if numbered:
            stack, layer, norm, suffix = numbered.groups()
            readers[f"{stack}{layer}.{_NUMBERED_NORMS[stack][int(norm)]}.{suffix}"] = read
        elif name.endswith((".in_proj_weight", ".in_proj_bias")):
            attention, suffix = name.split(".in_proj_")
            for i, part in enumerate("qkv"):
                readers[f"{attention}.{part}_proj.{suffix}"] = functools.partial(_third, read, i)
        else:
            readers[name] = read
    return Checkpoint(readers)


def _third(read: Callable[[], np.ndarray], i: int) -> np.ndarray:
    """Queries', keys' or values' part of what projects onto all three."""
    return np.split(read(), 3)[i]


def _model(options: _Options, weights: Checkpoint) -> Model:
    pre_norm = bool(options.of_stack("encoder", "normalize_before"))
    activation = options.get("activation_fn", "relu")
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ConversionError(f"activation_fn: expected one of {known}, got {activation!r}")
    model = Model("transformer")
    _table(options, pre_norm, weights).read(weights, model)
    positions = model.shapes()["trg_embedding/position_embedding"][0]
    search = {**_SEARCH, "max_length": min(_LONGEST + 1, positions)}
    model.settings.update(
        head_num=options.of_stack("encoder", "attention_heads"),
        beam_size=_BEAM_SIZE,
        length_penalty=1.0,
        extra_decode_length=50,
        sampling_method="beam_search",
        src_padding_id=_PADDING,
        trg_start_id=_EOS,
        trg_end_id=_EOS,
        is_post_ln=not pre_norm,
        no_scale_embedding=bool(options.get("no_scale_embedding", False)),
        activation=ACTIVATIONS[activation],
        use_gelu="gelu" in activation,
        epsilon=_EPSILON,
        search_options=json.dumps(search),
    )
    return model


def _table(options: _Options, pre_norm: bool, weights: Checkpoint) -> WeightTable:
    layers = [
        count(f"{stack}_layers", options.of_stack(stack, "layers"))
        for stack in ("encoder", "decoder")
    ]
    words = weights.get("decoder.embed_tokens.weight", np.zeros([0, 0]))
    fields = {
        **fairseq_layers.layers("", *layers),
        **_embedding("encoder", options, pre_norm),
        **_embedding("decoder", options, pre_norm),
        "trg_embedding/shared_bias": Constant(
            np.zeros(len(words), np.float32), "Fairseq's output layer has no bias"
        ),
    }
    copies = {_OUTPUT: "decoder.embed_tokens.weight"}
    if not any(options.get(name, False) for name in _SHARES_OUTPUT):
        fields["trg_embedding/output_kernel"] = Transposed(_OUTPUT)
        copies = {"decoder.embed_out": _OUTPUT}  # older versions' name
    return WeightTable(
        fields,
        copies=copies,
        no_weights=[r"(en|de)coder\.version", r".*\.embed_positions\._float_tensor"],
    )


def _embedding(stack: str, options: _Options, pre_norm: bool) -> dict[str, Rule]:
    part = {"encoder": "src_embedding", "decoder": "trg_embedding"}[stack]
    name = f"{stack}.embed_tokens.weight"
    words = Same(name) if stack == "encoder" else Transposed(name)
    if not options.get("no_scale_embedding", False):
        words = Scaled(words, math.sqrt(options.of_stack(stack, "embed_dim")))
    fields = {
        f"{part}/token_embedding": words,
        f"{part}/position_embedding": _positions(stack, options),
    }
    if pre_norm:
        fields.update(fairseq_layers.norm(f"{part}/norm", f"{stack}.layer_norm"))
    if options.get("layernorm_embedding", False):
        behind_embedding = "embedding_norm" if pre_norm else "norm"
        fields.update(
            fairseq_layers.norm(f"{part}/{behind_embedding}", f"{stack}.layernorm_embedding")
        )
    return fields


def _positions(stack: str, options: _Options) -> Rule:
    if options.get(f"{stack}_learned_pos", False):
        return WithoutRows(f"{stack}.embed_positions.weight", _FIRST_POSITION)
    side = {"encoder": "source", "decoder": "target"}[stack]
    positions = options.get(f"max_{side}_positions", _POSITIONS)
    table = sinusoids(_FIRST_POSITION + positions, options.of_stack(stack, "embed_dim"))
    return Constant(table[_FIRST_POSITION:], "positions are Fairseq's sinusoids")
