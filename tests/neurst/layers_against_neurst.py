"""The operations and Keras layers against NeurST's own layers: outputs, gradients, decoding steps.

test_against_neurst.py runs this file.
"""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls import ops
from tf_ls.layers import LSTransformerDecoderLayer, LSTransformerEncoderLayer
from tf_ls.layers.transformer_layer import CROSS_ATTENTION, FEED_FORWARD, SELF_ATTENTION
from tf_ls.neurst import compat

compat.mend_tensorflow()
from neurst.layers import layer_utils  # noqa: E402
from neurst.layers.transformer_layers import (  # noqa: E402
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)
from neurst.utils.compat import FLOAT_MIN  # noqa: E402

HIDDEN, FILTER, HEADS, MEMORY = 24, 40, 3, 20
LENGTHS, MEMORY_LENGTHS = [5, 2, 4], [6, 1, 3]
ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_approx", "gelu_nonapprox")


def random(*shape):
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


X, MEMORY_VALUES = random(3, 5, HIDDEN), random(3, 6, MEMORY)
PADDING = ~tf.sequence_mask(LENGTHS, 5)
MEMORY_PADDING = ~tf.sequence_mask(MEMORY_LENGTHS, 6)


def bias(padding):
    return tf.cast(padding, tf.float32) * FLOAT_MIN


def neurst_layer(layer_class, activation="relu", pre_norm=True, **more):
    return layer_class(
        HIDDEN,
        HEADS,
        FILTER,
        ffn_activation=activation,
        post_normalize=not pre_norm,
        name="layer",
        **more,
    )


def randomised_weights(layer, names):
    """Returns the layer's variables in the operations' order, after giving them random values."""
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape, scale=0.1))
    weights = []
    for name in names:
        (variable,) = (v for v in layer.trainable_variables if v.name.endswith(f"{name}:0"))
        weights.append(variable)
    assert len(weights) == len(layer.trainable_variables)
    return weights


def assert_close(actual, expected):
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error < 1e-5


def assert_same(function, expected_function, sources):
    """Compares two functions' outputs and their gradients with respect to the sources."""
    results = []
    for f in (function, expected_function):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            output = f()
        cotangent = random(*output.shape)
        results.append([output, *tape.gradient(output, sources, cotangent)])
    for actual, expected in zip(*results):
        assert_close(actual.numpy(), expected.numpy())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_encoder_layer(activation, pre_norm, training):
    layer = neurst_layer(TransformerEncoderLayer, activation, pre_norm)
    layer(X, bias(PADDING), is_training=False)
    weights = randomised_weights(layer, SELF_ATTENTION + FEED_FORWARD)

    def fused():
        rows = ops.encoder_layer(
            tf.reshape(X, [-1, HIDDEN]),
            ops.dense_layout(PADDING),
            weights,
            num_heads=HEADS,
            activation=activation,
            pre_norm=pre_norm,
            training=training,
        )
        return tf.reshape(rows, X.shape)

    def stock():
        return layer(X, bias(PADDING), is_training=training)

    assert_same(fused, stock, [X, *weights])


def test_packed_encoder_layer_at_real_tokens():
    layer = neurst_layer(TransformerEncoderLayer)
    layer(X, bias(PADDING), is_training=False)
    weights = randomised_weights(layer, SELF_ATTENTION + FEED_FORWARD)
    keras_layer = LSTransformerEncoderLayer(HIDDEN, FILTER, HEADS)
    keras_layer(X)
    keras_layer.set_weights([w.numpy() for w in weights])
    stock = tf.where(PADDING[..., None], 0.0, layer(X, bias(PADDING), is_training=False))
    assert_close(keras_layer(X, mask=~PADDING).numpy(), stock.numpy())


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("lag", [None, 1, 3])
@pytest.mark.parametrize("packed", [True, False], ids=["packed_memory", "dense_memory"])
def test_decoder_layer(activation, pre_norm, lag, packed):
    layer = neurst_layer(TransformerDecoderLayer, activation, pre_norm)
    memory_bias = bias(MEMORY_PADDING)
    if lag is not None:
        lagging = layer_utils.waitk_attention_bias(6, lag, query_length=5)
        memory_bias = tf.minimum(memory_bias[:, None], lagging[None])
    causal = layer_utils.lower_triangle_attention_bias(5)

    def stock():
        return layer(X, causal, None, memory=MEMORY_VALUES, memory_bias=memory_bias)

    stock()
    weights = randomised_weights(layer, SELF_ATTENTION + CROSS_ATTENTION + FEED_FORWARD)

    def fused():
        if packed:
            (layout,) = ops.pack_layouts([MEMORY_PADDING])
            memory = ops.pack(MEMORY_VALUES, layout)
        else:
            layout = ops.dense_layout(MEMORY_PADDING)
            memory = tf.reshape(MEMORY_VALUES, [-1, MEMORY])
        rows = ops.decoder_layer(
            tf.reshape(X, [-1, HIDDEN]),
            ops.dense_layout(tf.zeros([3, 5], tf.bool)),
            memory,
            layout,
            weights,
            num_heads=HEADS,
            activation=activation,
            pre_norm=pre_norm,
            memory_lag=lag,
            training=True,
        )
        return tf.reshape(rows, X.shape)

    assert_same(fused, stock, [X, MEMORY_VALUES, *weights])


def test_decoder_layer_without_memory():
    layer = neurst_layer(TransformerDecoderLayer, with_cross_attention=False)
    causal = layer_utils.lower_triangle_attention_bias(5)
    layer(X, causal, None)
    weights = randomised_weights(layer, SELF_ATTENTION + FEED_FORWARD)
    keras_layer = LSTransformerDecoderLayer(HIDDEN, FILTER, HEADS, has_cross_attn=False)
    keras_layer(X)
    keras_layer.set_weights([w.numpy() for w in weights])
    assert_close(keras_layer(X).numpy(), layer(X, causal, None).numpy())


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("lag", [None, 2])
def test_decoding_steps(pre_norm, lag):
    layer = neurst_layer(TransformerDecoderLayer, "gelu", pre_norm)
    layer(X, layer_utils.lower_triangle_attention_bias(5), None, memory=MEMORY_VALUES)
    weights = randomised_weights(layer, SELF_ATTENTION + CROSS_ATTENTION + FEED_FORWARD)
    cache = tf.nest.map_structure(
        lambda t: tf.tile(t[None], [3, 1, 1, 1]), layer.create_decoding_internal_cache()
    )
    cache.update(layer.memorize_memory(MEMORY_VALUES))
    keys, values = cache["self_attention"]["keys"], cache["self_attention"]["values"]
    for i in range(5):
        memory_bias = bias(MEMORY_PADDING)
        if lag is not None:
            lagging = layer_utils.waitk_attention_bias(6, lag + i)
            memory_bias = tf.minimum(memory_bias, lagging[None])
        expected = layer(
            X[:, i : i + 1],
            layer_utils.lower_triangle_attention_bias(1),
            cache,
            memory_bias=memory_bias,
            is_training=False,
        )
        output, keys, values = ops.decoder_layer_step(
            X[:, i : i + 1],
            keys,
            values,
            cache["memory"]["keys"],
            cache["memory"]["values"],
            tf.constant(MEMORY_LENGTHS),
            weights,
            num_heads=HEADS,
            pre_norm=pre_norm,
            activation="gelu",
            memory_lag=None if lag is None else lag + i,
        )
        assert_close(output.numpy(), expected.numpy())
        assert_close(keys.numpy(), cache["self_attention"]["keys"].numpy())
        assert_close(values.numpy(), cache["self_attention"]["values"].numpy())
