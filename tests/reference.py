"""The reference of the fused operations, in float64, by two independent routes.

The forward pass is plain NumPy, sentence by sentence, so that it knows no padding, no masks and no
layouts. Gradients come from the same mathematics in padded float64 TensorFlow operations with
additive masks, as NeurST has it, differentiated by tf.GradientTape (`*_tf`). test_reference.py
holds the two against each other.

Weights are lists in the operations' order; see `encoder_weights` and `decoder_weights`.
"""

import math
from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

Array = np.ndarray
Weights = Sequence[Array]


# Weights -----------------------------------------------------------------------------------------


def self_attention_shapes(hidden: int) -> list[tuple[int, ...]]:
    return [(hidden,), (hidden,), (hidden, 3 * hidden), (3 * hidden,), (hidden, hidden), (hidden,)]


def cross_attention_shapes(hidden: int, memory: int) -> list[tuple[int, ...]]:
    query, out = [(hidden, hidden), (hidden,)], [(hidden, hidden), (hidden,)]
    return [(hidden,), (hidden,), *query, (memory, 2 * hidden), (2 * hidden,), *out]


def ffn_shapes(hidden: int, filter_size: int) -> list[tuple[int, ...]]:
    return [
        (hidden,),
        (hidden,),
        (hidden, filter_size),
        (filter_size,),
        (filter_size, hidden),
        (hidden,),
    ]


def encoder_weights(rng: np.random.Generator, hidden: int, filter_size: int) -> list[Array]:
    """Returns random float32 weights of an encoder layer."""
    return _random(rng, self_attention_shapes(hidden), ffn_shapes(hidden, filter_size))


def decoder_weights(
    rng: np.random.Generator, hidden: int, filter_size: int, memory: Optional[int] = None
) -> list[Array]:
    """Returns random float32 weights of a decoder layer; memory=None leaves cross-attention out."""
    cross = [] if memory is None else cross_attention_shapes(hidden, memory)
    return _random(rng, self_attention_shapes(hidden), cross, ffn_shapes(hidden, filter_size))


def _random(rng: np.random.Generator, *blocks: list[tuple[int, ...]]) -> list[Array]:
    weights = []
    for block in blocks:
        for i, shape in enumerate(block):
            if len(shape) == 2:
                weight = rng.normal(size=shape) / math.sqrt(shape[0])
            else:
                weight = 0.1 * rng.normal(size=shape) + (1.0 if i == 0 else 0.0)  # gamma about 1
            weights.append(weight.astype(np.float32))
    return weights


# Forward, NumPy ----------------------------------------------------------------------------------


def layer_norm(x: Array, gamma: Array, beta: Array, epsilon: float = 1e-6) -> Array:
    x = np.asarray(x, np.float64)
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * gamma + beta


def activate(x: Array, activation: str) -> Array:
    if activation == "relu":
        return np.maximum(x, 0.0)
    if activation == "tanh":
        return np.tanh(x)
    if activation in ("gelu", "gelu_approx"):
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    if activation == "gelu_nonapprox":
        return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2.0)))
    raise ValueError(activation)


def attention(queries: Array, keys: Array, values: Array, heads: int, visible: Array) -> Array:
    """Returns [Lq, H] from [Lq, H], [Lk, H], [Lk, H]; query i sees the first visible[i] keys."""
    depth = queries.shape[-1] // heads
    out = np.zeros_like(queries)
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        for i, seen in enumerate(visible):
            if seen == 0:
                continue
            logits = keys[:seen, part] @ queries[i, part] / math.sqrt(depth)
            weights = np.exp(logits - logits.max())
            out[i, part] = weights @ values[:seen, part] / weights.sum()
    return out


def _block(x, gamma, beta, function, pre_norm, epsilon):
    if pre_norm:
        return x + function(layer_norm(x, gamma, beta, epsilon))
    return layer_norm(x + function(x), gamma, beta, epsilon)


def _ffn(weights, activation):
    kernel1, bias1, kernel2, bias2 = weights
    return lambda x: activate(x @ kernel1 + bias1, activation) @ kernel2 + bias2


def _self_attention(weights, heads, visible):
    qkv_kernel, qkv_bias, out_kernel, out_bias = weights

    def function(x):
        queries, keys, values = np.split(x @ qkv_kernel + qkv_bias, 3, axis=-1)
        return attention(queries, keys, values, heads, visible) @ out_kernel + out_bias

    return function


def _cross_attention(weights, memory, heads, visible):
    q_kernel, q_bias, kv_kernel, kv_bias, out_kernel, out_bias = weights

    def function(x):
        keys, values = np.split(memory @ kv_kernel + kv_bias, 2, axis=-1)
        queries = x @ q_kernel + q_bias
        return attention(queries, keys, values, heads, visible) @ out_kernel + out_bias

    return function


def _float64(arrays):
    return [np.asarray(a, np.float64) for a in arrays]


