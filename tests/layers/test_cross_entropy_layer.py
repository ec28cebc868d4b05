"""LSCrossEntropyLayer: numbers, padding, dtypes, and what Keras does with it."""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls import ops
from tf_ls.layers import EncoderLayerConfig, LSCrossEntropyLayer

VOCABULARY, PADDING = 11, 10
TARGETS = np.array([[3, 0, 9, 2], [1, PADDING, PADDING, PADDING], [5, 5, PADDING, PADDING]])
MASK = TARGETS != PADDING


def logits(dtype="float32"):
    values = np.random.default_rng(0).normal(size=[*TARGETS.shape, VOCABULARY])
    return tf.constant(values, dtype)


def expected(smoothing=0.1, weights=MASK):
    outputs = ops.cross_entropy(logits(), TARGETS, tf.cast(weights, tf.float32), smoothing)
    return [float(tf.reduce_sum(output)) for output in outputs]


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_sums_what_is_no_padding(dtype):
    loss, nll = LSCrossEntropyLayer(0.1, PADDING)(logits(), tf.constant(TARGETS, dtype))
    assert loss.shape == nll.shape == ()
    np.testing.assert_allclose([loss, nll], expected(), rtol=1e-6)


def test_without_smoothing_both_are_the_same():
    loss, nll = LSCrossEntropyLayer(padding_idx=PADDING)(logits(), TARGETS)
    np.testing.assert_allclose([loss, nll], [expected(0.0)[1]] * 2, rtol=1e-6)


def test_mask_beside_padding_idx():
    mask = np.ones_like(MASK)
    mask[0, 1] = False
    outputs = LSCrossEntropyLayer(0.1, PADDING)(logits(), TARGETS, mask=mask)
    np.testing.assert_allclose(outputs, expected(weights=MASK & mask), rtol=1e-6)
    outputs = LSCrossEntropyLayer(0.1)(logits(), TARGETS, mask=MASK)
    np.testing.assert_allclose(outputs, expected(), rtol=1e-6)


def test_mask_of_an_embedding_is_used_and_not_passed_on():
    ids = tf.keras.Input([4], dtype="int32")
    targets = tf.keras.Input([4], dtype="int32")
    embedded = tf.keras.layers.Embedding(20, VOCABULARY, mask_zero=True)(ids)
    loss, _ = LSCrossEntropyLayer(0.1)(embedded, targets)
    assert getattr(loss, "_keras_mask", None) is None
    model = tf.keras.Model([ids, targets], loss)
    fed = np.where(MASK, 4, 0)
    weights = tf.cast(MASK, tf.float32)
    rows = tf.constant(model.get_weights()[0])
    want = tf.reduce_sum(ops.cross_entropy(tf.gather(rows, fed), TARGETS, weights, 0.1).losses)
    np.testing.assert_allclose(model([fed, TARGETS]), want, rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_computes_in_float32_under_every_policy(policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    loss, nll = LSCrossEntropyLayer(0.1, PADDING)(logits(), TARGETS)
    assert loss.dtype == nll.dtype == tf.float32
    np.testing.assert_allclose([loss, nll], expected(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_takes_logits_of_any_dtype(dtype):
    outputs = LSCrossEntropyLayer(0.1, PADDING)(logits(dtype), TARGETS)
    np.testing.assert_allclose(outputs, expected(), rtol=1e-2)


def test_gradient():
    x = logits()
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss, _ = LSCrossEntropyLayer(0.1, PADDING)(x, TARGETS)
    gradient = tape.gradient(loss, x).numpy()
    assert np.all(np.any(gradient[MASK], axis=-1))
    np.testing.assert_array_equal(gradient[~MASK], 0.0)


def test_trains_a_model():
    class Classifier(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = tf.keras.layers.Dense(VOCABULARY)
            self.loss_layer = LSCrossEntropyLayer(0.1, PADDING)

        def train_step(self, data):
            x, targets = data
            with tf.GradientTape() as tape:
                loss, nll = self.loss_layer(self.dense(x), targets)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss, "nll": nll}

        def call(self, x):
            return self.dense(x)

    model = Classifier()
    model.compile(optimizer=tf.keras.optimizers.Adam(0.1))
    history = model.fit(logits().numpy(), TARGETS, batch_size=3, epochs=10, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_configs():
    config = LSCrossEntropyLayer.get_config(
        max_batch_tokens=4096, padding_idx=3, epsilon=0.2, fp16=True, local_rank=0
    )
    layer = LSCrossEntropyLayer(config, name="named")
    assert (layer.epsilon, layer.padding_idx, layer.name) == (0.2, 3, "named")
    assert LSCrossEntropyLayer(config, padding_idx=5).padding_idx == 5
    assert LSCrossEntropyLayer.get_config(model="transformer-base", epsilon=0.1).epsilon == 0.1


def test_kerass_get_config_and_from_config():
    layer = LSCrossEntropyLayer(0.1, PADDING, name="a_loss")
    again = LSCrossEntropyLayer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(logits(), TARGETS), layer(logits(), TARGETS))


def test_save_and_load(tmp_path):
    x, targets = tf.keras.Input([4, VOCABULARY]), tf.keras.Input([4], dtype="int32")
    model = tf.keras.Model([x, targets], LSCrossEntropyLayer(0.1, PADDING)(x, targets))
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    inputs = [logits(), tf.constant(TARGETS)]
    for actual, want in zip(loaded(inputs), model(inputs)):
        np.testing.assert_array_equal(actual, want)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, float("nan")])
def test_bad_epsilon(epsilon):
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\)"):
        LSCrossEntropyLayer(epsilon)


def test_config_of_another_layer():
    with pytest.raises(ValueError, match=r"expected a CrossEntropyConfig.*EncoderLayerConfig"):
        LSCrossEntropyLayer(EncoderLayerConfig(8, 16, 2))


def test_unknown_setting():
    with pytest.raises(ValueError, match="unknown setting smoothing; the settings are epsilon"):
        LSCrossEntropyLayer.get_config(smoothing=0.1)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (3, 4, 1)])
def test_bad_targets(shape):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        LSCrossEntropyLayer(0.1)(logits(), tf.zeros(shape, tf.int32))


def test_target_outside_of_the_vocabulary():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"from 0 to 10.*got 11"):
        LSCrossEntropyLayer(0.1)(logits(), tf.fill(TARGETS.shape, 11))
