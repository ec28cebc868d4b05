"""Keras layers on the fused operations, for Keras 2 and Keras 3 (whatever tf.keras is)."""

from tf_ls.layers.config import PRESETS, DecoderLayerConfig, EncoderLayerConfig
from tf_ls.layers.decoder_layer import LSTransformerDecoderLayer
from tf_ls.layers.encoder_layer import LSTransformerEncoderLayer

__all__ = [
    "PRESETS",
    "DecoderLayerConfig",
    "EncoderLayerConfig",
    "LSTransformerDecoderLayer",
    "LSTransformerEncoderLayer",
]
