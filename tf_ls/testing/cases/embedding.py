"""ops.embedding."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.shapes import random_lengths


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    vocabulary, hidden = (int(n) for n in rng.integers(1, 100, 2))
    lengths, length = random_lengths(rng)
    start = int(rng.integers(0, 50))
    positions = rng.choice(["", ops.SINUSOIDS, "learned"])
    token_types = 1
    if positions == "learned":
        token_types = int(rng.integers(1, 4))
        rows = token_types * (start + length + int(rng.integers(1, 4)))
        positions = rng.normal(size=[rows, hidden])
    tokens = _tokens(rng, lengths, length, vocabulary, packed=bool(rng.integers(2)))
    return {
        **tokens,
        "types": rng.integers(0, token_types, tokens["ids"].shape),
        "token_types": token_types,
        "table": rng.normal(size=[vocabulary, hidden]),
        "scale": float(rng.uniform(0.5, 20.0)),
        "positions": positions if isinstance(positions, np.ndarray) else str(positions) or None,
        "start": start,
        "sparse_gradient": bool(rng.integers(2)),
    }


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    lengths = rng.integers(5, 65, 64).tolist()
    return {
        **_tokens(rng, lengths, 64, 8000, packed=True),
        "types": None,
        "token_types": 1,
        "table": rng.normal(size=[8000, 512]),
        "scale": 512**0.5,
        "positions": ops.SINUSOIDS,
        "start": 0,
        "sparse_gradient": True,
    }


def _tokens(rng, lengths, length, vocabulary, packed) -> Inputs:
    ids = rng.integers(0, vocabulary, [len(lengths), length])
    real = np.arange(length) < np.asarray(lengths, int)[:, None]
    layout = ops.RowLayout(*map(tf.constant, reference.row_layout(~real, packed=True)))
    return {
        "ids": ids.astype(rng.choice([np.int32, np.int64])),
        "real": real if packed else np.ones_like(real),
        "layout": layout if packed else None,
    }


def operation(ids, real, layout, table, **options):
    output = ops.embedding(ids, table, indices=layout, **options)
    return (
        output if layout is None else ops.unpack(output, layout, tf.constant(ids.shape.as_list()))
    )


def _positional(ids, types, token_types, table, positions, start):
    """What is added to embeddings; it broadcasts to [B, L, H]."""
    if positions is None:
        return tf.zeros([], table.dtype)
    if isinstance(positions, str):
        signal = reference.timing_signal(start, ids.shape[1], table.shape[1])
        return tf.constant(signal, table.dtype)
    rows_of_type = positions.shape[0] // token_types
    places = tf.range(start, start + ids.shape[1], dtype=types.dtype)
    return tf.gather(positions, types * rows_of_type + places)


def exact(ids, real, layout, table, scale, sparse_gradient, **positional):
    output = np.zeros([*ids.shape, table.shape[1]])
    for b, sentence in enumerate(np.asarray(ids)):
        output[b] = reference.embedding(sentence, table, scale)
    output += _positional(ids, table=table, **positional)
    return np.where(np.asarray(real)[..., None], output, 0.0)


def stock(ids, real, layout, table, scale, sparse_gradient, **positional):
    embedded = reference.embedding_tf(ids, table, scale)
    output = embedded + _positional(ids, table=table, **positional)
    return tf.where(real[..., None], output, tf.zeros([], output.dtype))


CASE = Case(
    "embedding",
    make_inputs,
    operation,
    reference=exact,
    gradient_reference=stock,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    kernels=("LSEmbedding", "LSEmbeddingGrad", "LSPack", "LSUnpack"),
)
