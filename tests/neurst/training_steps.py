"""Steps of NeurST's training: accumulated, clipped, partly frozen, averaged over workers.

test_training_steps.py runs this file. Expected values are computed here by hand, one gradient tape
a batch and plain arithmetic, and models are put together as neurst.exps.trainer does it.
"""

import itertools
import re
import sys
import types

import half_precision
import neurst  # noqa: F401  mends; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
from neurst.exps import trainer
from neurst.optimizers import build_optimizer
from neurst.training import training_utils

HALF = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [HALF, HALF])

WORDS, WIDTH = 11, 5
STRATEGIES = {
    "no strategy": tf.distribute.get_strategy,
    "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
}


def batches(count, sentences=3, length=4, seed=0):
    """Batches of word ids [sentences, length] with weights of tokens; the first word is frequent.

    Batches differ in their number of tokens.
    """
    generator = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        ids = generator.integers(0, WORDS, [sentences, length])
        ids[:, 0] = 1
        lengths = generator.integers(1, length + 1, [sentences, 1])
        result.append((ids.astype(np.int64), (np.arange(length) < lengths).astype(np.float32)))
    return result


def dataset(data):
    signature = (tf.TensorSpec([None, None], tf.int64), tf.TensorSpec([None, None], tf.float32))
    return tf.data.Dataset.from_generator(lambda: iter(data), output_signature=signature).map(
        lambda *inputs: (inputs,)  # as NeurST's map_data_for_keras
    )


