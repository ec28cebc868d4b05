"""Tokens to rows: lookup, scale, position and dropout in one operation."""

from __future__ import annotations

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.dropout import seed_for
from tf_ls.ops.host import int64, on_host
from tf_ls.ops.packing import RowLayout

SINUSOIDS = "sinusoids"


def embedding(
    ids: tf.Tensor,
    table: tf.Tensor,
    *,
    indices: tf.Tensor | RowLayout | None = None,
    scale: float = 1.0,
    positions: tf.Tensor | str | None = None,
    types: tf.Tensor | None = None,
    token_types: int = 1,
    start: tf.Tensor | int = 0,
    dropout: float = 0.0,
    seed: tf.Tensor | None = None,
    sparse_gradient: bool = True,
    dtype: tf.DType | str | None = None,
) -> tf.Tensor:
    """dropout(table[id] * scale + position).

    Args:
        ids: [B, L], integers. Those that no index names may be anything.
        table: [V, H], float32, float16 or bfloat16.
        indices: which tokens to look up, by their places b * L + l, -1 for a row of zeros: int32
            [R], or the layout of R rows that has them. None: all tokens.
        scale: what the table's numbers are multiplied by.
        positions: "sinusoids" adds the timing signal of Vaswani et al., "Attention is all you
            need", 2017, sines in the first half of a row and cosines in the second, of any length;
            a tensor [P, H] of the table's dtype adds its row l to the token at [b, l], and has a
            gradient; None adds nothing.
        types: integers [B, L], the type of each token (BERT's segments), from 0 on; None: all are
            of type 0. Those that no index names may be anything.
        token_types: how many types there are. Where there are more than one, positions are a tensor
            [token_types * P, H]: a token of type t at [b, l] gets the row t * P + l.
        start: the position of the first token of a sentence; an integer, or a scalar of any integer
            dtype.
        dropout: the probability of a number to be dropped, in [0, 1).
        seed: int64 [2] for dropout; None draws one.
        sparse_gradient: whether the gradient of the table is tf.IndexedSlices with a row for each
            token, which optimizers may apply to these rows alone; else it is a tensor [V, H], which
            is better where the table has another dense gradient that is added to it.
        dtype: of the result, float32, float16 or bfloat16; None: the table's.

    Returns:
        [R, H], or without indices [B, L, H].

    Raises:
        tf.errors.InvalidArgumentError: if an id is not in the vocabulary, a sentence is longer than
            the table of positions, a type is not among token_types, token_types have no table of
            positions, or shapes do not fit each other.
        ValueError: likewise, where shapes are known when a graph is built; unknown positions; fewer
            than one token type.
        TypeError: ids, types or start that are no integers.
    """
    if isinstance(positions, str) and positions != SINUSOIDS:
        raise ValueError(f'positions must be "{SINUSOIDS}", a tensor or None, got "{positions}"')
    if isinstance(indices, RowLayout):
        indices = indices.indices
    sinusoids = isinstance(positions, str)
    with on_host():
        ids, start = int64(ids, "ids"), int64(start, "start")
        types = [] if types is None else [int64(types, "types")]
    return library.ops.ls_embedding(
        ids=ids,
        indices=[] if indices is None else [indices],
        types=types,
        table=table,
        positions=[] if positions is None or sinusoids else [positions],
        start=start,
        seed=seed_for(seed, dropout),
        scale=scale,
        token_types=check_token_types(token_types),
        sinusoids=sinusoids,
        dropout=dropout,
        sparse_gradient=sparse_gradient,
        T=tf.as_dtype(dtype or table.dtype),
    )


def check_token_types(token_types: int) -> int:
    """Returns how many types of tokens there are.

    Raises:
        ValueError: fewer than one.
    """
    if token_types < 1:
        raise ValueError(f"token_types must be at least 1, got {token_types}")
    return token_types


@tf.RegisterGradient("LSEmbedding")
def _embedding_gradient(op: tf.Operation, dy: tf.Tensor):
    ids, *rest, start, seed = op.inputs
    indices, rest = rest[: op.get_attr("N")], rest[op.get_attr("N") :]
    types, rest = rest[: op.get_attr("K")], rest[op.get_attr("K") :]
    table, *positions = rest
    sparse = op.get_attr("sparse_gradient")
    gradients = library.ops.ls_embedding_grad(
        dy=dy,
        ids=ids,
        indices=indices,
        types=types,
        table=table,
        positions=positions,
        start=start,
        seed=seed,
        scale=op.get_attr("scale"),
        token_types=op.get_attr("token_types"),
        dropout=op.get_attr("dropout"),
        sparse_gradient=sparse,
    )
    dtable = gradients.dtable
    if sparse:
        shape = tf.shape(table, out_type=tf.int64)
        dtable = tf.IndexedSlices(dtable, gradients.rows, dense_shape=shape)
    nones = [None] * (len(indices) + len(types))
    return [None, *nones, dtable, *gradients.dpositions, None, None]
