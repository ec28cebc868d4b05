"""The reference of the fused operations, by two independent routes.

The forward pass is plain NumPy in float64, sentence by sentence, so that it knows no padding, no
masks and no layouts. Gradients come from the same mathematics in stock TensorFlow operations,
padded and masked, differentiated by tf.GradientTape (`*_tf`); of float64 tensors these are a
reference too, and of others what a model computes without tf_ls.
tests/testing/test_reference.py holds the two against each other.

Weights are lists in the operations' order; see `encoder_weights` and `decoder_weights`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    rng: np.random.Generator, hidden: int, filter_size: int, memory: int | None = None
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


def keep_away_from_kink(weights: Weights) -> None:
    """Changes a layer's weights so that few of relu's arguments are near 0.

    There a rounding error of half precision turns a gradient on or off, in any implementation, and
    among the hundred thousands of a large layer's one of float32 does.
    """
    weights[-3][:] += np.where(np.arange(weights[-3].size) % 2, 4.0, -4.0)


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
    if activation in ("silu", "swish"):
        return x / (1.0 + np.exp(-x))
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
    """As float64; what multiplies in its own way (a subclass of np.ndarray) stays what it is."""
    return [np.asanyarray(a, np.float64) for a in arrays]


def encoder_layer(
    x: Array,
    weights: Weights,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    causal: bool = False,
    keys: int | None = None,
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


def causal_self_attention(
    x: Array,
    weights: Weights,
    num_heads: int,
    pre_norm: bool = True,
    epsilon: float = 1e-6,
    keys: int | None = None,
) -> Array:
    """Returns what comes behind the self-attention of a decoder layer with such weights."""
    x, *weights = _float64([x, *weights[:6]])
    visible = np.minimum(np.arange(len(x)) + 1, len(x) if keys is None else keys)
    attend = _self_attention(weights[2:], num_heads, visible)
    return _block(x, *weights[:2], attend, pre_norm, epsilon)


def decoder_layer(
    x: Array,
    memory: Array | None,
    weights: Weights,
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: int | None = None,
    keys: int | None = None,
    memory_keys: int | None = None,
) -> Array:
    """Returns the layer's output [L, H] for one sentence x [L, H] and its memory [S, M] or None.

    `memory_lag`: wait-k, position i sees the first i + memory_lag positions of the memory.
    `keys` and `memory_keys`: how many positions may be attended to, as in encoder_layer.
    """
    x = causal_self_attention(x, weights, num_heads, pre_norm, epsilon, keys)
    weights = _float64(weights[6:])
    if memory is not None:
        memory = np.asarray(memory, np.float64)
        visible = np.full(len(x), len(memory) if memory_keys is None else memory_keys)
        if memory_lag is not None:
            visible = np.minimum(visible, np.arange(len(x)) + memory_lag)
        attend = _cross_attention(weights[2:8], memory, num_heads, visible)
        x = _block(x, *weights[:2], attend, pre_norm, epsilon)
        weights = weights[8:]
    return _block(x, *weights[:2], _ffn(weights[2:], activation), pre_norm, epsilon)


def decoder_layer_step(
    x: Array,
    cache_keys: Array,
    cache_values: Array,
    memory_keys: Array | None,
    memory_values: Array | None,
    weights: Weights,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: int | None = None,
) -> tuple[Array, Array, Array]:
    """Returns output [n, H] and new caches [P + n, heads, H / heads] of one sentence's x [n, H].

    The caches are [P, heads, H / heads], the projected memory [S, heads, H / heads] or None.
    """
    cache = _float64([cache_keys, cache_values])
    x, *weights = _float64([x, *weights])
    (n, hidden), heads = x.shape, cache[0].shape[1]
    before = np.arange(n) + len(cache[0])

    def attend(y):
        queries, *new = np.split(y @ weights[2] + weights[3], 3, axis=-1)
        for i in range(2):
            cache[i] = np.concatenate([cache[i], new[i].reshape(n, heads, hidden // heads)])
        keys, values = (part.reshape(len(part), hidden) for part in cache)
        return attention(queries, keys, values, heads, before + 1) @ weights[4] + weights[5]

    def attend_to_memory(y):
        memory = _float64([memory_keys, memory_values])
        keys, values = (part.reshape(len(part), hidden) for part in memory)
        visible = np.full(n, len(keys))
        if memory_lag is not None:
            visible = np.minimum(visible, np.arange(n) + memory_lag)
        queries = y @ weights[8] + weights[9]
        return attention(queries, keys, values, heads, visible) @ weights[12] + weights[13]

    x = _block(x, *weights[:2], attend, pre_norm, epsilon)
    if memory_keys is not None:
        x = _block(x, *weights[6:8], attend_to_memory, pre_norm, epsilon)
    ffn = weights[-6:]
    x = _block(x, *ffn[:2], _ffn(ffn[2:], activation), pre_norm, epsilon)
    return (x, *cache)


def timing_signal(start: int, length: int, hidden: int) -> Array:
    """Returns the sines and cosines [length, H] of positions from `start` on."""
    waves = hidden // 2
    frequencies = 1e4 ** (-np.arange(waves) / max(waves - 1, 1))
    angles = np.arange(start, start + length)[:, None] * frequencies
    signal = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.pad(signal, [(0, 0), (0, hidden % 2)])


def embedding(
    ids: Array, table: Array, scale: float = 1.0, positions: Array | None = None
) -> Array:
    """Returns the tokens [L, H] of one sentence's ids [L]; positions are [L or more, H]."""
    embedded = np.asarray(table, np.float64)[ids] * scale
    return embedded if positions is None else embedded + np.asarray(positions)[: len(ids)]


