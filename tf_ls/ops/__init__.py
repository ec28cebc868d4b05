"""The operations of tf_ls as Python functions, each with its gradient.

They work on rows of tokens: sentences one behind the other without padding between them (`pack`),
or with it (`dense_layout`). The Keras layers of `tf_ls.layers` are built on them.
"""

from tf_ls.ops.adam import AdamResult, adam
from tf_ls.ops.cross_entropy import CrossEntropy, cross_entropy, projected_cross_entropy
from tf_ls.ops.decoder import Decoder
from tf_ls.ops.decoder_layer import decoder_layer
from tf_ls.ops.decoder_layer_step import decoder_layer_step
from tf_ls.ops.dropout import dropout, random_seed
from tf_ls.ops.embedding import SINUSOIDS, embedding
from tf_ls.ops.encoder import Encoder
from tf_ls.ops.encoder_layer import encoder_layer
from tf_ls.ops.encoding import Encoded, encode
from tf_ls.ops.generation import Generated, generate
from tf_ls.ops.int8_weight import Int8Weight
from tf_ls.ops.layer_norm import layer_norm
from tf_ls.ops.output_projection import output_projection
from tf_ls.ops.packed_decoder import PackedDecoder
from tf_ls.ops.packed_encoder import PackedEncoder
from tf_ls.ops.packing import RowLayout, dense_layout, pack, pack_layouts, unpack
from tf_ls.ops.search_options import SearchOptions
from tf_ls.ops.sentencepiece import EncodedSentences, SentencePiece
from tf_ls.ops.token_stream import NewTokens, TokenStream

__all__ = [
    "SINUSOIDS",
    "AdamResult",
    "CrossEntropy",
    "Decoder",
    "Encoded",
    "EncodedSentences",
    "Encoder",
    "Generated",
    "Int8Weight",
    "NewTokens",
    "PackedDecoder",
    "PackedEncoder",
    "RowLayout",
    "SearchOptions",
    "SentencePiece",
    "TokenStream",
    "adam",
    "cross_entropy",
    "decoder_layer",
    "decoder_layer_step",
    "dense_layout",
    "dropout",
    "embedding",
    "encode",
    "encoder_layer",
    "generate",
    "layer_norm",
    "output_projection",
    "pack",
    "pack_layouts",
    "projected_cross_entropy",
    "random_seed",
    "unpack",
]
