"""The reference of an encoder: in NumPy and float64, one sentence at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from tf_ls.ops.encoder import Encoder
from tf_ls.testing import reference
from tf_ls.testing.reference_search import Array


def encode(
    encoder: Encoder,
    sentence: Sequence[int],
    places: Optional[Sequence[int]] = None,
    types: Optional[Sequence[int]] = None,
) -> Array:
    """Returns what a sentence's tokens become [S, H].

    Args:
        encoder: whose weights are NumPy arrays.
        sentence: its S tokens, without padding.
        places: their positions; 0 to S - 1 unless given.
        types: their types; 0 unless given.
    """
    places = np.arange(len(sentence)) if places is None else np.array(places, int)
    positions = encoder.positions
    if isinstance(positions, str):
        positions = reference.timing_signal(0, max(places, default=0) + 1, encoder.table.shape[1])
    if positions is not None:
        positions = np.reshape(positions, [encoder.token_types, -1, encoder.table.shape[1]])
        positions = positions[np.zeros_like(places) if types is None else types, places]
    x = reference.embedding(np.array(sentence, np.int64), encoder.table, encoder.scale, positions)
    if encoder.embedding_norm is not None:
        x = reference.layer_norm(x, *encoder.embedding_norm, encoder.epsilon)
    structure = (encoder.num_heads, encoder.pre_norm, encoder.activation, encoder.epsilon)
    for weights in encoder.layers:
        x = reference.encoder_layer(x, weights, *structure, causal=encoder.causal)
    return x if encoder.norm is None else reference.layer_norm(x, *encoder.norm, encoder.epsilon)
