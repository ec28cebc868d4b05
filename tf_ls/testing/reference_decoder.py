"""The reference of a decoder, as a model of `reference_search`: in NumPy and float64.

It knows no cache: for each prefix all positions are made again.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from tf_ls.ops.decoder import Decoder
from tf_ls.testing import reference
from tf_ls.testing.reference_search import Array, Model, Tokens


def decoder_model(decoder: Decoder, memory: Optional[Array], start: int) -> Model:
    """Returns the model that a decoder is on one sentence; what it computed once, it remembers.

    Args:
        decoder: whose weights are NumPy arrays.
        memory: [S, M], without padding; None for a decoder without cross-attention.
        start: the token in front of each prefix.
    """
    known: dict[Tokens, tuple[Array, Array]] = {}

    def step(prefix: Tokens) -> tuple[Array, Array]:
        if prefix not in known:
            known[prefix] = _last_position(decoder, memory, [start, *prefix])
        return known[prefix]

    def model(prefixes):
        logits, attention = zip(*map(step, prefixes))
        return (np.stack(logits), np.stack(attention)) if memory is not None else np.stack(logits)

    return model


def _last_position(decoder: Decoder, memory: Optional[Array], ids: list[int]):
    """Returns the logits [V] behind ids and the mean attention [S] with which they were made."""
    positions = decoder.positions
    if isinstance(positions, str):
        positions = reference.timing_signal(0, len(ids), decoder.table.shape[1])
    x = reference.embedding(np.array(ids), decoder.table, decoder.scale, positions)
    if decoder.embedding_norm is not None:
        x = reference.layer_norm(x, *decoder.embedding_norm, decoder.epsilon)
    structure = (decoder.num_heads, decoder.pre_norm, decoder.activation, decoder.epsilon)
    attention = None
    for weights in decoder.layers:
        if memory is not None and weights is decoder.layers[-1]:
            attention = _cross_attention(decoder, x, memory, weights)
        x = reference.decoder_layer(x, memory, weights, *structure)
    if decoder.norm is not None:
        x = reference.layer_norm(x, *decoder.norm, decoder.epsilon)
    output = decoder.table if decoder.output_weights is None else decoder.output_weights
    return reference.output_projection(x[-1:], output, decoder.output_bias)[0], attention


def _cross_attention(decoder: Decoder, x: Array, memory: Array, weights) -> Array:
    """Returns what a layer's last position attends to [S], averaged over the heads."""
    heads, hidden = decoder.num_heads, x.shape[1]
    y = reference.causal_self_attention(x, weights, heads, decoder.pre_norm, decoder.epsilon)[-1]
    weights = [np.asarray(w, np.float64) for w in weights[6:14]]
    if decoder.pre_norm:
        y = reference.layer_norm(y, *weights[:2], decoder.epsilon)
    query = (y @ weights[2] + weights[3]).reshape(heads, hidden // heads)
    keys = (memory @ weights[4] + weights[5])[:, :hidden].reshape(
        len(memory), heads, hidden // heads
    )
    logits = np.einsum("hd,shd->hs", query, keys) / np.sqrt(hidden // heads)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).mean(axis=0)
