"""LSTransformerDecoderLayer: causality, cross-attention, masks, the cache, and Keras."""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.layers import LSTransformerDecoderLayer, LSTransformerEncoderLayer

HIDDEN, MEMORY = 24, 20
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
ENCODER_MASK = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]], bool)


def make(**changes):
    arguments = {"hidden_size": HIDDEN, "intermediate_size": 40, "num_heads": 3}
    arguments["encoder_hidden_size"] = MEMORY
    return LSTransformerDecoderLayer(**{**arguments, **changes})


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


X, ENCODER_OUTPUTS = random(3, 5, HIDDEN), random(3, 4, MEMORY)


def randomise(layer):
    rng = np.random.default_rng(1)
    weights = [w + rng.normal(size=w.shape, scale=0.1) for w in layer.get_weights()]
    layer.set_weights(weights)
    return layer


def build(**changes):
    layer = make(**changes)
    layer(X, encoder_outputs=ENCODER_OUTPUTS if layer.has_cross_attn else None)
    return randomise(layer)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


# Numbers -----------------------------------------------------------------------------------------


def test_without_cross_attention_it_is_a_causal_encoder_layer():
    layer = build(has_cross_attn=False)
    encoder = LSTransformerEncoderLayer(HIDDEN, 40, 3)
    encoder(X)
    encoder.set_weights(layer.get_weights())
    output = layer(X)
    for n in range(1, 6):  # the last of n tokens sees all of them, as in an encoder
        close(output[:, n - 1], encoder(X[:, :n])[:, -1])


def test_cross_attention_to_one_token_adds_its_value():
    layer = build()
    without = build(has_cross_attn=False)
    weights = layer.get_weights()
    kv_kernel, kv_bias, out_kernel, out_bias = weights[10:14]
    values = (ENCODER_OUTPUTS[:, :1] @ kv_kernel + kv_bias)[..., HIDDEN:]
    # A feed-forward block that adds nothing leaves the attention blocks' sum.
    weights[18][:] = weights[19][:] = 0.0
    layer.set_weights(weights)
    without.set_weights(weights[:6] + weights[14:])
    close(
        layer(X, encoder_outputs=ENCODER_OUTPUTS[:, :1]),
        without(X) + values @ out_kernel + out_bias,
    )


def test_later_tokens_change_nothing_before_them():
    layer = build()
    changed = X.copy()
    changed[:, 3:] += 1.0
    first, second = (layer(x, encoder_outputs=ENCODER_OUTPUTS) for x in (X, changed))
    np.testing.assert_array_equal(first[:, :3], second[:, :3])
    assert (first[:, 3:].numpy() != second[:, 3:].numpy()).any()


def test_masks():
    layer = build()
    arguments = {"encoder_outputs": ENCODER_OUTPUTS, "encoder_mask": ENCODER_MASK}
    both = layer(X, mask=MASK, **arguments)
    close(both, np.where(MASK[..., None], layer(X, **arguments), 0.0))
    for b in range(3):
        seen = ENCODER_OUTPUTS[b : b + 1, ENCODER_MASK[b]]
        close(both[b : b + 1, : MASK[b].sum()], layer(X[b : b + 1, MASK[b]], encoder_outputs=seen))


def test_masks_that_keras_attaches():
    ids, encoder_ids = np.where(MASK, 2, 0), np.where(ENCODER_MASK, 3, 0)
    embedding = tf.keras.layers.Embedding(5, HIDDEN, mask_zero=True)
    encoder_embedding = tf.keras.layers.Embedding(5, MEMORY, mask_zero=True)
    layer = build()
    output = layer(embedding(ids), encoder_outputs=encoder_embedding(encoder_ids))
    expected = layer(
        np.asarray(embedding(ids)),
        encoder_outputs=np.asarray(encoder_embedding(encoder_ids)),
        mask=MASK,
        encoder_mask=ENCODER_MASK,
    )
    close(output, expected)
    np.testing.assert_array_equal(output._keras_mask, MASK)


