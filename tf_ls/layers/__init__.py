"""Keras layers on the fused operations, for Keras 2 and Keras 3 (whatever tf.keras is)."""

from tf_ls.layers.config import (
    PRESETS,
    CrossEntropyConfig,
    DecoderLayerConfig,
    EmbeddingLayerConfig,
    EncoderLayerConfig,
)
from tf_ls.layers.cross_entropy_layer import LSCrossEntropyLayer
from tf_ls.layers.decoder_layer import LSTransformerDecoderLayer
from tf_ls.layers.embedding_layer import LSTransformerEmbeddingLayer
from tf_ls.layers.encoder_layer import LSTransformerEncoderLayer
from tf_ls.layers.layer_norm import LSLayerNorm

__all__ = [
    "PRESETS",
    "CrossEntropyConfig",
    "DecoderLayerConfig",
    "EmbeddingLayerConfig",
    "EncoderLayerConfig",
    "LSCrossEntropyLayer",
    "LSLayerNorm",
    "LSTransformerDecoderLayer",
    "LSTransformerEmbeddingLayer",
    "LSTransformerEncoderLayer",
]
