"""NeurST's symbol modalities on the embedding operation.

Only the modality classes that NeurST's own models are built of are known here; whatever else a
model embeds with (features of speech, a subclass) computes its embeddings itself.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from neurst.layers.common_layers import PositionEmbeddingWrapper
from neurst.layers.modalities.text_modalities import WordEmbeddingSharedWeights

from tf_ls import ops
from tf_ls.neurst import weights
from tf_ls.neurst.eligibility import compute_dtype


def make_bottom(stock_bottom):
    """`WordEmbeddingSharedWeights._bottom`, the lookup of embeddings.

    NeurST builds a model by calling it eagerly. A lookup in a variable, instead of its value, would
    have TensorFlow copy the whole table from then on, whenever a fused operation reads it.
    """

    def bottom(self, x):
        if tf.executing_eagerly():
            return tf.gather(tf.convert_to_tensor(self.quant_weight(self._shared_weights)), x)
        return stock_bottom(self, x)

    return bottom


def word_table(modality: Any) -> WordEmbeddingSharedWeights | None:
    """The layer that holds a modality's table, if it is one of NeurST's own and has its variables.

    NeurST's layers make them when they are first called.
    """
    words = modality.embedding_layer if type(modality) is PositionEmbeddingWrapper else modality
    if type(words) is WordEmbeddingSharedWeights and words.built and modality.built:
        return words
    return None


def scale_and_positions(modality: Any) -> tuple[float, tf.Variable | str | None]:
    """`scale` and `positions` of the operation, for a modality that has a `word_table`."""
    if type(modality) is not PositionEmbeddingWrapper or modality._timing is None:
        return 1.0, None
    sinusoids = modality._timing == "sinusoids"
    scale = modality.embedding_layer.embedding_dim**0.5 if sinusoids else 1.0
    if sinusoids and not modality._sinusoids_as_variable:
        return scale, ops.SINUSOIDS
    return scale, weights.raw(modality._position_emb_table)


def embed_rows(
    modality: Any, ids: tf.Tensor, layout: ops.RowLayout, dropout: float, start: Any = None
) -> tf.Tensor:
    """The embedded tokens of a layout, [R, H], in the dtype that fused layers compute in.

    Args:
        modality: one that has a `word_table`.
        ids: [B, L].
        layout: of R of them.
        dropout: the rate on the stack's input.
        start: the position of a sentence's first token; None is 0.
    """
    words = word_table(modality)
    scale, positions = scale_and_positions(modality)
    return ops.embedding(
        ids,
        weights.raw(words._shared_weights),
        indices=layout,
        scale=scale,
        positions=positions,
        start=0 if start is None else start,
        dropout=dropout,
        # A table that is also the output layer's has a dense gradient from there.
        sparse_gradient=not words._share_softmax_weights,
        dtype=compute_dtype(),
    )
