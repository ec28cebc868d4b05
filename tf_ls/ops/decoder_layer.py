"""A Transformer decoder layer in one operation."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.dropout import seed_for
from tf_ls.ops.encoder_layer import encoder_layer
from tf_ls.ops.layer_attributes import (
    NO_LAG,
    check_layer,
    gradient_attributes,
)
from tf_ls.ops.packing import RowLayout


def decoder_layer(
    x: tf.Tensor,
    layout: RowLayout,
    memory: tf.Tensor | None,
    memory_layout: RowLayout | None,
    weights: Sequence[tf.Tensor],
    *,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    residual_dropout: float = 0.0,
    epsilon: float = 1e-6,
    memory_lag: tf.Tensor | int | None = None,
    training: bool = False,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Causal self-attention, attention over a memory, and feed-forward network.

    Args:
        x: [R, H], float32, float16 or bfloat16.
        layout: of R rows.
        memory: [S, M], the encoder's output, of x's dtype; None for a layer without
            cross-attention.
        memory_layout: of S rows and as many sentences as `layout`; None without a memory.
        weights: as for `encoder_layer`, with eight more between self-attention's and the
            feed-forward network's if there is a memory: ln gamma [H], ln beta [H], q kernel [H, H],
            q bias [H], kv kernel [M, 2H], kv bias [2H], output kernel [H, H], output bias [H] of
            cross-attention.
        memory_lag: row i of a sentence attends to at most memory_lag + i rows of the memory
            (wait-k: Ma et al., "STACL", 2019); None: to all. An int32 scalar.
        num_heads, pre_norm, activation, attention_dropout, activation_dropout, residual_dropout,
            epsilon, training, seed: as for `encoder_layer`.

    Returns:
        [R, H], of x's dtype.

    Raises:
        tf.errors.InvalidArgumentError: if shapes do not fit each other.
        ValueError: likewise, where shapes are known when a graph is built; unknown activation.
    """
    if (memory is None) != (memory_layout is None):
        raise ValueError("memory and memory_layout must be given together, or neither")
    if memory is None:
        if memory_lag is not None:
            raise ValueError("memory_lag needs a memory")
        return encoder_layer(
            x,
            layout,
            weights,
            num_heads=num_heads,
            pre_norm=pre_norm,
            activation=activation,
            attention_dropout=attention_dropout,
            activation_dropout=activation_dropout,
            residual_dropout=residual_dropout,
            epsilon=epsilon,
            causal=True,
            training=training,
            seed=seed,
        )
    rates = (attention_dropout, activation_dropout, residual_dropout) if training else (0.0,) * 3
    return library.ops.ls_decoder_layer(
        x=x,
        offsets=layout.offsets,
        lengths=layout.lengths,
        memory=memory,
        memory_offsets=memory_layout.offsets,
        memory_lengths=memory_layout.lengths,
        memory_lag=NO_LAG if memory_lag is None else memory_lag,
        seed=seed_for(seed, *rates),
        weights=list(weights),
        num_heads=num_heads,
        pre_norm=pre_norm,
        activation=check_layer(weights, num_heads, activation),
        epsilon=epsilon,
        attention_dropout=rates[0],
        activation_dropout=rates[1],
        residual_dropout=rates[2],
        save_reserve=training,
    ).y


@tf.RegisterGradient("LSDecoderLayer")
def _decoder_layer_gradient(op: tf.Operation, dy: tf.Tensor, _dreserve: tf.Tensor):
    x, offsets, lengths, memory, memory_offsets, memory_lengths, memory_lag, seed, *weights = (
        op.inputs
    )
    gradients = library.ops.ls_decoder_layer_grad(
        dy=dy,
        x=x,
        offsets=offsets,
        lengths=lengths,
        memory=memory,
        memory_offsets=memory_offsets,
        memory_lengths=memory_lengths,
        memory_lag=memory_lag,
        seed=seed,
        reserve=op.outputs[1],
        weights=weights,
        **gradient_attributes(op),
    )
    dx, dmemory = gradients.dx, gradients.dmemory
    return [dx, None, None, dmemory, None, None, None, None, *gradients.dweights]
