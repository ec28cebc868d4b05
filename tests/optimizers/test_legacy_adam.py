"""LSAdam on Keras 2 beside tf.keras.optimizers.legacy.Adam."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from training import assert_same, make_gradients, make_variables, train

from tf_ls.keras_version import KERAS_3
from tf_ls.optimizers import LSAdam

pytestmark = pytest.mark.skipif(KERAS_3, reason="this run has Keras 3")


def stock_adam(*args, **kwargs):
    return tf.keras.optimizers.legacy.Adam(*args, **kwargs)


def schedule():
    return tf.keras.optimizers.schedules.PolynomialDecay(0.1, 15, 0.01)


def clip_each(grads_and_vars):
    return [(tf.clip_by_norm(gradient, 2.0), variable) for gradient, variable in grads_and_vars]


OPTIONS = {
    "defaults": dict,
    "hyperparameters": lambda: dict(learning_rate=0.1, beta_1=0.8, beta_2=0.98, epsilon=1e-3),
    "no momentum": lambda: dict(beta_1=0.0),
    "decay": lambda: dict(learning_rate=0.1, decay=0.1),
    "schedule": lambda: dict(learning_rate=schedule()),
    "function": lambda: dict(learning_rate=lambda: 0.01),
    "clipnorm": lambda: dict(clipnorm=2.0),
    "global_clipnorm": lambda: dict(global_clipnorm=2.0),
    "clipvalue": lambda: dict(clipvalue=0.3),
    "clipvalue and clipnorm": lambda: dict(clipvalue=0.3, clipnorm=1.0),
    "clipvalue and global_clipnorm": lambda: dict(clipvalue=0.3, global_clipnorm=1.0),
    "transformers": lambda: dict(gradient_transformers=[clip_each]),
}


@pytest.mark.parametrize("in_function", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_twenty_steps_are_those_of_adam(name, in_function):
    optimizer, stock = LSAdam(**OPTIONS[name]()), stock_adam(**OPTIONS[name]())
    variables, expected = make_variables(), make_variables()
    train(optimizer, variables, in_function=in_function)
    train(stock, expected)
    assert_same(variables, expected)
    assert_same(optimizer.weights, stock.weights)
    assert optimizer.iterations == 20


def test_applies_all_gradients_by_one_operation():
    variables = make_variables()
    optimizer = LSAdam()

    @tf.function
    def step():
        optimizer.apply_gradients(zip(make_gradients(0), variables))

    operations = [op.type for op in step.get_concrete_function().graph.get_operations()]
    assert operations.count("LSAdam") == 1
    assert not any("Apply" in name or "Scatter" in name for name in operations)


def test_weight_decay_is_that_of_adamw():
    names = ["kernel", "bias", "scalar", "other_kernel", "embedding"]
    variables, expected = (
        [tf.Variable(v, name=n) for v, n in zip(make_variables(), names)] for _ in range(2)
    )
    optimizer = LSAdam(schedule(), weight_decay=0.1)
    optimizer.exclude_from_weight_decay(["bias", "^scalar"])
    stock = tf.keras.optimizers.AdamW(schedule(), weight_decay=0.1, jit_compile=False)
    stock.exclude_from_weight_decay(var_names=["bias", "^scalar"])
    train(optimizer, variables, sparse=False)
    train(stock, expected, sparse=False, in_function=False)
    assert_same(variables, expected)


@pytest.mark.parametrize("written_by", [LSAdam, stock_adam], ids=["LSAdam", "Adam"])
@pytest.mark.parametrize("goes_on_as", [LSAdam, stock_adam], ids=["LSAdam", "Adam"])
def test_checkpoints_in_the_middle_of_training(tmp_path, written_by, goes_on_as):
    expected = make_variables()
    stock = stock_adam(schedule())
    train(stock, expected, 20)

    variables = make_variables()
    optimizer = written_by(schedule())
    train(optimizer, variables, 10)
    path = tf.train.Checkpoint(optimizer=optimizer, variables=variables).save(tmp_path / "model")

    variables = [tf.Variable(tf.zeros_like(v)) for v in variables]
    optimizer = goes_on_as(schedule())
    status = tf.train.Checkpoint(optimizer=optimizer, variables=variables).restore(path)
    train(optimizer, variables, 10, first=10)
    status.assert_consumed()
    assert_same(variables, expected)
    assert optimizer.iterations == 20
    for slot in ("m", "v"):
        slots = [optimizer.get_slot(variable, slot) for variable in variables]
        assert_same(slots, [stock.get_slot(variable, slot) for variable in expected])


def test_configurations_go_both_ways():
    options = dict(learning_rate=schedule(), beta_1=0.8, epsilon=1e-3, clipnorm=1.0, name="mine")
    ours, stock = LSAdam(**options).get_config(), stock_adam(**options).get_config()
    assert ours == stock
    assert LSAdam.from_config(dict(stock)).get_config() == stock
    assert tf.keras.optimizers.legacy.Adam.from_config(dict(ours)).get_config() == ours


def test_its_own_configuration():
    optimizer = LSAdam(0.5, weight_decay=0.1)
    again = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    assert type(again) is LSAdam
    assert again.get_config() == optimizer.get_config()
    assert again.weight_decay == 0.1


def test_hyperparameters_may_be_changed_between_steps():
    optimizer, stock = LSAdam(0.1), stock_adam(0.1)
    variables, expected = make_variables(), make_variables()
    for one, its in ((optimizer, variables), (stock, expected)):
        train(one, its, 3)
        one.learning_rate = 0.5
        one.beta_1 = 0.5
        train(one, its, 3, first=3)
    assert_same(variables, expected)


def test_variables_without_gradient_stay():
    variables = make_variables()
    before = variables[1].numpy()
    gradients = make_gradients(0)
    gradients[1] = None
    LSAdam().apply_gradients(zip(gradients, variables))
    np.testing.assert_array_equal(variables[1], before)


def test_constraints():
    def train_constrained(optimizer):
        variable = tf.Variable([0.01, 3.0], constraint=tf.keras.constraints.NonNeg())
        other = tf.Variable([0.01])
        optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable), (tf.ones([1]), other)])
        return [variable, other]

    assert_same(train_constrained(LSAdam(0.1)), train_constrained(stock_adam(0.1)))


def test_constraint_and_sparse_gradient():
    variable = tf.Variable(tf.ones([50, 8]), constraint=tf.keras.constraints.NonNeg())
    with pytest.raises(RuntimeError, match="constraint"):
        LSAdam().apply_gradients([(make_gradients(0)[-1], variable)])


class Model:
    """A Keras model that looks rows up, and data for it."""

    def __init__(self, optimizer):
        tf.keras.utils.set_random_seed(1)
        layers = tf.keras.layers
        self.model = tf.keras.Sequential(
            [layers.Embedding(50, 8), layers.Dense(9, "relu"), layers.Dense(3, dtype="float32")]
        )
        self.optimizer = optimizer
        self.model.compile(optimizer, "mse")

    def fit(self):
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 50, (64, 5)), rng.normal(size=(64, 5, 3))
        return self.model.fit(x, y, 16, epochs=3, shuffle=False, verbose=0).history["loss"]


def fit(make):
    model = Model(make())
    return model.fit(), model.model.weights


def assert_same_fit(make, tolerance=1e-5):
    losses, weights = fit(lambda: make(LSAdam(schedule(), global_clipnorm=0.1)))
    expected, expected_weights = fit(lambda: make(stock_adam(schedule(), global_clipnorm=0.1)))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] != losses[0]
    assert_same(weights, expected_weights, tolerance)


def test_fit():
    assert_same_fit(lambda optimizer: optimizer)


# So large that the first steps overflow and the scale is halved.
def loss_scaled(optimizer):
    return tf.keras.mixed_precision.LossScaleOptimizer(
        optimizer, initial_scale=2.0**27, dynamic_growth_steps=3
    )


def test_fit_with_a_loss_scale():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    assert_same_fit(loss_scaled, tolerance=1e-3)  # float16 rounds what differs by a bit
    model = Model(loss_scaled(LSAdam()))
    model.fit()
    assert model.optimizer.loss_scale < 2.0**27, "there were steps to skip"


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize(
    "strategy",
    [
        lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
        lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
    ],
    ids=["mirrored", "one device"],
)
def test_fit_under_a_strategy(strategy, policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    make = loss_scaled if policy == "mixed_float16" else lambda optimizer: optimizer
    with strategy().scope():
        assert_same_fit(make, tolerance=1e-3 if policy == "mixed_float16" else 1e-5)


TWO_REPLICAS = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_legacy_adam
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    test_legacy_adam.assert_same_fit(test_legacy_adam.loss_scaled)
print("the same")
"""