def loss_of(logits, ids, weights):
    """The mean over tokens, as in NeurST's criterion. Weights above 1 make it so much larger."""
    logits = tf.cast(logits, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
    return tf.reduce_sum(losses * weights) / tf.reduce_sum(tf.minimum(weights, 1.0))


class Setup:
    """A training model with its parts, made as NeurST's trainer makes them."""

    def __init__(self, name="sgd", rate=0.5, strategy=None, workers=None, params=None, **flags):
        bounds = {"clipnorm": flags.get("clip_norm"), "clipvalue": flags.get("clip_value")}
        with (strategy or tf.distribute.get_strategy()).scope():
            params = {"learning_rate": rate, **(params or {})}
            optimizer = build_optimizer({"class": name, "params": params}, **bounds)
            self.embedding = tf.keras.layers.Embedding(WORDS, WIDTH, name="embedding")
            self.hidden = tf.keras.layers.Dense(WIDTH, "tanh", name="hidden")
            self.output = tf.keras.layers.Dense(WORDS, name="output")
            inputs = tf.keras.Input([None], dtype=tf.int64), tf.keras.Input([None])
            logits = self.logits(inputs[0])
            self.model = trainer.GradAccumKerasModel(inputs, logits, **flags)
            self.model.add_loss(loss_of(logits, *inputs))
            self.model.add_metric(tf.reduce_sum(inputs[1]), name="tokens")
            generator = np.random.default_rng(1)
            self.variables = [
                v for x in (self.embedding, self.hidden, self.output) for v in x.weights
            ]
            for variable in self.variables:
                variable.assign(generator.normal(size=variable.shape))
            finish = training_utils.handle_fp16_and_distributed_optimizer
            self.optimizer = finish(optimizer, None, workers)
            self.model.compile(self.optimizer)

    def logits(self, ids):
        return self.output(self.hidden(self.embedding(ids)))

    def fit(self, data, **options):
        return self.model.fit(dataset(data), verbose=0, **options)

    def values(self):
        return [variable.numpy().astype(np.float64) for variable in self.variables]

    def batch_gradients(self, ids, weights, scale=1.0):
        """By hand: what one batch gives, the loss multiplied by `scale` first."""
        with tf.GradientTape() as tape:
            loss = scale * loss_of(self.logits(ids), ids, weights)
        gradients = tape.gradient(loss, self.variables)
        return [tf.convert_to_tensor(g).numpy().astype(np.float64) / scale for g in gradients]

    def gradients(self, data):
        """By hand: the mean over `data` of the gradients of each batch."""
        return [np.mean(g, axis=0) for g in zip(*(self.batch_gradients(*batch) for batch in data))]


def assert_close(actual, expected, rtol=1e-5):
    for a, b in zip(actual, expected):
        assert np.linalg.norm(a - b) <= rtol * np.linalg.norm(b)


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return STRATEGIES[request.param]()


class TestUpdateCycle:
    def test_a_step_applies_the_mean_of_its_batches_gradients(self, strategy):
        setup, data = Setup(update_cycle=3, strategy=strategy), batches(6)
        for start in (0, 3):
            cycle = data[start : start + 3]
            before, gradients = setup.values(), setup.gradients(cycle)
            setup.fit(cycle, steps_per_epoch=1)
            expected = [value - 0.5 * gradient for value, gradient in zip(before, gradients)]
            assert_close(setup.values(), expected)

    def test_a_batch_cut_in_four_makes_the_step_of_the_whole_batch(self):
        # The loss is a mean over tokens: the parts must have the same number of them.
        parts = [(ids, np.ones_like(weights)) for ids, weights in batches(4)]
        whole = tuple(np.concatenate(x) for x in zip(*parts))
        cut_up, at_once = Setup("adam", 0.1, update_cycle=4), Setup("adam", 0.1)
        cut_up.fit(parts * 2, steps_per_epoch=2)
        at_once.fit([whole] * 2, steps_per_epoch=2)
        assert_close(cut_up.values(), at_once.values(), rtol=1e-4)  # Adam divides by small numbers

    def test_steps_are_counted_not_batches(self):
        setup, data = Setup("adam", update_cycle=3), batches(6)
        steps, tokens = [], []
        callback = tf.keras.callbacks.LambdaCallback(
            on_batch_end=lambda step, logs: (steps.append(step), tokens.append(logs["tokens"]))
        )
        rates = []

        class Schedule(tf.keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step):
                tf.py_function(lambda s: rates.append(int(s)), [step], [])
                return 0.1

        setup.optimizer._set_hyper("learning_rate", Schedule())
        setup.fit(data, steps_per_epoch=2, callbacks=[callback])
        assert steps == [0, 1]
        assert sorted(set(rates)) == [0, 1]
        assert setup.optimizer.iterations == 2
        # Metrics are of all batches; this one is a mean over them.
        expected = [np.mean([weights.sum() for _, weights in data[:n]]) for n in (3, 6)]
        np.testing.assert_allclose(tokens, expected, rtol=1e-6)

    def test_loss_in_the_log_is_the_mean_over_all_batches(self):
        setup, data = Setup(rate=0.0, update_cycle=3), batches(6)
        expected = np.mean([loss_of(setup.logits(ids), ids, weights) for ids, weights in data])
        logged = setup.fit(data, steps_per_epoch=2).history["loss"]
        np.testing.assert_allclose(logged, [expected], rtol=1e-5)

    def test_an_epoch_that_ends_within_a_step_loses_nothing(self):
        setup, data = Setup(update_cycle=3), batches(5)
        before, gradients = setup.values(), setup.gradients(data[:3])
        middle = [value - 0.5 * gradient for value, gradient in zip(before, gradients)]
        setup.fit(data)
        other = Setup()
        for variable, value in zip(other.variables, middle):
            variable.assign(value)
        rest = other.gradients(data[3:])
        assert_close(setup.values(), [value - 0.5 * g for value, g in zip(middle, rest)])
        assert setup.optimizer.iterations == 2

    def test_an_interrupted_step_leaves_nothing_behind(self):
        setup, data = Setup(update_cycle=3), batches(3)

        def broken():
            yield data[0]
            raise RuntimeError("the disk is full")

        with pytest.raises(Exception, match="the disk is full"):
            setup.model.fit(dataset(broken()), steps_per_epoch=1, verbose=0)
        before, gradients = setup.values(), setup.gradients(data)
        setup.fit(data, steps_per_epoch=1)
        assert_close(setup.values(), [value - 0.5 * g for value, g in zip(before, gradients)])

    def test_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(self, tmp_path):
        data = batches(8)
        straight = Setup("adam", 0.1, update_cycle=2)
        straight.fit(data, steps_per_epoch=4)
        first = Setup("adam", 0.1, update_cycle=2)
        first.fit(data[:4], steps_per_epoch=2)
        saved = tf.train.Checkpoint(model=first.model, optimizer=first.optimizer)
        path = saved.write(str(tmp_path / "checkpoint"))
        second = Setup("adam", 0.1, update_cycle=2)
        restored = tf.train.Checkpoint(model=second.model, optimizer=second.optimizer)
        restored.read(path)
        second.fit(data[4:], steps_per_epoch=2)
        assert_close(second.values(), straight.values())

    def test_sums_are_no_weights_and_made_only_if_needed(self):
        plain, accumulating = Setup("adam"), Setup("adam", update_cycle=2)
        for setup in (plain, accumulating):
            setup.fit(batches(2), steps_per_epoch=1)
        assert plain.model._accumulator is None
        assert len(plain.model.weights) == len(accumulating.model.weights)
        assert len(plain.optimizer.weights) == len(accumulating.optimizer.weights)

    def test_replicas_are_summed_up(self):
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        setup, data = Setup(update_cycle=2, strategy=strategy), batches(2, sentences=4)
        data = [(ids, np.ones_like(weights)) for ids, weights in data]  # alike on both replicas
        before, gradients = setup.values(), setup.gradients(data)
        setup.fit(data, steps_per_epoch=1)
        # Each replica has the mean over its half, and the loss is divided by their number.
        assert_close(setup.values(), [value - 0.5 * g for value, g in zip(before, gradients)])

    def test_one_batch_by_itself(self):
        setup, (batch,) = Setup(update_cycle=3), batches(1)
        before, gradients = setup.values(), setup.gradients([batch])
        setup.model.train_on_batch(batch)
        assert_close(setup.values(), [value - 0.5 * g for value, g in zip(before, gradients)])

    def test_eagerly(self):
        setup, data = Setup(update_cycle=2), batches(2)
        before, gradients = setup.values(), setup.gradients(data)
        setup.model.compile(setup.optimizer, run_eagerly=True)
        setup.fit(data, steps_per_epoch=1)
        assert_close(setup.values(), [value - 0.5 * g for value, g in zip(before, gradients)])


NORM = 0.6  # larger than the norm of some gradients, smaller than that of others


def clipped_by_norm(gradient, bound):
    return gradient * min(1.0, bound / np.linalg.norm(gradient))


@pytest.mark.parametrize("update_cycle", [1, 3])
class TestClipping:
    """The mean of a step's gradients is clipped, each variable's for itself."""

    def steps(self, update_cycle, strategy=None, **bound):
        setup = Setup(rate=1.0, update_cycle=update_cycle, strategy=strategy, **bound)
        data = batches(update_cycle)
        before, gradients = setup.values(), setup.gradients(data)
        setup.fit(data, steps_per_epoch=1)
        return [b - a for a, b in zip(setup.values(), before)], gradients

    def test_norm(self, update_cycle, strategy):
        applied, gradients = self.steps(update_cycle, strategy, clip_norm=NORM)
        norms = [np.linalg.norm(gradient) for gradient in gradients]
        assert min(norms) < NORM < max(norms)
        assert_close(applied, [clipped_by_norm(gradient, NORM) for gradient in gradients])

    def test_value(self, update_cycle):
        applied, gradients = self.steps(update_cycle, clip_value=0.03)
        assert all(np.abs(gradient).max() > 0.03 for gradient in gradients)
        assert_close(applied, [np.clip(gradient, -0.03, 0.03) for gradient in gradients])

    def test_value_goes_before_norm(self, update_cycle):
        applied, gradients = self.steps(update_cycle, clip_value=0.03, clip_norm=0.1)
        expected = [clipped_by_norm(np.clip(g, -0.03, 0.03), 0.1) for g in gradients]
        assert_close(applied, expected)

    def test_large_bounds_change_nothing(self, update_cycle):
        applied, gradients = self.steps(update_cycle, clip_value=1e3, clip_norm=1e3)
        assert_close(applied, gradients, rtol=1e-4)  # differences of rounded variables


def test_norm_of_all_variables_on_request_of_the_optimizer():
    setup, data = Setup(rate=1.0, params={"global_clipnorm": NORM}), batches(1)
    before, gradients = setup.values(), setup.gradients(data)
    setup.fit(data, steps_per_epoch=1)
    expected, _ = tf.clip_by_global_norm([tf.constant(g) for g in gradients], NORM)
    assert_close([b - a for a, b in zip(setup.values(), before)], expected)


@pytest.mark.parametrize("update_cycle", [1, 2])
def test_frozen_variables_alone_stay_as_they_are(update_cycle):
    setup = Setup("adam", update_cycle=update_cycle, freeze_variables="hidden/|emb.*ings")
    names = {v.name for v in setup.variables}
    frozen = {name for name in names if name.startswith(("hidden", "embedding"))}
    assert len(frozen) == 3
    assert {v.name for v in setup.model.trainable_variables} == names - frozen
    assert {v.name for v in setup.model.weights if v.name in names} == names
    before = setup.values()
    setup.fit(batches(4), steps_per_epoch=2)
    for variable, was, is_now in zip(setup.variables, before, setup.values()):
        assert np.array_equal(was, is_now) == (variable.name in frozen), variable.name
    # Nothing is kept for them either: Adam has two slots for each of the others, and a counter.
    assert len(setup.optimizer.weights) == 2 * len(names - frozen) + 1


def test_what_is_honoured_is_logged_once(caplog):
    with caplog.at_level("INFO"):
        Setup(update_cycle=2, clip_value=1.0, clip_norm=2.0, freeze_variables="hidden")
        Setup()
    (line,) = [r.getMessage() for r in caplog.records if "NeurST trains with" in r.getMessage()]
    for part in ("update_cycle=2", "clip_value=1", "clip_norm=2", "hidden (2 of 5)"):
        assert part in line


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *itertools.product(["update_cycle"], [0, -1, 2.5, "many", float("nan"), float("inf")]),
        *itertools.product(["clip_norm", "clip_value"], [0, 0.0, -1.0, float("nan"), float("inf")]),
        *itertools.product(["freeze_variables"], ["encoder", ".", "("]),
    ],
)
def test_bad_values_are_named(flag, value):
    # Keras refuses negative bounds itself, under its own names, before the model is made.
    pattern = f"{flag.replace('_', '_?')}.*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=pattern):
        Setup(**{flag: value})