def encoder_layer(
    x: Array,
    weights: Weights,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    causal: bool = False,
    keys: Optional[int] = None,
) -> Array:
    """Returns the layer's output [L, H] for one sentence x [L, H].

    `keys`: how many of the L positions may be attended to; all unless given. The rest are the
    padded rows of a dense layout, which are computed but never looked at.
    """
    x, *weights = _float64([x, *weights])
    keys = len(x) if keys is None else keys
    visible = np.minimum(np.arange(len(x)) + 1, keys) if causal else np.full(len(x), keys)
    attend = _self_attention(weights[2:6], num_heads, visible)
    x = _block(x, *weights[:2], attend, pre_norm, epsilon)
    return _block(x, *weights[6:8], _ffn(weights[8:], activation), pre_norm, epsilon)


def decoder_layer(
    x: Array,
    memory: Optional[Array],
    weights: Weights,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: Optional[int] = None,
    keys: Optional[int] = None,
    memory_keys: Optional[int] = None,
) -> Array:
    """Returns the layer's output [L, H] for one sentence x [L, H] and its memory [S, M] or None.

    `memory_lag`: wait-k, position i sees the first i + memory_lag positions of the memory.
    `keys` and `memory_keys`: how many positions may be attended to, as in encoder_layer.
    """
    x, *weights = _float64([x, *weights])
    visible = np.minimum(np.arange(len(x)) + 1, len(x) if keys is None else keys)
    attend = _self_attention(weights[2:6], num_heads, visible)
    x = _block(x, *weights[:2], attend, pre_norm, epsilon)
    weights = weights[6:]
    if memory is not None:
        memory = np.asarray(memory, np.float64)
        visible = np.full(len(x), len(memory) if memory_keys is None else memory_keys)
        if memory_lag is not None:
            visible = np.minimum(visible, np.arange(len(x)) + memory_lag)
        attend = _cross_attention(weights[2:8], memory, num_heads, visible)
        x = _block(x, *weights[:2], attend, pre_norm, epsilon)
        weights = weights[8:]
    return _block(x, *weights[:2], _ffn(weights[2:], activation), pre_norm, epsilon)


def timing_signal(start: int, length: int, hidden: int) -> Array:
    """Returns the sines and cosines [length, H] of positions from `start` on."""
    waves = hidden // 2
    frequencies = 1e4 ** (-np.arange(waves) / max(waves - 1, 1))
    angles = np.arange(start, start + length)[:, None] * frequencies
    signal = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.pad(signal, [(0, 0), (0, hidden % 2)])


def embedding(
    ids: Array, table: Array, scale: float = 1.0, positions: Optional[Array] = None
) -> Array:
    """Returns the tokens [L, H] of one sentence's ids [L]; positions are [L or more, H]."""
    embedded = np.asarray(table, np.float64)[ids] * scale
    return embedded if positions is None else embedded + np.asarray(positions)[: len(ids)]


def output_projection(x: Array, weights: Array, bias: Optional[Array]) -> Array:
    """Returns the logits [L, V] of x [L, H] and the embedding table [V, H]."""
    x, weights = _float64([x, weights])
    return x @ weights.T + (0.0 if bias is None else np.asarray(bias, np.float64))


# The same in float64 TensorFlow, padded and masked, for gradients --------------------------------


def layer_norm_tf(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-6):
    mean, variance = tf.nn.moments(x, axes=-1, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + epsilon) * gamma + beta