def test_gradients_reach_the_encoder():
    layer = build()
    x, memory = tf.constant(X), tf.constant(ENCODER_OUTPUTS)
    with tf.GradientTape() as tape:
        tape.watch([x, memory])
        output = layer(x, encoder_outputs=memory, encoder_mask=ENCODER_MASK, training=True)
    x_gradient, memory_gradient = tape.gradient(output, [x, memory])
    assert (np.abs(x_gradient.numpy()).max(-1) > 0).all()
    np.testing.assert_array_equal(np.abs(memory_gradient.numpy()).max(-1) > 0, ENCODER_MASK)


# The cache ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[1] * 5, [5], [2, 3]], ids=str)
@pytest.mark.parametrize("encoder_mask", [None, ENCODER_MASK], ids=["unmasked", "masked"])
@pytest.mark.parametrize("pre_layer_norm", [True, False])
def test_steps_with_a_cache_are_the_layer(steps, encoder_mask, pre_layer_norm):
    layer = build(pre_layer_norm=pre_layer_norm)
    cache = layer.create_cache(ENCODER_OUTPUTS, encoder_mask)
    outputs, done = [], 0
    for step in steps:
        output, cache = layer(X[:, done : done + step], cache=cache)
        outputs.append(output)
        done += step
    assert cache["keys"].shape == [3, 5, 3, HIDDEN // 3]
    expected = layer(X, encoder_outputs=ENCODER_OUTPUTS, encoder_mask=encoder_mask)
    close(tf.concat(outputs, axis=1), expected)


def test_cache_without_cross_attention():
    layer = build(has_cross_attn=False)
    cache = layer.create_cache(batch_size=3)
    assert set(cache) == {"keys", "values"}
    outputs = []
    for i in range(5):
        output, cache = layer(X[:, i : i + 1], cache=cache)
        outputs.append(output)
    close(tf.concat(outputs, axis=1), layer(X))


def test_cache_before_the_first_call():
    layer, called = make(name="same"), make(name="same")
    _, cache = layer(X[:, :1], cache=layer.create_cache(ENCODER_OUTPUTS))
    assert cache["keys"].shape == [3, 1, 3, HIDDEN // 3]
    called(X, encoder_outputs=ENCODER_OUTPUTS)
    assert [w.name for w in layer.weights] == [w.name for w in called.weights]


def test_cache_in_a_while_loop():
    layer = build()

    @tf.function
    def decode(x, encoder_outputs):
        def body(i, outputs, cache):
            output, cache = layer(tf.gather(x, [i], axis=1), cache=cache)
            return i + 1, tf.concat([outputs, output], axis=1), cache

        cache = layer.create_cache(encoder_outputs)
        invariants = tf.nest.map_structure(lambda t: tf.TensorShape([None] * t.shape.rank), cache)
        _, outputs, _ = tf.while_loop(
            lambda i, *_: i < tf.shape(x)[1],
            body,
            (0, x[:, :0], cache),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([3, None, HIDDEN]), invariants),
        )
        return outputs

    close(decode(X, ENCODER_OUTPUTS), layer(X, encoder_outputs=ENCODER_OUTPUTS))


def test_cache_can_be_reordered():
    layer = build()
    _, cache = layer(X[:, :2], cache=layer.create_cache(ENCODER_OUTPUTS, ENCODER_MASK))
    order = [2, 0, 0]
    cache = tf.nest.map_structure(lambda t: tf.gather(t, order), cache)
    output, _ = layer(X[order, 2:3], cache=cache)
    expected = layer(X, encoder_outputs=ENCODER_OUTPUTS, encoder_mask=ENCODER_MASK)
    close(output[:, 0], expected.numpy()[order, 2])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_cache_in_the_compute_dtype(policy):
    layer = build(dtype=policy)
    cache = layer.create_cache(ENCODER_OUTPUTS)
    output, cache = layer(X[:, :1], cache=cache)
    assert {output.dtype, cache["keys"].dtype} == {tf.as_dtype(layer.compute_dtype)}
    expected = layer(X[:, :1], encoder_outputs=ENCODER_OUTPUTS)
    np.testing.assert_allclose(
        tf.cast(output, tf.float32), tf.cast(expected, tf.float32), rtol=0.1, atol=0.05
    )


# Keras -------------------------------------------------------------------------------------------


def translator():
    source = tf.keras.Input([None], dtype="int32")
    target = tf.keras.Input([None], dtype="int32")
    embedding = tf.keras.layers.Embedding(11, HIDDEN, mask_zero=True)
    memory = LSTransformerEncoderLayer(HIDDEN, 40, 3)(embedding(source))
    output = make(encoder_hidden_size=None, hidden_dropout_ratio=0.1)(
        embedding(target), encoder_outputs=memory
    )
    return tf.keras.Model([source, target], tf.keras.layers.Dense(11, dtype="float32")(output))


IDS = [np.where(ENCODER_MASK, 3, 0), np.where(MASK, 4, 0)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fit(policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    model = translator()
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(1e-2), loss)
    losses = model.fit(IDS, IDS[1], epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_masks_inside_a_model():
    model = translator()
    layers = {type(layer).__name__: layer for layer in model.layers}
    embedded = [np.asarray(layers["Embedding"](ids)) for ids in IDS]
    memory = layers["LSTransformerEncoderLayer"](embedded[0], mask=ENCODER_MASK)
    output = layers["LSTransformerDecoderLayer"](
        embedded[1], encoder_outputs=np.asarray(memory), mask=MASK, encoder_mask=ENCODER_MASK
    )
    close(model(IDS), layers["Dense"](np.asarray(output)))


def test_save_load_and_clone(tmp_path):
    model = translator()
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    close(loaded(IDS), model(IDS))
    clone = tf.keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    close(clone(IDS), model(IDS))


def test_variables():
    shapes = [tuple(w.shape) for w in build().weights]
    h, f = HIDDEN, 40
    assert shapes == [
        *[(h,), (h,), (h, 3 * h), (3 * h,), (h, h), (h,)],
        *[(h,), (h,), (h, h), (h,), (MEMORY, 2 * h), (2 * h,), (h, h), (h,)],
        *[(h,), (h,), (h, f), (f,), (f, h), (h,)],
    ]
    assert len(build(has_cross_attn=False).weights) == 12


# What cannot work says so ------------------------------------------------------------------------


def test_jit_compile():
    layer = build()
    with pytest.raises(NotImplementedError, match="XLA cannot compile"):
        tf.function(lambda x: layer(x, encoder_outputs=ENCODER_OUTPUTS), jit_compile=True)(X)


def test_encoder_outputs_are_missing():
    with pytest.raises(ValueError, match="needs encoder_outputs"):
        make()(X)
    with pytest.raises(ValueError, match="needs encoder_outputs"):
        make().create_cache()


def test_encoder_outputs_too_many():
    with pytest.raises(ValueError, match="no cross-attention"):
        make(has_cross_attn=False)(X, encoder_outputs=ENCODER_OUTPUTS)


@pytest.mark.parametrize("shape", [(3, MEMORY), (3, 4, MEMORY + 1)], ids=str)
def test_bad_encoder_outputs(shape):
    with pytest.raises(ValueError, match=f"(?s)expected encoder_outputs.*{MEMORY}.*got"):
        make()(X, encoder_outputs=np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(3,), (3, 5), (2, 4)], ids=str)
def test_bad_encoder_mask(shape):
    with pytest.raises(ValueError, match=r"(?s)mask.*3, 4"):
        make()(X, encoder_outputs=ENCODER_OUTPUTS, encoder_mask=np.ones(shape, bool))


def test_bad_cache():
    layer = build()
    cache = layer.create_cache(ENCODER_OUTPUTS)
    with pytest.raises(ValueError, match="create_cache"):
        layer(X[:, :1], cache={"keys": cache["keys"]})
    with pytest.raises(ValueError, match="takes no mask"):
        layer(X[:, :1], mask=np.ones([3, 1], bool), cache=cache)
    with pytest.raises(ValueError, match="does not train"):
        layer(X[:, :1], training=True, cache=cache)
    with pytest.raises(ValueError, match="batch_size"):
        build(has_cross_attn=False).create_cache()
