"""The weights of a model: all of them, and the matrices by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.encoder_model import EncoderWithHeads
from tf_ls.export.language_model import DecoderOnly
from tf_ls.models.encoder_decoder import EncoderDecoder

ModelWeights = Union[EncoderDecoder, DecoderOnly, EncoderWithHeads]

_SELF_ATTENTION = {2: "self-attention qkv", 4: "self-attention output"}
_CROSS_ATTENTION = {8: "cross-attention q", 10: "cross-attention kv", 12: "cross-attention output"}
# By their places among a layer's weights, see `ops.encoder_layer` and `ops.decoder_layer`.
_LAYER = {**_SELF_ATTENTION, 8: "ffn dense1", 10: "ffn dense2"}
_CROSS_LAYER = {**_SELF_ATTENTION, **_CROSS_ATTENTION, 16: "ffn dense1", 18: "ffn dense2"}


class Matrix(NamedTuple):
    """A matrix that products or lookups read."""

    name: str
    weight: tf.Tensor
    outputs_are_rows: bool
    """Whether outputs are its rows (words), or its columns."""


def matrices_of(weights: ModelWeights) -> list[Matrix]:
    """Returns the matrices that our operations read, each once.

    Those that share a weight are one, under both names. Of a model that encodes, heads are not
    among them, nor the table of words if a head reads it.
    """
    found: dict[int, Matrix] = {}

    def add(name: str, weight: tf.Tensor, outputs_are_rows: bool) -> None:
        known = found.get(id(weight))
        name = name if known is None else f"{known.name}, {name}"
        found[id(weight)] = Matrix(name, weight, outputs_are_rows)

    def add_layers(stack: str, layers: Sequence[Sequence[tf.Tensor]], places: dict) -> None:
        for i, layer in enumerate(layers):
            for place, name in places.items():
                add(f"{stack} layer {i} {name}", layer[place], False)

    if isinstance(weights, EncoderWithHeads):
        if weights.word_head is None:
            add("embeddings", weights.encoder.table, True)
        add_layers("encoder", weights.encoder.layers, _LAYER)
        return list(found.values())
    decoder = weights.decoder
    if isinstance(weights, DecoderOnly):
        add("embeddings", decoder.table, True)
        add_layers("decoder", decoder.layers, _LAYER)
    else:
        add("source embeddings", weights.encoder.table, True)
        add_layers("encoder", weights.encoder.layers, _LAYER)
        add_layers("decoder", decoder.layers, _CROSS_LAYER)
        add("target embeddings", decoder.table, True)
    if decoder.output_weights is not None:
        add("output weights", decoder.output_weights, True)
    return list(found.values())


def map_weights(function: Callable[[Any], Any], part: Any) -> Any:
    """Returns weights of any structure, each replaced by what the function makes of it."""
    if isinstance(part, ops.Int8Weight) or tf.is_tensor(part):
        return function(part)
    if dataclasses.is_dataclass(part):
        fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
        return type(part)(**{k: map_weights(function, v) for k, v in fields.items()})
    if isinstance(part, (list, tuple)):
        return type(part)([map_weights(function, element) for element in part])
    return part


def replaced(part: Any, replacements: Mapping[int, Any]) -> Any:
    """Returns weights in which some, by their id(), are replaced; what is shared stays shared."""
    return map_weights(lambda weight: replacements.get(id(weight), weight), part)
