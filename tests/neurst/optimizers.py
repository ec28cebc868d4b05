"""NeurST's optimizers after tf_ls was picked up. test_optimizers.py runs this file."""

import neurst  # noqa: F401  fuses; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
from neurst.optimizers import build_optimizer, controlling_optimizer
from neurst.sparsity.pruning_optimizer import create_pruning_optimizer
from neurst.sparsity.pruning_schedule import PolynomialDecay
from neurst.training.training_utils import handle_fp16_and_distributed_optimizer
from neurst.utils import compat
from neurst.utils.registry import REGISTRIES

from tf_ls.neurst import eligibility
from tf_ls.neurst.optimizers import Adam
from tf_ls.optimizers import LSAdam

STOCK = tf.keras.optimizers.legacy.Adam
PARAMS = {"epsilon": 1e-9, "beta_1": 0.9, "beta_2": 0.98}


@pytest.mark.parametrize("alias", ["Adam", "adam"])
def test_aliases_of_adam(alias):
    assert REGISTRIES["tf"]["optimizer"][alias] is Adam


@pytest.mark.parametrize("alias", ["LSAdam", "lsadam", "ls_adam"])
def test_aliases_of_its_own(alias):
    assert type(build_optimizer({"optimizer.class": alias})) is LSAdam


def test_other_optimizers_are_stock():
    assert REGISTRIES["tf"]["optimizer"]["sgd"] is tf.keras.optimizers.legacy.SGD


def test_name_and_configuration_are_those_of_adam():
    optimizer = build_optimizer(
        {"optimizer.class": "adam", "optimizer.params": dict(PARAMS)}, clipnorm=1.0, clipvalue=None
    )
    stock = STOCK(clipnorm=1.0, clipvalue=None, **PARAMS)
    assert type(optimizer).__name__ == "Adam"
    assert optimizer.get_config() == stock.get_config()
    assert STOCK.from_config(optimizer.get_config()).get_config() == stock.get_config()
    assert type(optimizer).from_config(stock.get_config()).get_config() == stock.get_config()
    assert optimizer._HAS_AGGREGATE_GRAD


def test_arguments_that_adam_does_not_have():
    with pytest.raises(TypeError, match="weight_decay"):
        Adam(weight_decay=0.1)
    assert LSAdam(weight_decay=0.1).weight_decay == 0.1


def train(optimizer, steps=20):
    """Variables after some steps on gradients that do not depend on them."""
    variables = [tf.Variable(tf.ones([5, 3])), tf.Variable(tf.ones([4]))]
    rng = np.random.default_rng(0)

    @tf.function
    def step(gradients, slices):
        sparse = tf.IndexedSlices(slices, tf.constant([4, 0, 4]), tf.constant([5, 3]))
        optimizer.apply_gradients(zip([sparse, gradients], variables))

    for _ in range(steps):
        step(*(tf.constant(rng.normal(size=s), tf.float32) for s in ([4], [3, 3])))
    return variables


def assert_like_stock(make, **options):
    """That what `make` makes of an optimizer trains alike, whichever optimizer it is."""
    for actual, expected in zip(train(make(Adam(**options))), train(make(STOCK(**options)))):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_learning_rate_schedule():
    def make(optimizer):
        schedule = tf.keras.optimizers.schedules.PolynomialDecay(0.1, 15, 0.01)
        return handle_fp16_and_distributed_optimizer(optimizer, schedule)

    assert_like_stock(make)
    assert isinstance(make(Adam()), Adam)


def test_controlled_optimizer():
    def make(optimizer):
        controlled = controlling_optimizer(
            optimizer, "rate_scheduled", {"warm_steps": 5, "freeze_steps": 12}
        )
        assert type(controlled).__name__ == "Adam"
        return controlled

    assert isinstance(make(Adam()), Adam)
    assert_like_stock(make, clipnorm=1.0, **PARAMS)


def test_pruning_optimizer():
    class Model:
        trainable_weights = ()

    def make(optimizer):
        schedule = PolynomialDecay(0.5, begin_pruning_step=0, end_pruning_step=100)
        return create_pruning_optimizer(optimizer, Model, schedule)

    assert isinstance(make(Adam()), Adam)
    assert_like_stock(make)


def test_float16_with_its_loss_scale(monkeypatch):
    monkeypatch.setattr(compat, "CUSTOM_GLOBAL_FLOATX", "float16")

    def make(optimizer):
        return handle_fp16_and_distributed_optimizer(optimizer, None)

    assert_like_stock(make)


def test_steps_with_infinite_gradients_are_skipped_under_float16(monkeypatch):
    monkeypatch.setattr(compat, "CUSTOM_GLOBAL_FLOATX", "float16")
    optimizer = handle_fp16_and_distributed_optimizer(Adam(), None)
    variable = tf.Variable([1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([np.inf, 1.0]), variable)])
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    assert optimizer.loss_scale == 2.0**14


def test_what_cannot_be_done_is_done_by_adam_and_said_once(monkeypatch):
    lines = []
    monkeypatch.setattr(eligibility, "_reported", set())
    monkeypatch.setattr(eligibility.logging, "info", lines.append)
    assert_like_stock(lambda optimizer: optimizer, amsgrad=True, global_clipnorm=1.0)
    assert lines == ["tf_ls: Adam runs as NeurST's own: it has no amsgrad."]
    variable = tf.Variable(tf.ones([3], tf.float64))
    Adam(0.1).apply_gradients([(tf.ones([3], tf.float64), variable)])
    np.testing.assert_allclose(variable, 0.9, rtol=1e-5)
    assert "must be float32" in lines[1]
    assert len(lines) == 2


def test_what_cannot_be_done_under_its_own_name_is_an_error():
    with pytest.raises(NotImplementedError, match="amsgrad"):
        build_optimizer({"optimizer.class": "ls_adam", "optimizer.params": {"amsgrad": True}})
