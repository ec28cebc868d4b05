"""LSTransformerEmbeddingLayer: numbers, padding, gradients, and what Keras does with a layer."""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.keras_version import KERAS_3
from tf_ls.layers import (
    LSLayerNorm,
    LSTransformerEmbeddingLayer,
    LSTransformerEncoderLayer,
)

VOCABULARY, HIDDEN = 13, 24
IDS = np.array([[5, 3, 7, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [0, 9, 0, 12, 12]], np.int32)
REAL = IDS != 0


def make(**changes):
    return LSTransformerEmbeddingLayer(
        **{"vocab_size": VOCABULARY, "embedding_dim": HIDDEN, "padding_idx": 0, **changes}
    )


def build(**changes):
    layer = make(**changes)
    layer(IDS)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def variables(layer):
    return [v.value if KERAS_3 else v for v in layer.weights]


def timing_signal(length, hidden=HIDDEN):
    """Computes the signal from its definition, one number after the other."""
    signal = np.zeros([length, hidden])
    waves = hidden // 2
    for p in range(length):
        for j in range(waves):
            angle = p * 10000.0 ** (-j / (waves - 1))
            signal[p, j], signal[p, waves + j] = np.sin(angle), np.cos(angle)
    return signal


# Numbers -----------------------------------------------------------------------------------------


def test_words_are_scaled_and_have_sines_for_positions():
    layer = build(padding_idx=None)
    expected = layer.get_weights()[0][IDS] * HIDDEN**0.5 + timing_signal(5)
    np.testing.assert_allclose(layer(IDS), expected, rtol=1e-4, atol=1e-5)


def test_padding_is_zeros_and_masked():
    layer = build()
    expected = layer.get_weights()[0][IDS] * HIDDEN**0.5 + timing_signal(5)
    output = layer(IDS)
    np.testing.assert_allclose(
        output, np.where(REAL[..., None], expected, 0.0), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(output._keras_mask, REAL)


def test_mask_besides_the_padding_index():
    mask = np.array([[1, 0, 1, 1, 1]] * 4, bool)
    output = build()(IDS, mask=mask)
    np.testing.assert_array_equal(np.any(output, axis=-1), REAL & mask)
    unmasked = build(padding_idx=None)
    np.testing.assert_array_equal(np.any(unmasked(IDS, mask=mask), axis=-1), mask)


def test_trained_positions():
    layer = build(trainable_pos=True, max_seq_len=6, no_scale_embedding=True)
    table, positions = layer.get_weights()
    assert positions.shape == (6, HIDDEN)
    expected = np.where(REAL[..., None], table[IDS] + positions[:5], 0.0)
    np.testing.assert_allclose(layer(IDS), expected, rtol=1e-5)
    shifted = np.where(REAL[..., None], table[IDS] + positions[1:], 0.0)
    np.testing.assert_allclose(layer(IDS, start=1), shifted, rtol=1e-5)


def test_one_token_after_the_other():
    layer = build(padding_idx=None)
    whole = layer(IDS)
    for i in range(5):
        step = layer(IDS[:, i : i + 1], start=tf.constant(i))
        np.testing.assert_allclose(step[:, 0], whole[:, i], rtol=1e-6)


def test_layer_norm_on_top():
    layer = build(layernorm_embedding=True, epsilon=1e-3)
    table, gamma, beta = layer.get_weights()
    norm = LSLayerNorm(epsilon=1e-3)
    norm(np.zeros([1, HIDDEN]))
    norm.set_weights([gamma, beta])
    plain = np.asarray(table[IDS] * HIDDEN**0.5 + timing_signal(5), np.float32)
    expected = np.where(REAL[..., None], norm(plain), 0.0)
    np.testing.assert_allclose(layer(IDS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layernorm_embedding", [True, False])
def test_dropout_happens_in_training_only(layernorm_embedding):
    layer = build(dropout=0.5, layernorm_embedding=layernorm_embedding)
    np.testing.assert_array_equal(layer(IDS), layer(IDS, training=False))
    outputs = [layer(IDS, training=True).numpy() for _ in range(2)]
    assert (outputs[0] != outputs[1]).any()
    dropped = (outputs[0] == 0.0)[REAL].mean()
    assert 0.3 < dropped < 0.7


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16", "int8"])
def test_ids_of_any_integer_dtype(dtype):
    layer = build()
    np.testing.assert_array_equal(layer(IDS.astype(dtype)), layer(IDS))


# Gradients ---------------------------------------------------------------------------------------


def test_gradient_is_sparse_without_rows_of_padding():
    layer = build()
    with tf.GradientTape() as tape:
        output = layer(IDS)
    gradient = tape.gradient(output, variables(layer)[0])
    assert isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_array_equal(gradient.indices, IDS[REAL])
    np.testing.assert_allclose(gradient.values, np.full([REAL.sum(), HIDDEN], HIDDEN**0.5))


def test_gradient_of_a_shared_table_is_dense():
    layer = build(share_softmax_weights=True)
    with tf.GradientTape() as tape:
        embedded = layer(IDS)
        weights, bias = layer.output_table()
        logits = tf.matmul(tf.reshape(embedded, [-1, HIDDEN]), weights, transpose_b=True) + bias
    gradients = tape.gradient(logits, variables(layer))
    assert [g.shape for g in gradients] == [(VOCABULARY, HIDDEN), (VOCABULARY,)]
    assert all(isinstance(g, tf.Tensor) for g in gradients)


def test_table_that_is_not_shared():
    with pytest.raises(ValueError, match="share_softmax_weights=False"):
        build().output_table()


# Dtypes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_variables_and_their_gradients_are_float32_under_every_policy(policy):
    layer = build(dtype=policy, trainable_pos=True, max_seq_len=5)
    with tf.GradientTape() as tape:
        output = layer(IDS)
        loss = tf.reduce_sum(tf.cast(output, tf.float32))
    gradients = tape.gradient(loss, variables(layer))
    assert output.dtype == policy.replace("mixed_", "")
    assert {v.dtype for v in variables(layer)} == {tf.float32}
    assert {g.dtype for g in gradients} == {tf.float32}


# What Keras does with a layer --------------------------------------------------------------------


def classifier(**changes):
    ids = tf.keras.Input([None], dtype="int32")
    x = make(name="words", dropout=0.1, **changes)(ids)
    x = LSTransformerEncoderLayer(HIDDEN, 40, 3, name="encoder")(x)
    x = tf.keras.layers.GlobalAveragePooling1D()(x)
    return tf.keras.Model(ids, tf.keras.layers.Dense(1, dtype="float32")(x))


@pytest.mark.parametrize("trainable_pos", [True, False])
def test_fit_save_and_load(tmp_path, trainable_pos):
    model = classifier(trainable_pos=trainable_pos, max_seq_len=5)
    model.compile("adam", "mse")
    ids = np.where(REAL.any(1, keepdims=True), IDS, 1)
    losses = model.fit(ids, np.full([4, 1], 5.0), epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(str(tmp_path / "model.keras"))
    loaded = tf.keras.models.load_model(str(tmp_path / "model.keras"))
    np.testing.assert_allclose(loaded(ids), model(ids), rtol=1e-6)


def test_mask_reaches_the_next_layer():
    model, ids = classifier(), IDS[:2]
    encoded = model.get_layer("encoder").output
    output = tf.keras.Model(model.inputs, encoded)(ids)
    np.testing.assert_array_equal(np.any(output, axis=-1), REAL[:2])


def test_shapes():
    assert tuple(make().compute_output_shape((3, None))) == (3, None, HIDDEN)
    assert tuple(make()(tf.keras.Input([7], batch_size=2, dtype="int32")).shape) == (2, 7, HIDDEN)
    assert build()(np.zeros([0, 5], np.int32)).shape == (0, 5, HIDDEN)
    assert build()(np.zeros([3, 0], np.int32)).shape == (3, 0, HIDDEN)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["emb/weights"]),
        ({"share_softmax_weights": True}, ["shared/weights", "shared/bias"]),
        (
            {"trainable_pos": True, "max_seq_len": 5, "layernorm_embedding": True},
            ["emb/weights", "position_embeddings/weights", "ln/gamma", "ln/beta"],
        ),
    ],
    ids=str,
)
def test_names_of_variables_are_neursts(changes, names):
    layer = make(name="words", **changes)
    layer(IDS)
    actual = [w.path.replace(".", "/") if KERAS_3 else w.name.split(":")[0] for w in layer.weights]
    assert actual == [f"words/{name}" for name in names]


def test_initial_values():
    layer = make(vocab_size=500, share_softmax_weights=True)
    layer(IDS)
    weights, bias = layer.get_weights()
    assert abs(weights.std() - HIDDEN**-0.5) < 0.02
    np.testing.assert_array_equal(bias, np.zeros(500))


# What is not right says so -----------------------------------------------------------------------


@pytest.mark.parametrize("bad", [VOCABULARY, -1])
def test_id_outside_the_vocabulary(bad):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"vocabulary of 13, got {bad} at \[0, 1\]"
    ):
        build()(np.array([[1, bad]], np.int32))


def test_sentence_longer_than_the_table():
    layer = build(trainable_pos=True, max_seq_len=5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="has 5 rows"):
        layer(np.ones([1, 6], np.int32))


@pytest.mark.parametrize(
    "ids", [IDS.astype(np.float32), IDS[0], IDS[None]], ids=["float", "1", "3"]
)
def test_bad_ids(ids):
    with pytest.raises(ValueError, match="expected ids"):
        build()(ids)


@pytest.mark.parametrize("shape", [(4,), (4, 6), (3, 5)], ids=str)
def test_bad_mask(shape):
    with pytest.raises(ValueError, match=r"(?s)mask.*4, 5"):
        build()(IDS, mask=np.ones(shape, bool))