def test_fit_on_two_replicas():
    path = ":".join(sys.path)
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}.split(':'){TWO_REPLICAS}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.endswith("the same\n"), result.stdout + result.stderr


def test_amsgrad_is_refused():
    with pytest.raises(NotImplementedError, match="LSAdam cannot do this: it has no amsgrad"):
        LSAdam(amsgrad=True)


def test_negative_weight_decay_is_refused():
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        LSAdam(weight_decay=-1)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_variables_than_float32_are_refused(dtype):
    variable = tf.Variable(tf.ones([3], dtype))
    with pytest.raises(NotImplementedError, match=f"must be float32, .* is {dtype}"):
        LSAdam().apply_gradients([(tf.ones([3], dtype), variable)])


def test_two_norms_are_refused():
    optimizer = LSAdam(clipnorm=1.0)
    optimizer.global_clipnorm = 1.0
    with pytest.raises(NotImplementedError, match="not by both"):
        train(optimizer, make_variables(), 1)


def test_xla_is_refused():
    variables, optimizer = make_variables(), LSAdam()
    optimizer.apply_gradients(zip(make_gradients(0), variables))

    @tf.function(jit_compile=True)
    def step():
        optimizer.apply_gradients(zip(make_gradients(0), variables))

    with pytest.raises(NotImplementedError, match="jit_compile=False"):
        step()
