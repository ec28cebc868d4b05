"""LSTransformerEncoderLayer: numbers, masks, dtypes, and what Keras does with a layer."""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.keras_version import KERAS_3
from tf_ls.layers import LSTransformerEncoderLayer

HIDDEN = 24
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]], bool)


def make(**changes):
    arguments = {"hidden_size": HIDDEN, "intermediate_size": 40, "num_heads": 3, **changes}
    return LSTransformerEncoderLayer(**arguments)


def inputs(shape=(4, 5, HIDDEN)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def stock_layer(layer, x, mask=None):
    """Computes a pre-norm relu layer from stock TensorFlow operations on the layer's weights."""
    w = [tf.constant(v) for v in layer.get_weights()]

    def norm(t, gamma, beta):
        mean, variance = tf.nn.moments(t, -1, keepdims=True)
        return (t - mean) / tf.sqrt(variance + 1e-6) * gamma + beta

    def heads(t):
        return tf.transpose(tf.reshape(t, [*t.shape[:2], 3, HIDDEN // 3]), [0, 2, 1, 3])

    qkv = norm(x, w[0], w[1]) @ w[2] + w[3]
    q, k, v = (heads(t) for t in tf.split(qkv, 3, axis=-1))
    logits = tf.matmul(q, k, transpose_b=True) * (HIDDEN // 3) ** -0.5
    if mask is not None:
        logits += (1.0 - tf.cast(mask, tf.float32))[:, None, None] * -1e9
    attended = tf.transpose(tf.nn.softmax(logits) @ v, [0, 2, 1, 3])
    x = x + tf.reshape(attended, x.shape) @ w[4] + w[5]
    return x + tf.nn.relu(norm(x, w[6], w[7]) @ w[8] + w[9]) @ w[10] + w[11]


def randomise(layer):
    rng = np.random.default_rng(1)
    weights = [w + rng.normal(size=w.shape, scale=0.1) for w in layer.get_weights()]
    layer.set_weights(weights)


def build(**changes):
    layer = make(**changes)
    layer(inputs())
    randomise(layer)
    return layer


# Numbers -----------------------------------------------------------------------------------------


def test_without_mask():
    layer = build()
    np.testing.assert_allclose(layer(inputs()), stock_layer(layer, inputs()), rtol=1e-4, atol=1e-5)


def test_with_mask():
    layer = build()
    expected = tf.where(MASK[..., None], stock_layer(layer, inputs(), MASK), 0.0)
    output = layer(inputs(), mask=MASK)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer(inputs(), mask=MASK.astype(np.int32)), output)


def test_gradients():
    layer = build()
    x = tf.constant(inputs())
    cotangent = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, mask=MASK, training=True) * cotangent)
    gradients = tape.gradient(loss, [x, *variables(layer)])
    with tf.GradientTape() as tape:
        tape.watch(x)
        weights = [tf.constant(w) for w in layer.get_weights()]
        tape.watch(weights)
        stock = type("Weights", (), {"get_weights": lambda self: weights})()
        output = tf.where(MASK[..., None], stock_layer(stock, x, MASK), 0.0)
        loss = tf.reduce_sum(output * cotangent)
    for actual, want in zip(gradients, tape.gradient(loss, [x, *weights])):
        np.testing.assert_allclose(actual, want, rtol=1e-3, atol=1e-4)


def variables(layer):
    """Returns the tf.Variables of a layer, of which Keras 3's are wrappers."""
    return [v.value if KERAS_3 else v for v in layer.weights]


def test_dropout_happens_in_training_only():
    layer = build(hidden_dropout_ratio=0.5)
    x = inputs()
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert (layer(x, training=True).numpy() != layer(x, training=True).numpy()).any()


# Masks that Keras attaches -----------------------------------------------------------------------


def test_mask_of_an_embedding_is_used_and_passed_on():
    ids = np.where(MASK, 3, 0)
    embedding = tf.keras.layers.Embedding(7, HIDDEN, mask_zero=True)
    layer = build()
    embedded = embedding(ids)
    output = layer(embedded)
    expected = layer(tf.convert_to_tensor(embedded), mask=MASK)
    np.testing.assert_allclose(output, expected, rtol=1e-6)
    np.testing.assert_array_equal(output._keras_mask, MASK)


def test_mask_inside_a_model():
    ids = tf.keras.Input([None], dtype="int32")
    embedded = tf.keras.layers.Embedding(7, HIDDEN, mask_zero=True)(ids)
    layer = make()
    model = tf.keras.Model(ids, [embedded, layer(embedded)])
    embedded, output = model(np.where(MASK, 3, 0))
    np.testing.assert_allclose(output, layer(np.asarray(embedded), mask=MASK), rtol=1e-6)


def test_mask_as_an_input_of_a_model():
    x = tf.keras.Input([None, HIDDEN])
    mask = tf.keras.Input([None], dtype="bool")
    layer = make()
    model = tf.keras.Model([x, mask], layer(x, mask=mask))
    assert tuple(model.outputs[0].shape) == (None, None, HIDDEN)
    np.testing.assert_allclose(model([inputs(), MASK]), layer(inputs(), mask=MASK), rtol=1e-6)


# Dtypes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [
        ("mixed_float16", "float16"),
        ("mixed_bfloat16", "bfloat16"),
        ("float16", "float16"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_weights_and_their_gradients_are_float32_under_every_policy(policy, dtype):
    layer = make(dtype=policy)
    with tf.GradientTape() as tape:
        output = layer(inputs(), mask=MASK)
        loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 2)
    gradients = tape.gradient(loss, variables(layer))
    assert output.dtype == dtype
    assert {tf.as_dtype(w.dtype) for w in variables(layer)} == {tf.float32}
    assert {g.dtype for g in gradients} == {tf.float32}
    exact = make()
    exact(inputs())
    exact.set_weights(layer.get_weights())
    expected = exact(inputs(), mask=MASK).numpy()
    error = np.linalg.norm(tf.cast(output, tf.float32) - expected) / np.linalg.norm(expected)
    assert error < (2e-2 if dtype == "bfloat16" else 5e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_fit_under_a_mixed_policy(policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    model = classifier()
    model.compile("adam", "mse")
    losses = model.fit(inputs(), np.full([4, 1], 5.0), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


# What Keras does with a layer --------------------------------------------------------------------


def classifier(**changes):
    x = tf.keras.Input([None, HIDDEN])
    y = make(hidden_dropout_ratio=0.1, name="first", **changes)(x)
    y = make(pre_layer_norm=False, activation_fn="gelu", name="second", **changes)(y)
    y = tf.keras.layers.GlobalAveragePooling1D()(y)
    return tf.keras.Model(x, tf.keras.layers.Dense(1, dtype="float32")(y))


def test_fit_evaluate_predict():
    model = classifier()
    model.compile("adam", "mse")
    target = np.ones([4, 1])
    losses = model.fit(inputs(), target, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert np.isfinite(model.evaluate(inputs(), target, verbose=0))
    assert model.predict(inputs(), verbose=0).shape == (4, 1)


def test_variables():
    layer = build()
    prefix = "self_attention_prepost_wrapper/ln/gamma"
    name = layer.weights[0].path.replace(".", "/") if KERAS_3 else layer.weights[0].name
    assert prefix in name
    assert [tuple(w.shape) for w in layer.weights] == [
        (24,),
        (24,),
        (24, 72),
        (72,),
        (24, 24),
        (24,),
        (24,),
        (24,),
        (24, 40),
        (40,),
        (40, 24),
        (24,),
    ]
    assert len({w.name for w in layer.weights}) == 12


def test_initial_values():
    layer = make()
    layer(inputs())
    for weight in layer.weights:
        kind = weight.name.split(":")[0].replace(".", "/").rsplit("/", 1)[-1]
        value = np.asarray(weight)
        if kind == "kernel":
            limit = np.sqrt(6.0 / sum(value.shape))
            assert np.abs(value).max() <= limit
            assert np.abs(value).max() > 0.9 * limit
        else:
            np.testing.assert_array_equal(value, 1.0 if kind == "gamma" else 0.0)


def test_not_trainable():
    layer = build(trainable=False)
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 12
    layer.trainable = True
    assert len(layer.trainable_weights) == 12


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_save_and_load(tmp_path, ending):
    model = classifier()
    path = str(tmp_path / f"model.{ending}")
    model.save(path)
    loaded = tf.keras.models.load_model(path, compile=False)
    np.testing.assert_allclose(loaded(inputs()), model(inputs()), rtol=1e-6)


def test_save_and_load_weights(tmp_path):
    model, other = classifier(), classifier()
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    other.load_weights(path)
    np.testing.assert_allclose(other(inputs()), model(inputs()), rtol=1e-6)


def test_checkpoint(tmp_path):
    layer, other = build(), make()
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "checkpoint"))
    other(inputs())
    tf.train.Checkpoint(layer=other).restore(path).expect_partial()
    np.testing.assert_array_equal(other(inputs()), layer(inputs()))


def test_saved_model(tmp_path):
    model = classifier()
    if hasattr(model, "export"):
        model.export(str(tmp_path))
        loaded = tf.saved_model.load(str(tmp_path))
        output = loaded.serve(inputs())
    else:
        tf.saved_model.save(model, str(tmp_path))
        output = tf.saved_model.load(str(tmp_path))(inputs())
    np.testing.assert_allclose(output, model(inputs()), rtol=1e-4, atol=1e-5)


def test_saved_model_of_a_function(tmp_path):
    module = tf.Module()
    module.layer = build()
    module.call = tf.function(
        lambda x: module.layer(x), input_signature=[tf.TensorSpec([None, None, HIDDEN])]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.call(inputs()), module.layer(inputs()), rtol=1e-4, atol=1e-5)


def test_clone_model():
    model = classifier()
    clone = tf.keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(inputs()), model(inputs()), rtol=1e-6)


def test_output_shape():
    assert tuple(make().compute_output_shape((3, None, HIDDEN))) == (3, None, HIDDEN)
    output = make()(tf.keras.Input([7, HIDDEN], batch_size=2))
    assert tuple(output.shape) == (2, 7, HIDDEN)


def test_tf_function_with_any_length():
    layer = build()
    function = tf.function(layer, input_signature=[tf.TensorSpec([None, None, HIDDEN])])
    for length in (1, 4, 9):
        x = inputs((2, length, HIDDEN))
        np.testing.assert_allclose(function(x), layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5, HIDDEN), (3, 0, HIDDEN)])
@pytest.mark.parametrize("masked", [True, False])
def test_empty_batch(shape, masked):
    mask = np.ones(shape[:2], bool) if masked else None
    assert build()(np.zeros(shape, np.float32), mask=mask).shape == shape


# What cannot work says so ------------------------------------------------------------------------


def test_jit_compile_of_a_function():
    layer = build()
    with pytest.raises(NotImplementedError, match=r"XLA cannot compile.*jit_compile"):
        tf.function(lambda x: layer(x), jit_compile=True)(inputs())


def test_jit_compile_of_a_model():
    model = classifier()
    if KERAS_3:  # which falls back by itself
        with pytest.warns(UserWarning, match="jit_compile"):
            model.compile("adam", "mse", jit_compile=True)
        model.fit(inputs(), np.zeros([4, 1]), verbose=0)
    else:
        model.compile("adam", "mse", jit_compile=True)
        with pytest.raises(NotImplementedError, match="XLA cannot compile"):
            model.fit(inputs(), np.zeros([4, 1]), verbose=0)


@pytest.mark.parametrize("shape", [(5, HIDDEN), (2, 3, 5, HIDDEN), (2, 5, HIDDEN + 1)], ids=str)
def test_bad_inputs(shape):
    with pytest.raises(ValueError, match=r"(?s)expected.*(ndim|axis|value)"):
        make()(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(4,), (4, 5, 1), (4, 6), (3, 5)], ids=str)
def test_bad_mask(shape):
    with pytest.raises(ValueError, match=r"(?s)mask.*4, 5"):
        build()(inputs(), mask=np.ones(shape, bool))


def test_training_that_is_known_only_when_the_graph_runs():
    layer = build()
    with pytest.raises(ValueError, match="training must be True, False or None"):
        tf.function(lambda training: layer(inputs(), training=training))(tf.constant(True))
