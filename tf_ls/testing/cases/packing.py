"""ops.pack_layouts, ops.dense_layout, ops.pack and ops.unpack."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.shapes import random_lengths


def _random_padding(rng: np.random.Generator, last: bool = False) -> np.ndarray:
    """Returns bool [B, L], padding anywhere unless it must come last."""
    lengths, length = random_lengths(rng)
    if last:
        return np.arange(length) >= np.asarray(lengths, int)[:, None]
    return rng.random([len(lengths), length]) < rng.random()


def _timed_padding(rng: np.random.Generator) -> np.ndarray:
    return np.arange(64) >= rng.integers(10, 65, 64)[:, None]


# Layouts -----------------------------------------------------------------------------------------


def layout_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    paddings = [_random_padding(rng) for _ in range(rng.integers(1, 4))]
    return {
        "paddings": [padding.astype(np.float32) for padding in paddings],
        "padding": _random_padding(rng, last=True).astype(np.float32),
    }


def layouts(paddings, padding):
    return {"packed": ops.pack_layouts(paddings), "dense": ops.dense_layout(padding)}


def exact_layouts(paddings, padding):
    return {
        "packed": [reference.row_layout(p, packed=True) for p in paddings],
        "dense": reference.row_layout(padding, packed=False),
    }


LAYOUT = Case(
    "layout",
    layout_inputs,
    layouts,
    reference=exact_layouts,
    gradients=False,
    kernels=("LSLayout",),
)


# Packing -----------------------------------------------------------------------------------------


def _layout(padding: np.ndarray) -> ops.RowLayout:
    return ops.RowLayout(*map(tf.constant, reference.row_layout(padding, packed=True)))


def pack_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    padding = _random_padding(rng)
    x = rng.normal(size=[*padding.shape, int(rng.integers(1, 150))])
    return {"x": x, "layout": _layout(padding)}


def timed_pack_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    padding = _timed_padding(rng)
    return {"x": rng.normal(size=[*padding.shape, 512]), "layout": _layout(padding)}


def pack_tf(x, layout):
    flat = tf.reshape(x, [-1, x.shape[-1]])
    if not flat.shape[0]:
        return tf.zeros([layout.indices.shape[0], x.shape[-1]], x.dtype) + 0.0 * tf.reduce_sum(x)
    rows = tf.gather(flat, tf.maximum(layout.indices, 0))
    return tf.where((layout.indices >= 0)[:, None], rows, tf.zeros([], x.dtype))


PACK = Case(
    "pack",
    pack_inputs,
    ops.pack,
    reference=pack_tf,
    stock=pack_tf,
    make_timing_inputs=timed_pack_inputs,
    kernels=("LSPack", "LSUnpack"),
    tolerances=dict.fromkeys(("float32", "bfloat16", "float16"), 0.0),  # nothing is rounded
)


def unpack_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    return _rows(rng, _random_padding(rng), int(rng.integers(1, 150)))


def timed_unpack_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    return _rows(rng, _timed_padding(rng), 512)


def _rows(rng, padding, hidden) -> Inputs:
    layout = _layout(padding)
    x = rng.normal(size=[*layout.indices.shape, hidden])
    return {"x": x, "layout": layout, "batch_and_length": np.array(padding.shape, np.int32)}


def unpack_tf(x, layout, batch_and_length):
    size = tf.reduce_prod(batch_and_length)
    used = layout.offsets[-1]
    flat = tf.scatter_nd(layout.indices[:used, None], x[:used], tf.stack([size, x.shape[1]]))
    return tf.reshape(flat, tf.concat([batch_and_length, x.shape[1:]], axis=0))


UNPACK = Case(
    "unpack",
    unpack_inputs,
    ops.unpack,
    reference=unpack_tf,
    stock=unpack_tf,
    make_timing_inputs=timed_unpack_inputs,
    kernels=("LSPack", "LSUnpack"),
    tolerances=dict.fromkeys(("float32", "bfloat16", "float16"), 0.0),
)

CASES = (LAYOUT, PACK, UNPACK)