def _activate_tf(x, activation):
    if activation in ("relu", "tanh"):
        return getattr(tf.nn, activation)(x)
    if activation == "gelu_nonapprox":
        return 0.5 * x * (1.0 + tf.math.erf(x * 0.5**0.5))
    return 0.5 * x * (1.0 + tf.tanh((2.0 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))


def _attention_tf(queries, keys, values, heads, visible):
    """visible: bool [B, Lq, Lk]; a query that sees nothing gets zeros."""

    def split(t):
        return tf.transpose(tf.reshape(t, [*t.shape[:2], heads, t.shape[2] // heads]), [0, 2, 1, 3])

    depth = queries.shape[-1] // heads
    logits = tf.matmul(split(queries) * depth**-0.5, split(keys), transpose_b=True)
    mask = tf.cast(visible, tf.float64)[:, None]
    weights = tf.nn.softmax(logits + (1.0 - mask) * -1e9) * mask
    out = tf.transpose(tf.matmul(weights, split(values)), [0, 2, 1, 3])
    return tf.reshape(out, queries.shape)


def _block_tf(x, gamma, beta, function, pre_norm, epsilon):
    if pre_norm:
        return x + function(layer_norm_tf(x, gamma, beta, epsilon))
    return layer_norm_tf(x + function(x), gamma, beta, epsilon)


def _self_attention_tf(weights, heads, visible):
    def function(x):
        queries, keys, values = tf.split(x @ weights[0] + weights[1], 3, axis=-1)
        return _attention_tf(queries, keys, values, heads, visible) @ weights[2] + weights[3]

    return function


def _ffn_tf(weights, activation):
    return lambda x: _activate_tf(x @ weights[0] + weights[1], activation) @ weights[2] + weights[3]


def _visible(queries: int, lengths, keys: int, lag: Optional[int] = None) -> tf.Tensor:
    """Returns bool [B, queries, keys]: key j below the sentence's length and below i + lag."""
    seen = np.arange(keys) < np.asarray(lengths)[:, None, None]
    if lag is not None:
        seen = seen & (np.arange(keys) < np.arange(queries)[:, None] + lag)
    return tf.constant(np.broadcast_to(seen, [len(lengths), queries, keys]))


def encoder_layer_tf(
    x: tf.Tensor,
    lengths: Sequence[int],
    weights: Sequence[tf.Tensor],
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    causal: bool = False,
) -> tf.Tensor:
    """Returns [B, L, H] from float64 x [B, L, H]; padded rows are computed, their keys masked."""
    visible = _visible(x.shape[1], lengths, x.shape[1], 1 if causal else None)
    attend = _self_attention_tf(weights[2:6], num_heads, visible)
    x = _block_tf(x, *weights[:2], attend, pre_norm, epsilon)
    return _block_tf(x, *weights[6:8], _ffn_tf(weights[8:], activation), pre_norm, epsilon)


def decoder_layer_tf(
    x: tf.Tensor,
    lengths: Sequence[int],
    memory: Optional[tf.Tensor],
    memory_lengths: Optional[Sequence[int]],
    weights: Sequence[tf.Tensor],
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: Optional[int] = None,
) -> tf.Tensor:
    """Returns [B, L, H] from float64 x [B, L, H] and memory [B, S, M] or None."""
    attend = _self_attention_tf(
        weights[2:6], num_heads, _visible(x.shape[1], lengths, x.shape[1], 1)
    )
    x = _block_tf(x, *weights[:2], attend, pre_norm, epsilon)
    weights = weights[6:]
    if memory is not None:
        visible = _visible(x.shape[1], memory_lengths, memory.shape[1], memory_lag)

        def attend_to_memory(y, weights=weights[2:8]):
            keys, values = tf.split(memory @ weights[2] + weights[3], 2, axis=-1)
            queries = y @ weights[0] + weights[1]
            out = _attention_tf(queries, keys, values, num_heads, visible)
            return out @ weights[4] + weights[5]

        x = _block_tf(x, *weights[:2], attend_to_memory, pre_norm, epsilon)
        weights = weights[8:]
    return _block_tf(x, *weights[:2], _ffn_tf(weights[2:], activation), pre_norm, epsilon)


# Cross entropy -----------------------------------------------------------------------------------


def cross_entropy(
    logits: Array, labels: Array, label_weights: Array, label_smoothing: float
) -> tuple[Array, Array]:
    """Returns losses and negative log-likelihoods [...] from logits [..., V]."""
    losses, nlls = np.zeros(labels.shape), np.zeros(labels.shape)
    for position in np.argwhere(label_weights):
        at = tuple(position)
        row = np.asarray(logits[at], np.float64)
        log_softmax = row - row.max() - np.log(np.exp(row - row.max()).sum())
        target = np.full(row.size, label_smoothing / max(row.size - 1, 1))
        target[labels[at]] = 1.0 - label_smoothing
        entropy = -sum(t * math.log(t) for t in target if t > 0)
        losses[at] = label_weights[at] * (-(target * log_softmax).sum() - entropy)
        nlls[at] = -label_weights[at] * log_softmax[labels[at]]
    return losses, nlls


def cross_entropy_tf(
    logits: tf.Tensor, labels: Array, label_weights: Array, label_smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The same from float64 logits."""
    size = logits.shape[-1]
    log_softmax = tf.nn.log_softmax(logits)
    one_hot = tf.one_hot(labels, size, dtype=tf.float64)
    other = label_smoothing / max(size - 1, 1)
    target = one_hot * (1.0 - label_smoothing) + (1.0 - one_hot) * other
    entropy = -tf.reduce_sum(tf.math.xlogy(target, target), -1)
    losses = label_weights * (-tf.reduce_sum(target * log_softmax, -1) - entropy)
    return losses, -label_weights * tf.reduce_sum(one_hot * log_softmax, -1)


# Comparing ---------------------------------------------------------------------------------------

TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}


def relative_error(actual, expected) -> float:
    """Returns ||actual - expected|| / ||expected||, the norm itself where expected is zero."""
    actual, expected = (np.asarray(tf.cast(a, tf.float64)) for a in (actual, expected))
    assert actual.shape == expected.shape, f"{actual.shape} is not {expected.shape}"
    error, norm = np.linalg.norm(actual - expected), np.linalg.norm(expected)
    return float(error / norm) if norm > 0 else float(error)


def assert_close(actual, expected, dtype: str, what: str = "output") -> None:
    """Asserts that the relative error is within the dtype's tolerance (and so nothing is NaN)."""
    error = relative_error(actual, expected)
    assert error <= TOLERANCES[dtype], f"{what}: relative error {error:.2g} in {dtype}"