def output_projection(x: Array, weights: Array, bias: Array | None) -> Array:
    """Returns the logits [L, V] of x [L, H] and the embedding table [V, H]."""
    x, weights = _float64([x, weights])
    return x @ weights.T + (0.0 if bias is None else np.asarray(bias, np.float64))


# The same in TensorFlow, padded and masked, in the dtype of x; for gradients, and for timing ------


def layer_norm_tf(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-6):
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x  # statistics, as Keras has them
    gamma, beta = _cast([gamma, beta], wide.dtype)
    mean, variance = tf.nn.moments(wide, axes=-1, keepdims=True)
    normalized = (wide - mean) * tf.math.rsqrt(variance + epsilon) * gamma + beta
    return tf.cast(normalized, x.dtype)


def _cast(tensors, dtype):
    return [tf.cast(t, dtype) for t in tensors]


def _dense_tf(x, kernel, bias):
    return tf.tensordot(x, kernel, 1) + bias  # one product, where x @ kernel makes one a sentence


def _activate_tf(x, activation):
    if activation in ("relu", "tanh", "silu", "swish"):
        return getattr(tf.nn, activation)(x)
    if activation == "gelu_nonapprox":
        return 0.5 * x * (1.0 + tf.math.erf(x * 0.5**0.5))
    return 0.5 * x * (1.0 + tf.tanh((2.0 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))


def _attention_tf(queries, keys, values, heads, visible):
    """visible: bool [B or 1, Lq or 1, Lk]; a query that sees nothing gets zeros."""

    def split(t):
        return tf.transpose(tf.reshape(t, [*t.shape[:2], heads, t.shape[2] // heads]), [0, 2, 1, 3])

    depth = queries.shape[-1] // heads
    logits = tf.matmul(split(queries) * depth**-0.5, split(keys), transpose_b=True)
    visible = visible[:, None]
    weights = tf.nn.softmax(tf.where(visible, logits, logits.dtype.min))
    weights = weights * tf.cast(visible, logits.dtype)
    out = tf.transpose(tf.matmul(weights, split(values)), [0, 2, 1, 3])
    return tf.reshape(out, queries.shape)


def _block_tf(x, gamma, beta, function, pre_norm, epsilon):
    if pre_norm:
        return x + function(layer_norm_tf(x, gamma, beta, epsilon))
    return layer_norm_tf(x + function(x), gamma, beta, epsilon)


def _self_attention_tf(weights, heads, visible):
    def function(x):
        queries, keys, values = tf.split(_dense_tf(x, *weights[:2]), 3, axis=-1)
        return _dense_tf(_attention_tf(queries, keys, values, heads, visible), *weights[2:])

    return function


def _ffn_tf(weights, activation):
    return lambda x: _dense_tf(_activate_tf(_dense_tf(x, *weights[:2]), activation), *weights[2:])


def _visible(queries: int, lengths, keys: int, lag: int | tf.Tensor | None = None) -> tf.Tensor:
    """Returns bool [B, queries or 1, keys]: key j below the sentence's length and below i + lag."""
    seen = tf.sequence_mask(tf.cast(lengths, tf.int32), keys)[:, None]
    if lag is not None:
        seen = seen & (tf.range(keys) < tf.range(queries)[:, None] + lag)
    return seen


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
    """Returns [B, L, H] from x [B, L, H]; padded rows are computed, their keys masked."""
    weights = _cast(weights, x.dtype)
    visible = _visible(x.shape[1], lengths, x.shape[1], 1 if causal else None)
    attend = _self_attention_tf(weights[2:6], num_heads, visible)
    x = _block_tf(x, *weights[:2], attend, pre_norm, epsilon)
    return _block_tf(x, *weights[6:8], _ffn_tf(weights[8:], activation), pre_norm, epsilon)


def decoder_layer_tf(
    x: tf.Tensor,
    lengths: Sequence[int],
    memory: tf.Tensor | None,
    memory_lengths: Sequence[int] | None,
    weights: Sequence[tf.Tensor],
    num_heads: int,
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: int | None = None,
) -> tf.Tensor:
    """Returns [B, L, H] from x [B, L, H] and memory [B, S, M] or None."""
    weights = _cast(weights, x.dtype)
    attend = _self_attention_tf(
        weights[2:6], num_heads, _visible(x.shape[1], lengths, x.shape[1], 1)
    )
    x = _block_tf(x, *weights[:2], attend, pre_norm, epsilon)
    weights = weights[6:]
    if memory is not None:
        visible = _visible(x.shape[1], memory_lengths, memory.shape[1], memory_lag)

        def attend_to_memory(y, weights=weights[2:8]):
            keys, values = tf.split(_dense_tf(memory, *weights[2:4]), 2, axis=-1)
            queries = _dense_tf(y, *weights[:2])
            out = _attention_tf(queries, keys, values, num_heads, visible)
            return _dense_tf(out, *weights[4:])

        x = _block_tf(x, *weights[:2], attend_to_memory, pre_norm, epsilon)
        weights = weights[8:]
    return _block_tf(x, *weights[:2], _ffn_tf(weights[2:], activation), pre_norm, epsilon)


def decoder_layer_step_tf(
    x: tf.Tensor,
    cache_keys: tf.Tensor,
    cache_values: tf.Tensor,
    memory_keys: tf.Tensor | None,
    memory_values: tf.Tensor | None,
    memory_lengths: tf.Tensor | None,
    weights: Sequence[tf.Tensor],
    pre_norm: bool = True,
    activation: str = "relu",
    epsilon: float = 1e-6,
    memory_lag: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns [B, n, H] and new caches from x [B, n, H], caches and memory [B, ., heads, depth]."""
    weights, cache = _cast(weights, x.dtype), [cache_keys, cache_values]
    batch, n, _ = x.shape
    before, heads, depth = cache_keys.shape[1:]

    def merge(t):
        return tf.reshape(t, [batch, t.shape[1], heads * depth])

    def attend(y):
        queries, *new = tf.split(_dense_tf(y, *weights[2:4]), 3, axis=-1)
        for i in range(2):
            cache[i] = tf.concat([cache[i], tf.reshape(new[i], [batch, n, heads, depth])], axis=1)
        visible = _visible(n, [before + n] * batch, before + n, before + 1)
        out = _attention_tf(queries, *map(merge, cache), heads, visible)
        return _dense_tf(out, *weights[4:6])

    def attend_to_memory(y):
        visible = _visible(n, memory_lengths, memory_keys.shape[1], memory_lag)
        queries = _dense_tf(y, *weights[8:10])
        out = _attention_tf(queries, merge(memory_keys), merge(memory_values), heads, visible)
        return _dense_tf(out, *weights[12:14])

    x = _block_tf(x, *weights[:2], attend, pre_norm, epsilon)
    if memory_keys is not None:
        x = _block_tf(x, *weights[6:8], attend_to_memory, pre_norm, epsilon)
    ffn = weights[-6:]
    x = _block_tf(x, *ffn[:2], _ffn_tf(ffn[2:], activation), pre_norm, epsilon)
    return (x, *cache)


def embedding_tf(
    ids: tf.Tensor, table: tf.Tensor, scale: float = 1.0, positions: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns [B, L, H] from ids [B, L] and table [V, H]; positions are [L or more, H]."""
    embedded = tf.gather(table, ids) * scale
    return embedded if positions is None else embedded + positions[: ids.shape[1]]


def output_projection_tf(x: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Returns [B, L, V] from x [B, L, H] and the embedding table [V, H]."""
    logits = tf.tensordot(x, tf.cast(weights, x.dtype), [[-1], [1]])
    return logits if bias is None else logits + tf.cast(bias, x.dtype)


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
    """The same from tensors, in the dtype of the logits."""
    size = logits.shape[-1]
    label_weights = tf.cast(label_weights, logits.dtype)
    log_softmax = tf.nn.log_softmax(logits)
    one_hot = tf.one_hot(labels, size, dtype=logits.dtype)
    other = label_smoothing / max(size - 1, 1)
    target = one_hot * (1.0 - label_smoothing) + (1.0 - one_hot) * other
    entropy = -tf.reduce_sum(tf.math.xlogy(target, target), -1)
    losses = label_weights * (-tf.reduce_sum(target * log_softmax, -1) - entropy)
    return losses, -label_weights * tf.reduce_sum(one_hot * log_softmax, -1)


# Layouts and the optimizer -----------------------------------------------------------------------


def row_layout(padding: Array, packed: bool) -> tuple[Array, Array, Array]:
    """Returns offsets [B + 1], lengths [B] and indices [R] of rows from padding [B, L]."""
    real = ~np.asarray(padding, bool)
    lengths = real.sum(1)
    if packed:
        indices = np.flatnonzero(real)
        indices = np.pad(indices, (0, -len(indices) % 64), constant_values=-1)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
    else:
        indices = np.arange(real.size)
        offsets = np.arange(len(real) + 1) * real.shape[1]
    return offsets.astype(np.int32), lengths.astype(np.int32), indices.astype(np.int32)


def adam(
    variable: Array,
    m: Array,
    v: Array,
    gradient: Array,
    *,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    step: int,
    epsilon: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Returns the variable and its moments after a step, which counts from 1."""
    variable, m, v, gradient = _float64([variable, m, v, gradient])
    m = beta_1 * m + (1 - beta_1) * gradient
    v = beta_2 * v + (1 - beta_2) * gradient**2
    rate = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    decayed = variable * (1 - learning_rate * weight_decay)
    return decayed - rate * m / (np.sqrt(v) + epsilon), m, v
