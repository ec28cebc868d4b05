"""The optimizers that NeurST finds under its own names."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from neurst.utils.registry import REGISTRIED_CLS2ALIAS, REGISTRIES

from tf_ls.neurst.eligibility import report_stock
from tf_ls.optimizers import LSAdam
from tf_ls.optimizers.loss_scale import LossScaleOptimizer, LSLossScaleOptimizer

_KIND = "optimizer"


class Adam(LSAdam):
    """Stands for tf.keras.optimizers.legacy.Adam: its name, arguments and configuration.

    What LSAdam refuses it does as Adam does, and says so once in the log.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        name: str = "Adam",
        **kwargs: Any,
    ):
        if "weight_decay" in kwargs:
            raise TypeError("Adam has no weight_decay; the optimizer ls_adam has")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, name, **kwargs)

    def _refuse(self, reason: str) -> None:
        report_stock("Adam", reason)


def make_optimizer_handler(stock):
    """`handle_fp16_and_distributed_optimizer`, whose loss scaling LSAdam does itself."""

    @functools.wraps(stock)
    def handle(optimizer, *args: Any, **kwargs: Any):
        handled = stock(optimizer, *args, **kwargs)
        if type(handled) is LossScaleOptimizer and isinstance(optimizer, LSAdam):
            handled.__class__ = LSLossScaleOptimizer
        return handled

    return handle


def register() -> None:
    """Puts Adam in the place of Keras' own under all its aliases, and LSAdam beside it."""
    classes, aliases = REGISTRIES["tf"][_KIND], REGISTRIED_CLS2ALIAS["tf"][_KIND]
    stock = tf.keras.optimizers.legacy.Adam
    for name, registered in list(classes.items()):
        if registered is stock:
            classes[name] = Adam
    # register_optimizer would make "l_s_adam" of the class name, and ask for a base class that
    # depends on when it is called.
    names = {"LSAdam", "lsadam", "ls_adam"}
    classes.update(dict.fromkeys(names, LSAdam))
    aliases["LSAdam"] = names