def test_strings_and_none_are_taken_as_neurst_takes_them():
    assert Setup(update_cycle="2").model._update_cycle == 2
    assert Setup(update_cycle=None, freeze_variables="").model._update_cycle == 1


@pytest.fixture(name="float16")
def in_float16():
    with half_precision.float16():
        yield


@pytest.mark.usefixtures("float16")
class TestFloat16:
    def test_scaled_gradients_accumulate_and_clip_as_unscaled(self):
        setup, data = Setup(rate=1.0, update_cycle=3, clip_norm=NORM), batches(3)
        before, gradients = setup.values(), setup.gradients(data)
        setup.fit(data, steps_per_epoch=1)
        expected = [clipped_by_norm(gradient, NORM) for gradient in gradients]
        assert_close([b - a for a, b in zip(setup.values(), before)], expected, rtol=1e-2)

    @pytest.mark.parametrize(("strategy", "bad"), list(zip(STRATEGIES, [0, 2])))
    def test_an_overflow_in_any_batch_skips_the_step(self, strategy, bad):
        setup, data = Setup(update_cycle=3, strategy=STRATEGIES[strategy]()), batches(6)
        before, scale = setup.values(), float(setup.optimizer.loss_scale)
        data[bad] = (data[bad][0], data[bad][1] * np.float32(1e6))
        overflows = [
            not all(np.isfinite(g).all() for g in setup.batch_gradients(*batch, scale))
            for batch in data
        ]
        assert overflows == [i == bad for i in range(6)]
        setup.fit(data[:3], steps_per_epoch=1)
        assert all(np.array_equal(a, b) for a, b in zip(setup.values(), before))
        assert setup.optimizer.loss_scale == scale / 2
        # and nothing of it is in the next one
        gradients = setup.gradients(data[3:])
        setup.fit(data[3:], steps_per_epoch=1)
        expected = [0.5 * gradient for gradient in gradients]
        assert_close([b - a for a, b in zip(setup.values(), before)], expected, rtol=1e-2)


