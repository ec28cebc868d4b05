"""A decoder layer on the next positions of sentences, for incremental decoding."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.layer_attributes import NO_LAG, check_layer, structure_attributes


def decoder_layer_step(
    x: tf.Tensor,
    cache_keys: tf.Tensor,
    cache_values: tf.Tensor,
    memory_keys: tf.Tensor | None,
    memory_values: tf.Tensor | None,
    memory_lengths: tf.Tensor | None,
    weights: Sequence[tf.Tensor],
    *,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: tf.Tensor | int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Continues sentences whose keys and values so far are cached.

    Args:
        x: [B, n, H], the next n positions; float32, float16 or bfloat16.
        cache_keys, cache_values: [B, P, heads, H / heads], of the P positions before; P may be 0.
        memory_keys, memory_values: [B, S, heads, H / heads], the memory as cross-attention projects
            it; None for a layer without cross-attention.
        memory_lengths: int32 [B], how many of the S may be attended to; None without a memory.
        weights: as for `decoder_layer`; the kv weights of cross-attention are not used.
        memory_lag: the first of the n positions attends to at most memory_lag rows of the memory,
            the next to one more, and so on. None: to all.
        num_heads, pre_norm, activation, epsilon: as for `decoder_layer`.

    Returns:
        The output [B, n, H], and keys and values [B, P + n, heads, H / heads]. All inputs have
        gradients, also through the cache; those of the unused kv weights are zero.

    Raises:
        tf.errors.InvalidArgumentError: if shapes do not fit each other.
        ValueError: likewise, where shapes are known when a graph is built; unknown activation.
    """
    if len({part is None for part in (memory_keys, memory_values, memory_lengths)}) > 1:
        raise ValueError(
            "memory_keys, memory_values and memory_lengths must be given together, or none of them"
        )
    memory = [] if memory_keys is None else [memory_keys, memory_values]
    return tuple(
        library.ops.ls_decoder_layer_step(
            x=x,
            cache_keys=cache_keys,
            cache_values=cache_values,
            memory=memory,
            memory_lengths=tf.zeros([0], tf.int32) if memory_lengths is None else memory_lengths,
            memory_lag=NO_LAG if memory_lag is None else memory_lag,
            weights=list(weights),
            num_heads=num_heads,
            pre_norm=pre_norm,
            activation=check_layer(weights, num_heads, activation),
            epsilon=epsilon,
        )
    )


@tf.RegisterGradient("LSDecoderLayerStep")
def _decoder_layer_step_gradient(
    op: tf.Operation, dy: tf.Tensor, dkeys: tf.Tensor, dvalues: tf.Tensor
):
    x, cache_keys, cache_values, *memory, memory_lengths, memory_lag = op.inputs[
        : 5 + op.get_attr("M")
    ]
    gradients = library.ops.ls_decoder_layer_step_grad(
        dy=dy,
        dkeys=dkeys,
        dvalues=dvalues,
        x=x,
        cache_keys=cache_keys,
        cache_values=cache_values,
        memory=memory,
        memory_lengths=memory_lengths,
        memory_lag=memory_lag,
        weights=op.inputs[5 + op.get_attr("M") :],
        **structure_attributes(op),
    )
    dcache = [gradients.dcache_keys, gradients.dcache_values]
    return [gradients.dx, *dcache, *gradients.dmemory, None, None, *gradients.dweights]
