"""Which parts of NeurST can run fused, and why others cannot."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging
from neurst.layers.quantization.quant_layers import QuantLayer
from neurst.utils import compat

import tf_ls
from tf_ls.library import library
from tf_ls.ops.layer_attributes import ACTIVATIONS

_reported: set[str] = set()
_stock_reason: str | None = None


@contextlib.contextmanager
def stock_only(reason: str) -> Iterator[None]:
    """Everything runs as NeurST's own while this context lasts."""
    global _stock_reason
    before, _stock_reason = _stock_reason, reason
    try:
        yield
    finally:
        _stock_reason = before


def is_stock_only() -> bool:
    """Whether `stock_only` lasts."""
    return _stock_reason is not None


def why_not(stack: tf.keras.layers.Layer) -> str | None:
    """Why a TransformerEncoder or TransformerDecoder cannot run fused; None if it can."""
    if _stock_reason is not None:
        return _stock_reason
    if tf.config.list_logical_devices("GPU") and "GPU" not in library.device_types:
        return "this tf_ls was built without CUDA, and TensorFlow computes on a GPU"
    params = stack.get_config()
    if QuantLayer.enable_quant:
        return "quantization-aware training is enabled"
    if params["attention_type"] != "dot_product":
        return f"its attention is {params['attention_type']}"
    if params["ffn_activation"] not in ACTIVATIONS:
        return f"its activation is {params['ffn_activation']}"
    return None


def can_fuse(stack: tf.keras.layers.Layer) -> bool:
    """Whether a TransformerEncoder or TransformerDecoder can run fused; logs once why not."""
    reason = why_not(stack)
    if reason is None:
        _report(
            f"tf_ls {tf_ls.__version__}: Transformer encoders and decoders run fused, without"
            f" padding where the model tells it, in {compute_dtype().name};"
            " TF_LS_DISABLE=1 turns this off."
        )
    else:
        report_stock(type(stack).__name__, reason)
    return reason is None


def report_fused(what: str, how: str) -> None:
    """Logs, once, that something is fused."""
    _report(f"tf_ls: {what} runs fused, {how}.")


def report_stock(what: str, reason: str) -> None:
    """Logs, once, that something runs as NeurST's own."""
    _report(f"tf_ls: {what} runs as NeurST's own: {reason}.")


def _report(line: str) -> None:
    if line not in _reported:
        _reported.add(line)
        logging.info(line)


def compute_dtype() -> tf.DType:
    """What fused layers compute in: NeurST's dtype, or what TF_LS_COMPUTE_DTYPE says.

    Raises:
        ValueError: if TF_LS_COMPUTE_DTYPE is anything but "bfloat16".
    """
    wanted = os.environ.get("TF_LS_COMPUTE_DTYPE")
    if wanted and wanted != "bfloat16":
        raise ValueError(f"TF_LS_COMPUTE_DTYPE must be bfloat16 or unset, got {wanted!r}")
    return tf.as_dtype(wanted or compat.CUSTOM_GLOBAL_FLOATX)
