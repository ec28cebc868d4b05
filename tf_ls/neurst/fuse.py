"""Puts the fused layers into NeurST's classes.

The classes, their variables and their checkpoints stay NeurST's own; only what they compute with
is replaced.
"""

from __future__ import annotations

from absl import logging

import tf_ls

_MARK = "_tf_ls_stock"


def install() -> None:
    """Replaces the methods, once, and logs one line that says so."""
    from neurst.layers.decoders.transformer_decoder import TransformerDecoder
    from neurst.layers.encoders.transformer_encoder import TransformerEncoder
    from neurst.models.encoder_decoder_model import EncoderDecoderModel

    from tf_ls.neurst import packed_model, stacks

    dtype = stacks.compute_dtype()
    if hasattr(TransformerEncoder.call, _MARK):
        return
    _replace(TransformerEncoder, "call", stacks.make_encoder_call)
    _replace(TransformerDecoder, "call", stacks.make_decoder_call)
    _replace(
        EncoderDecoderModel, "get_symbols_to_logits_fn", packed_model.make_get_symbols_to_logits_fn
    )
    computing = "" if dtype.name != "bfloat16" else ", computing in bfloat16"
    logging.info(
        "tf_ls %s: Transformer encoders and decoders, their padding and the projection onto the"
        " vocabulary run fused%s; TF_LS_DISABLE=1 turns this off.",
        tf_ls.__version__,
        computing,
    )


def _replace(cls: type, name: str, make) -> None:
    stock = getattr(cls, name)
    method = make(stock)
    method.__doc__ = stock.__doc__
    setattr(method, _MARK, stock)
    setattr(cls, name, method)