class FakeWorkers:
    """Stands for horovod.tensorflow and byteps.tensorflow: no communication takes place.

    There is one other worker, simulated: whatever this one has to average, that one has minus three
    times as much of it, so that the average is minus one time.
    """

    def __init__(self):
        self.averaged = []

    def size(self):
        return 2

    def average(self, tensor, *_, compression=None, **__):
        assert isinstance(tensor, tf.Tensor)
        tf.py_function(lambda t: self.averaged.append(tuple(t.shape)), [tensor], [])
        return (tensor + -3.0 * tensor) / 2.0

    def make_average_gradients(self, *_):
        return lambda gradients: [self.average(tf.convert_to_tensor(g)) for g in gradients]


@pytest.fixture(params=["horovod", "byteps"])
def workers(request, monkeypatch):
    fake, name = FakeWorkers(), request.param
    package, module, keras = (types.ModuleType(n) for n in (name, f"{name}.t", f"{name}.t.keras"))
    module.size = fake.size
    module.Average = "Average"
    module.Compression = types.SimpleNamespace(none=None, fp16=None)
    module._make_allreduce_grads_fn = fake.make_average_gradients
    setattr(module, {"horovod": "allreduce", "byteps": "push_pull"}[name], fake.average)
    package.tensorflow, module.keras = module, keras
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, f"{name}.tensorflow", module)
    monkeypatch.setitem(sys.modules, f"{name}.tensorflow.keras", keras)
    fake.name = name
    return fake


