"""Where what operations read on the host is best computed."""

from __future__ import annotations

from contextlib import AbstractContextManager

import tensorflow as tf


def on_host() -> AbstractContextManager:
    """Puts what is computed inside on the CPU.

    Operations on a GPU read ids, layouts, seeds and hyperparameters in host memory, where they
    check them. If the GPU made these, a step would have to wait for it.
    """
    return tf.device("/CPU:0")
