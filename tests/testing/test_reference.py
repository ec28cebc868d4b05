"""The two routes of the reference agree with each other."""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.testing import reference

LENGTHS, MEMORY_LENGTHS = [5, 1, 3], [2, 4, 1]
ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox", "silu")


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("causal", [True, False])
def test_encoder_layer(pre_norm, activation, causal):
    rng = np.random.default_rng(0)
    options = {"pre_norm": pre_norm, "activation": activation, "causal": causal}
    x = rng.normal(size=[3, 5, 8])
    weights = reference.encoder_weights(rng, 8, 12)
    exact = [tf.constant(w, tf.float64) for w in weights]
    padded = reference.encoder_layer_tf(tf.constant(x), LENGTHS, exact, 2, **options)
    for b, length in enumerate(LENGTHS):
        alone = reference.encoder_layer(x[b], weights, 2, keys=length, **options)
        np.testing.assert_allclose(padded[b], alone, rtol=1e-9)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("memory_lag", [None, 1, 2])
def test_decoder_layer(pre_norm, memory_lag):
    rng = np.random.default_rng(0)
    options = {"pre_norm": pre_norm, "memory_lag": memory_lag}
    x, memory = rng.normal(size=[3, 5, 8]), rng.normal(size=[3, 4, 6])
    weights = reference.decoder_weights(rng, 8, 12, 6)
    exact = [tf.constant(w, tf.float64) for w in weights]
    padded = reference.decoder_layer_tf(
        tf.constant(x), LENGTHS, tf.constant(memory), MEMORY_LENGTHS, exact, 2, **options
    )
    for b, (length, seen) in enumerate(zip(LENGTHS, MEMORY_LENGTHS)):
        alone = reference.decoder_layer(
            x[b], memory[b], weights, 2, keys=length, memory_keys=seen, **options
        )
        np.testing.assert_allclose(padded[b], alone, rtol=1e-9)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("memory_lag", [None, 1, 2])
@pytest.mark.parametrize("memory", [True, False])
def test_decoder_layer_step(pre_norm, memory_lag, memory):
    rng = np.random.default_rng(0)
    options = {"pre_norm": pre_norm, "memory_lag": memory_lag if memory else None}
    x, weights = (
        rng.normal(size=[3, 2, 8]),
        reference.decoder_weights(rng, 8, 12, 6 if memory else None),
    )
    cache = rng.normal(size=[2, 3, 5, 2, 4])
    projected = rng.normal(size=[2, 3, 4, 2, 4]) if memory else [None, None]
    exact = [tf.constant(w, tf.float64) for w in weights]
    padded = reference.decoder_layer_step_tf(
        *map(tf.constant, (x, *cache)),
        *(None if part is None else tf.constant(part) for part in projected),
        MEMORY_LENGTHS if memory else None,
        exact,
        **options,
    )
    for b, seen in enumerate(MEMORY_LENGTHS):
        alone = reference.decoder_layer_step(
            *(x[b], cache[0, b], cache[1, b]),
            *(None if part is None else part[b, :seen] for part in projected),
            weights,
            **options,
        )
        for one, other in zip(padded, alone):
            np.testing.assert_allclose(one[b], other, rtol=1e-9)


@pytest.mark.parametrize("memory", [True, False])
def test_steps_of_a_decoder_layer_are_the_layer(memory):
    rng = np.random.default_rng(0)
    x, weights = (
        rng.normal(size=[5, 8]),
        reference.decoder_weights(rng, 8, 12, 6 if memory else None),
    )
    source, projected = None, [None, None]
    if memory:
        source = rng.normal(size=[4, 6])
        projected = np.split(source @ weights[10] + weights[11], 2, axis=-1)
        projected = [part.reshape(4, 2, 4) for part in projected]
    keys = values = np.zeros([0, 2, 4])
    outputs = []
    for i in range(0, 5, 2):
        step, keys, values = reference.decoder_layer_step(
            x[i : i + 2], keys, values, *projected, weights
        )
        outputs.append(step)
    expected = reference.decoder_layer(x, source, weights, 2)
    np.testing.assert_allclose(np.concatenate(outputs), expected, rtol=1e-9)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [2, 9])
def test_cross_entropy(label_smoothing, size):
    rng = np.random.default_rng(0)
    logits, label_weights = rng.normal(size=[3, 5, size]), rng.normal(size=[3, 5])
    label_weights[1, 2:] = 0.0
    arguments = (rng.integers(0, size, [3, 5]), label_weights, label_smoothing)
    for one, other in zip(
        reference.cross_entropy(logits, *arguments),
        reference.cross_entropy_tf(tf.constant(logits), *arguments),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