class TestWorkers:
    @pytest.mark.parametrize("update_cycle", [1, 3])
    def test_gradients_are_averaged_once_a_step_and_then_clipped(self, workers, update_cycle):
        setup = Setup(rate=1.0, workers=workers.name, update_cycle=update_cycle, clip_norm=NORM)
        data = batches(2 * update_cycle)
        for start in (0, update_cycle):
            cycle = data[start : start + update_cycle]
            before, gradients = setup.values(), setup.gradients(cycle)
            setup.fit(cycle, steps_per_epoch=1)
            expected = [clipped_by_norm(-gradient, NORM) for gradient in gradients]
            assert_close([b - a for a, b in zip(setup.values(), before)], expected)
        assert len(workers.averaged) == 2 * len(setup.variables)
        assert sorted(workers.averaged) == sorted(2 * [tuple(v.shape) for v in setup.variables])

    def test_float16(self, workers, float16):
        setup, data = Setup(rate=1.0, workers=workers.name, update_cycle=3), batches(3)
        before, gradients = setup.values(), setup.gradients(data)
        setup.fit(data, steps_per_epoch=1)
        expected = [-gradient for gradient in gradients]
        assert_close([b - a for a, b in zip(setup.values(), before)], expected, rtol=1e-2)
        assert len(workers.averaged) == len(setup.variables)

    def test_one_worker_has_nothing_to_average(self, workers, monkeypatch):
        monkeypatch.setattr(sys.modules[f"{workers.name}.tensorflow"], "size", lambda: 1)
        setup, data = Setup(workers=workers.name), batches(1)
        before, gradients = setup.values(), setup.gradients(data)
        setup.fit(data, steps_per_epoch=1)
        assert_close(setup.values(), [value - 0.5 * g for value, g in zip(before, gradients)])
        assert not workers.averaged
