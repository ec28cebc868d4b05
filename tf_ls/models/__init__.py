"""Keras models of the fused layers, for Keras 2 and Keras 3 (whatever tf.keras is)."""

from tf_ls.layers.config import TransformerConfig
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.models.scoring import Scores, score
from tf_ls.models.transformer import HiddenStates, LSTransformer

__all__ = [
    "EncoderDecoder",
    "HiddenStates",
    "LSTransformer",
    "Scores",
    "TransformerConfig",
    "score",
]
