"""LSAdam on Keras 3 beside tf.keras.optimizers.Adam."""

import numpy as np
import pytest
import tensorflow as tf
from training import assert_same, make_gradients, make_variables, train

from tf_ls.keras_version import KERAS_3
from tf_ls.optimizers import LSAdam

pytestmark = pytest.mark.skipif(not KERAS_3, reason="this run has Keras 2")


def schedule():
    return tf.keras.optimizers.schedules.PolynomialDecay(0.1, 15, 0.01)


def variables_of_keras():
    names = iter(["kernel", "bias", "scalar", "other_kernel", "embedding"])
    return make_variables(make=lambda value: tf.keras.Variable(value, name=next(names)))


OPTIONS = {
    "defaults": dict,
    "hyperparameters": lambda: dict(learning_rate=0.1, beta_1=0.8, beta_2=0.98, epsilon=1e-3),
    "schedule": lambda: dict(learning_rate=schedule()),
    "function": lambda: dict(learning_rate=lambda: 0.01),
    "clipnorm": lambda: dict(clipnorm=2.0),
    "global_clipnorm": lambda: dict(global_clipnorm=2.0),
    "clipvalue": lambda: dict(clipvalue=0.3),
    "weight decay": lambda: dict(learning_rate=0.1, weight_decay=0.1),
    "moving average": lambda: dict(use_ema=True, ema_overwrite_frequency=7),
    "loss_scale_factor": lambda: dict(loss_scale_factor=8.0, global_clipnorm=1.0),
    "accumulation": lambda: dict(gradient_accumulation_steps=4, global_clipnorm=1.0),
}


@pytest.mark.parametrize("in_function", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_twenty_steps_are_those_of_adam(name, in_function):
    options = OPTIONS[name]()
    optimizer, stock = LSAdam(**options, name="a"), tf.keras.optimizers.Adam(**options, name="a")
    variables, expected = variables_of_keras(), variables_of_keras()
    for one, its in ((optimizer, variables), (stock, expected)):
        one.exclude_from_weight_decay(var_names=["bias", "^scalar"])
        one.build(its)
        train(one, its, sparse=False, in_function=in_function)
    assert_same(variables, expected)
    assert_same(optimizer.variables, stock.variables)
    assert [v.path for v in optimizer.variables] == [v.path for v in stock.variables]


def test_slices_of_the_same_index_add_up():
    optimizer, other = LSAdam(), LSAdam()
    variables, expected = variables_of_keras(), variables_of_keras()
    train(optimizer, variables, sparse=True, in_function=False)
    train(other, expected, sparse=False, in_function=False)
    assert_same(variables, expected)


def test_applies_all_gradients_by_one_operation():
    variables = variables_of_keras()
    optimizer = LSAdam(clipnorm=1.0, weight_decay=0.1)
    optimizer.build(variables)

    @tf.function
    def step():
        optimizer.apply_gradients(zip(make_gradients(0), variables))

    operations = [op.type for op in step.get_concrete_function().graph.get_operations()]
    assert operations.count("LSAdam") == 1
    assert sum("Assign" in name for name in operations) == 1, "the count of steps"


def fit(optimizer, **compile_options):
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [layers.Embedding(50, 8), layers.Dense(9, "relu"), layers.Dense(3, dtype="float32")]
    )
    model.compile(optimizer, "mse", jit_compile=False, **compile_options)
    rng = np.random.default_rng(0)
    # No index twice in a batch: Keras' own Adam would square such slices before they add up.
    x = np.concatenate([rng.permutation(50).reshape(10, 5) for _ in range(8)])
    y = rng.normal(size=(80, 5, 3))
    history = model.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0).history
    return history["loss"], model


def assert_same_fit(wrap=lambda optimizer: optimizer, tolerance=1e-5):
    options = dict(learning_rate=schedule(), clipvalue=0.1)
    losses, model = fit(wrap(LSAdam(**options)))
    expected, stock = fit(wrap(tf.keras.optimizers.Adam(**options)))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] != losses[0]
    assert_same(model.weights, stock.weights, tolerance)


def loss_scaled(optimizer):
    return tf.keras.optimizers.LossScaleOptimizer(
        optimizer, initial_scale=2.0**24, dynamic_growth_steps=3
    )


def test_fit():
    assert_same_fit()


def test_fit_with_a_loss_scale():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    assert_same_fit(loss_scaled, tolerance=1e-3)  # float16 rounds what differs by a bit


def test_fit_under_a_mirrored_strategy():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert_same_fit()


def test_fit_under_xla_is_refused():
    model = tf.keras.Sequential([tf.keras.layers.Dense(3)])
    model.compile(LSAdam(), "mse", jit_compile=True)
    with pytest.raises(NotImplementedError, match="jit_compile=False"):
        model.fit(np.ones([4, 5]), np.ones([4, 3]), verbose=0)


def test_a_saved_model_keeps_the_optimizer_and_its_state(tmp_path):
    _, model = fit(LSAdam(weight_decay=0.1))
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is LSAdam
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert_same(again.optimizer.variables, model.optimizer.variables)


def test_configurations_go_both_ways():
    options = dict(learning_rate=schedule(), beta_1=0.8, weight_decay=0.1, name="mine")
    stock = tf.keras.optimizers.Adam(**options)
    ours = LSAdam(**options)
    assert ours.get_config() == stock.get_config()
    assert LSAdam.from_config(stock.get_config()).get_config() == stock.get_config()


def test_amsgrad_is_refused():
    with pytest.raises(NotImplementedError, match="LSAdam cannot do this: it has no amsgrad"):
        LSAdam(amsgrad=True)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_variables_than_float32_are_refused(dtype):
    variable = tf.keras.Variable(tf.ones([3], dtype), dtype=dtype)
    with pytest.raises(NotImplementedError, match=f"must be float32, .* is {dtype}"):
        LSAdam().apply_gradients([(tf.ones([3], dtype), variable)])
