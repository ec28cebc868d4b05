"""LSLayerNorm: numbers, dtypes, and what Keras does with a layer."""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.keras_version import KERAS_3
from tf_ls.layers import LSLayerNorm

HIDDEN = 24


def inputs(shape=(4, 5, HIDDEN)):
    return np.random.default_rng(0).normal(size=shape, loc=2.0).astype(np.float32)


def build(**arguments):
    layer = LSLayerNorm(**arguments)
    layer(inputs())
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def variables(layer):
    return [v.value if KERAS_3 else v for v in layer.weights]


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_output_and_gradients_are_those_of_keras(epsilon):
    layer = build(epsilon=epsilon)
    stock = tf.keras.layers.LayerNormalization(epsilon=epsilon)
    stock(inputs())
    stock.set_weights(layer.get_weights())
    x = tf.constant(inputs())
    results = []
    for each in (layer, stock):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = each(x)
            loss = tf.reduce_sum(output**3)
        results.append([output, *tape.gradient(loss, [x, *variables(each)])])
    for actual, want in zip(*results):
        np.testing.assert_allclose(actual, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(HIDDEN,), (3, HIDDEN), (2, 3, 4, HIDDEN), (0, HIDDEN)], ids=str)
def test_any_rank(shape):
    assert build()(inputs(shape)).shape == shape


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_variables_and_their_gradients_are_float32_under_every_policy(policy):
    layer = build(dtype=policy)
    with tf.GradientTape() as tape:
        output = layer(inputs())
        loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 2)
    gradients = tape.gradient(loss, variables(layer))
    assert output.dtype == policy.replace("mixed_", "")
    assert {v.dtype for v in variables(layer)} == {tf.float32}
    assert {g.dtype for g in gradients} == {tf.float32}
    exact = build()(inputs()).numpy()
    error = np.linalg.norm(tf.cast(output, tf.float32) - exact) / np.linalg.norm(exact)
    assert error < (2e-2 if "bfloat16" in policy else 5e-3)


def test_initial_values_and_names():
    layer = LSLayerNorm()
    layer(inputs())
    assert [w.name.split(":")[0].rsplit("/", 1)[-1] for w in layer.weights] == ["gamma", "beta"]
    np.testing.assert_array_equal(layer.get_weights()[0], np.ones(HIDDEN))
    np.testing.assert_array_equal(layer.get_weights()[1], np.zeros(HIDDEN))


def test_mask_is_passed_on():
    embedded = tf.keras.layers.Embedding(7, HIDDEN, mask_zero=True)(np.array([[1, 0]]))
    np.testing.assert_array_equal(build()(embedded)._keras_mask, [[True, False]])


def test_get_config_and_from_config():
    layer = LSLayerNorm(epsilon=1e-3, name="norm", dtype="mixed_bfloat16", trainable=False)
    again = LSLayerNorm.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.epsilon, again.name, again.compute_dtype) == (1e-3, "norm", "bfloat16")


def test_fit_save_and_load(tmp_path):
    x = tf.keras.Input([None, HIDDEN])
    y = tf.keras.layers.GlobalAveragePooling1D()(LSLayerNorm()(x))
    model = tf.keras.Model(x, tf.keras.layers.Dense(1)(y))
    model.compile("adam", "mse")
    model.fit(inputs(), np.ones([4, 1]), verbose=0)
    model.save(str(tmp_path / "model.keras"))
    loaded = tf.keras.models.load_model(str(tmp_path / "model.keras"))
    np.testing.assert_allclose(loaded(inputs()), model(inputs()), rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_bad_epsilon(epsilon):
    with pytest.raises(ValueError, match="epsilon must be positive"):
        LSLayerNorm(epsilon=epsilon)


def test_bad_dtype():
    with pytest.raises(ValueError, match=r"float32, bfloat16, float16.*float64"):
        LSLayerNorm(dtype="float64")


def test_unknown_width():
    with pytest.raises(ValueError, match="last dimension must be known"):
        LSLayerNorm()(tf.keras.Input([None, None]))


def test_inputs_of_another_width():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        build()(inputs((4, HIDDEN + 1)))
