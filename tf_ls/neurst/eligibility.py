"""Which parts of NeurST can run fused, and why others cannot."""

from __future__ import annotations

import tensorflow as tf
from absl import logging
from neurst.layers.quantization.quant_layers import QuantLayer

from tf_ls.ops.layer_attributes import ACTIVATIONS

_reported: set[str] = set()


def can_fuse(stack: tf.keras.layers.Layer) -> bool:
    """Whether a TransformerEncoder or TransformerDecoder can run fused; logs once why not."""
    reason = _why_not(stack)
    if reason is not None:
        report_stock(type(stack).__name__, reason)
    return reason is None


def report_stock(what: str, reason: str) -> None:
    """Logs, once, that something runs as NeurST's own."""
    line = f"tf_ls: {what} runs as NeurST's own: {reason}."
    if line not in _reported:
        _reported.add(line)
        logging.info(line)


def _why_not(stack: tf.keras.layers.Layer) -> str | None:
    params = stack.get_config()
    if QuantLayer.enable_quant:
        return "quantization-aware training is enabled"
    if params["attention_type"] != "dot_product":
        return f"its attention is {params['attention_type']}"
    if params["ffn_activation"] not in ACTIVATIONS:
        return f"its activation is {params['ffn_activation']}"
    return None
