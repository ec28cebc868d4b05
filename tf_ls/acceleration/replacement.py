"""accelerate(): fused operations in the layers of other libraries."""

from __future__ import annotations

import collections
import functools
import inspect
import types
from typing import Any, Callable, Optional, TypeVar

import tensorflow as tf
from absl import logging

from tf_ls.acceleration.adapter import Adapter
from tf_ls.acceleration.adapters import adapter_of
from tf_ls.library import library

Model = TypeVar("Model")

_MARK = "_tf_ls_accelerated"


def accelerate(model: Model, *, remove_padding: bool = True) -> Model:
    """Lets the Transformer layers of a Keras model compute with fused operations.

    The layers stay what they are, with their variables: names, checkpoints, optimizers and
    `save_pretrained` know nothing of it. Only what they call is replaced. Known are the encoders of
    BERT, CamemBERT, ELECTRA, LayoutLM, RoBERTa, TAPAS and XLM-RoBERTa and the blocks of GPT-2 of
    the library transformers, wherever they are in the model. A layer that operations cannot
    compute, or a call that asks for something else, such as attention weights, runs as it did; the
    log says so.

    Args:
        model: a Keras model or layer, of Keras 2 or 3, built or not.
        remove_padding: whether padding is taken out before the first layer, so that it costs
            nothing; outputs are zeros there. Else they are what they were, if padding comes last in
            each sentence.

    Returns:
        The model. Calling it twice changes nothing but remove_padding.

    Raises:
        ValueError: the model is no Keras model or layer.
        ImportError: the library of operations is not there.
    """
    library.load()
    fused: collections.Counter[str] = collections.Counter()
    stock: collections.Counter[str] = collections.Counter()
    for layer in _layers_of(model):
        adapter = adapter_of(layer)
        if adapter is None:
            continue
        name = type(layer).__name__
        if _is_accelerated(layer):
            del layer.call
        reason = _why_not_here() or _why_not_replaced(layer) or adapter.why_not(layer)
        if reason is None:
            layer.call = _make_call(layer, adapter, remove_padding)
            fused[name] += 1
        else:
            stock[f"{name} is as before, because {reason}"] += 1
    _report(model, fused, stock)
    return model


def restore(model: Model) -> Model:
    """Undoes `accelerate`: every layer computes as its library does.

    Args:
        model: a Keras model or layer, accelerated or not.

    Returns:
        The model.

    Raises:
        ValueError: the model is no Keras model or layer.
    """
    for layer in _layers_of(model):
        if _is_accelerated(layer):
            del layer.call
    return model


def _layers_of(model: Any) -> list[Any]:
    """All layers in a model, at any depth, itself included."""
    if not callable(getattr(model, "_flatten_layers", None)):
        raise ValueError(f"expected a Keras model or layer, got a {type(model).__name__}")
    return list(model._flatten_layers())


def _is_accelerated(layer: Any) -> bool:
    return hasattr(vars(layer).get("call"), _MARK)


def _why_not_here() -> Optional[str]:
    if tf.config.list_logical_devices("GPU") and "GPU" not in library.device_types:
        return "this tf_ls was built without CUDA, and TensorFlow computes on a GPU"
    return None


def _why_not_replaced(layer: Any) -> Optional[str]:
    return "its call was replaced" if "call" in vars(layer) else None


def _make_call(layer: Any, adapter: Adapter, remove_padding: bool) -> Callable[..., Any]:
    """A method of the layer: its call, fused where the arguments allow that."""
    stock_call = type(layer).call
    signature = inspect.signature(stock_call)

    @functools.wraps(stock_call)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        reason = adapter.why_not_with(self, bound.arguments)
        if reason is not None:
            _report_stock(type(self).__name__, reason)
            return stock_call(self, *args, **kwargs)
        return adapter.call(self, bound.arguments, remove_padding)

    setattr(call, _MARK, True)
    return types.MethodType(call, layer)


def _report(model: Any, fused: collections.Counter[str], stock: collections.Counter[str]) -> None:
    parts = [f"{count} {name} fused" for name, count in fused.items()]
    parts += [f"{count} {reason}" for reason, count in stock.items()]
    log = logging.info if fused and not stock else logging.warning
    log("tf_ls: %s: %s", model.name, "; ".join(parts) or "no layer that accelerate() knows")


@functools.cache
def _report_stock(name: str, reason: str) -> None:
    """Logs, once, that a call runs as before."""
    logging.warning("tf_ls: a call of %s runs as before, because %s", name, reason)
