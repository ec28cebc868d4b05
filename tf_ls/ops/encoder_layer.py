"""A Transformer encoder layer in one operation."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.dropout import seed_for
from tf_ls.ops.layer_attributes import check_layer, gradient_attributes
from tf_ls.ops.packing import RowLayout


def encoder_layer(
    x: tf.Tensor,
    layout: RowLayout,
    weights: Sequence[tf.Tensor],
    *,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    residual_dropout: float = 0.0,
    epsilon: float = 1e-6,
    causal: bool = False,
    training: bool = False,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Self-attention and feed-forward network with norms, dropout and residual connections.

    Vaswani et al., "Attention is all you need", 2017. Pre-norm: x + dropout(f(norm(x))); post-norm:
    norm(x + dropout(f(x))), for each of the two.

    Args:
        x: [R, H], float32, float16 or bfloat16. On the CPU float16 is computed in float32.
        layout: of R rows.
        weights: twelve tensors, float32 or of x's dtype, H = hidden size, F = filter size:
            ln gamma [H], ln beta [H], qkv kernel [H, 3H], qkv bias [3H], output kernel [H, H],
            output bias [H] of self-attention; ln gamma [H], ln beta [H], dense1 kernel [H, F],
            dense1 bias [F], dense2 kernel [F, H], dense2 bias [H] of the feed-forward network.
        num_heads: divides H.
        pre_norm: whether norms come before attention and feed-forward network, or after.
        activation: "relu", "tanh", "gelu" (the tanh form, also "gelu_approx"), "gelu_nonapprox" or
            "silu" (also "swish").
        attention_dropout, activation_dropout, residual_dropout: rates in [0, 1), for attention
            weights, behind the activation, and before each residual connection.
        epsilon: of the norms.
        causal: whether a row attends only to itself and rows before it.
        training: whether to apply dropout, and to keep what the gradient needs; without it the
            gradient is the same, but computes the layer once more.
        seed: int64 [2] for dropout; None draws one.

    Returns:
        [R, H], of x's dtype.

    Raises:
        tf.errors.InvalidArgumentError: if shapes do not fit each other.
        ValueError: likewise, where shapes are known when a graph is built; unknown activation.
    """
    rates = (attention_dropout, activation_dropout, residual_dropout) if training else (0.0,) * 3
    return library.ops.ls_encoder_layer(
        x=x,
        offsets=layout.offsets,
        lengths=layout.lengths,
        seed=seed_for(seed, *rates),
        weights=list(weights),
        num_heads=num_heads,
        pre_norm=pre_norm,
        activation=check_layer(weights, num_heads, activation),
        epsilon=epsilon,
        causal=causal,
        attention_dropout=rates[0],
        activation_dropout=rates[1],
        residual_dropout=rates[2],
        save_reserve=training,
    ).y


@tf.RegisterGradient("LSEncoderLayer")
def _encoder_layer_gradient(op: tf.Operation, dy: tf.Tensor, _dreserve: tf.Tensor):
    x, offsets, lengths, seed, *weights = op.inputs
    gradients = library.ops.ls_encoder_layer_grad(
        dy=dy,
        x=x,
        offsets=offsets,
        lengths=lengths,
        seed=seed,
        reserve=op.outputs[1],
        weights=weights,
        **gradient_attributes(op, "causal"),
    )
    return [gradients.dx, None, None, None, *gradients.dweights]
