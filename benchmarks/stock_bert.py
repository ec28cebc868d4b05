"""BERT in stock TensorFlow, to be compiled by XLA; weights of a model file."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import files


class Bert(tf.Module):
    """From ids to hidden states [B, S, H] of the dtype.

    Args:
        model: a Bert.
        heads: of its attention.
        dtype: of weights and activations; norms and softmax are float32.
    """

    def __init__(self, model: files.Model, heads: int, dtype: tf.DType):
        super().__init__()
        self._heads, self._dtype = heads, dtype
        self._epsilon = model.setting("epsilon")
        self._layers = model.layers("encoder_stack")
        shapes = model.shapes()
        self._weights = {
            name: tf.Variable(tf.cast(_matrix(name, model.float32(name, shapes)), dtype))
            for name in shapes
        }

    def __call__(self, ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """ids, int64 [B, S], all of type 0; mask [B, S], 1 at tokens."""
        embedding = {
            name: self._weights[f"src_embedding/{name}_embedding"]
            for name in ("token", "position", "token_type")
        }
        x = tf.gather(embedding["token"], ids) + embedding["position"][: tf.shape(ids)[1]]
        x = self._norm(x + embedding["token_type"][0], "src_embedding/norm")
        penalty = (1.0 - tf.cast(mask, tf.float32))[:, tf.newaxis, tf.newaxis] * -1e9
        for i in range(self._layers):
            place = f"encoder_stack/{i}"
            x = self._norm(x + self._attention(x, penalty, place), f"{place}/multihead_norm")
            inner = self._dense(x, f"{place}/ffn_first_kernel", f"{place}/ffn_first_bias")
            inner = tf.nn.gelu(inner, approximate=False)
            outer = self._dense(inner, f"{place}/ffn_second_kernel", f"{place}/ffn_second_bias")
            x = self._norm(x + outer, f"{place}/ffn_norm")
        return x

    def _attention(self, x: tf.Tensor, penalty: tf.Tensor, place: str) -> tf.Tensor:
        name = f"{place}/multihead_project"
        projected = self._dense(x, f"{name}_kernel_qkv", f"{name}_bias_qkv")
        batch, length, size = tf.unstack(tf.shape(projected))
        parts = tf.reshape(projected, [batch, length, 3, self._heads, size // 3 // self._heads])
        q, k, v = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))
        scores = tf.cast(tf.matmul(q, k, transpose_b=True), tf.float32)
        scores = scores * q.shape[-1] ** -0.5 + penalty
        attended = tf.matmul(tf.cast(tf.nn.softmax(scores), self._dtype), v)
        attended = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [batch, length, size // 3])
        return self._dense(attended, f"{name}_kernel_output", f"{name}_bias_output")

    def _dense(self, x: tf.Tensor, kernel: str, bias: str) -> tf.Tensor:
        return tf.tensordot(x, self._weights[kernel], 1) + self._weights[bias]

    def _norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        gamma, beta = (tf.cast(self._weights[f"{name}_{p}"], tf.float32) for p in ("scale", "bias"))
        normalized = (x - mean) * tf.math.rsqrt(variance + self._epsilon)
        return tf.cast(normalized * gamma + beta, self._dtype)


def _matrix(name: str, array: np.ndarray) -> np.ndarray:
    """[H, 3, H] of a kernel as [H, 3H], [3, H] of a bias as [3H]."""
    if "qkv" not in name:
        return array
    return array.ravel() if "bias" in name else array.reshape(len(array), -1)
