"""What the trainer does differently on tf_ls: where batches are, and when its callbacks wait.

test_fused_models.py runs this file.
"""

import logging
import types

import neurst  # noqa: F401  mends; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
from neurst.exps import trainer
from neurst.tasks.language_model import LanguageModel
from neurst.tasks.multilingual_translation import MultilingualTranslation
from neurst.tasks.seq2seq import Seq2Seq
from neurst.training.callbacks import CentralizedCallback, MetricReductionCallback
from neurst.utils.compat import ModeKeys

from tf_ls.neurst import fuse
from tf_ls.neurst.callbacks import take_tensors
from tf_ls.neurst.eligibility import stock_only
from tf_ls.neurst.host_batches import keep_on_host

HALF = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [HALF, HALF])

EOS, BOS = 9, 8
SOURCE = np.array([[1, 2, EOS, EOS], [3, 4, 5, EOS]])
TARGET = np.array([[6, EOS, EOS], [7, 1, EOS]])
META = {"eos_id": EOS, "bos_id": BOS, "pad_id": EOS, "padding_mode": 2}


@pytest.fixture(autouse=True)
def fused():
    fuse.install()


def seq2seq():
    task = Seq2Seq.__new__(Seq2Seq)
    task._src_data_pipeline = task._trg_data_pipeline = types.SimpleNamespace(meta=META)
    task._target_begin_of_sentence = "bos"
    return task, {"feature": SOURCE, "label": TARGET}


def multilingual():
    task = MultilingualTranslation.__new__(MultilingualTranslation)
    task._multilingual_dp = types.SimpleNamespace(meta=META)
    task._trg_lang_tag_position, task._with_src_lang_tag = "src", True
    languages = {"src_lang": np.array([1, 1]), "trg_lang": np.array([2, 2])}
    return task, {"feature": SOURCE, "label": TARGET, **languages}


def language_model():
    task = LanguageModel.__new__(LanguageModel)
    task._data_pipeline = types.SimpleNamespace(meta=META)
    task._begin_of_sentence = "bos"
    return task, {"tokens": TARGET}


TASKS = pytest.mark.parametrize("make", [seq2seq, multilingual, language_model])


def tensors(batch):
    return {name: tf.constant(ids, tf.int64) for name, ids in batch.items()}


@TASKS
def test_inputs_are_computed_on_the_cpu_wherever_the_step_runs(make):
    task, batch = make()

    @tf.function
    def step(batch):
        with tf.device("/GPU:0"):  # as a strategy's replica has it
            return task.example_to_input(batch, ModeKeys.TRAIN)

    outputs = step.get_concrete_function(tensors(batch)).graph.structured_outputs
    computed = [x.op for x in tf.nest.flatten(outputs)]
    inner = [op.inputs[0].op if op.type == "Identity" else op for op in computed]
    made = [op for op in inner if op.type != "Placeholder"]
    assert len(made) >= 2
    assert all("CPU:0" in op.device for op in made)


@TASKS
@pytest.mark.parametrize("keras", [True, False])
def test_inputs_are_neursts(make, keras):
    task, batch = make()
    with stock_only("to compare"):
        expected = task.example_to_input(tensors(batch), ModeKeys.TRAIN)
    if keras:
        inputs = {n: tf.keras.Input(ids.shape[1:], dtype=tf.int64) for n, ids in batch.items()}
        outputs = task.example_to_input(inputs, ModeKeys.TRAIN)
        actual = tf.keras.Model(inputs, outputs)(tensors(batch))
    else:
        actual = task.example_to_input(tensors(batch), ModeKeys.TRAIN)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def test_batches_of_ids_stay_in_host_memory():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    dataset = tf.data.Dataset.from_tensor_slices({"feature": np.arange(8)}).batch(4)
    kept = keep_on_host(strategy, dataset)
    assert isinstance(kept, tf.distribute.DistributedDataset)
    found = [
        part.numpy().tolist()
        for batch in kept
        for part in strategy.experimental_local_results(batch["feature"])
    ]
    assert found == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_other_batches_go_where_keras_sends_them():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    features = tf.data.Dataset.from_tensor_slices(np.zeros([4, 2], np.float32)).batch(2)
    ids = tf.data.Dataset.range(4).batch(2)
    assert keep_on_host(strategy, features) is features
    assert keep_on_host(tf.distribute.get_strategy(), ids) is ids
    assert keep_on_host(strategy, None) is None


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("mirrored", [True, False])
def test_fit_takes_as_many_steps_as_without(mirrored, steps):
    strategy = tf.distribute.get_strategy()
    if mirrored:
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        ids = tf.keras.Input([], dtype=tf.int64)
        vectors = tf.keras.layers.Embedding(8, 4)(ids)
        model = trainer.GradAccumKerasModel({"ids": ids}, vectors)
        model.add_loss(tf.reduce_mean(vectors**2))
        model.compile("sgd")
    dataset = tf.data.Dataset.from_tensor_slices({"ids": np.arange(8)}).batch(2)
    model.fit(dataset.repeat() if steps else dataset, steps_per_epoch=steps, epochs=2, verbose=0)
    assert model.optimizer.iterations == 2 * (steps or 4)


class OfAUser(CentralizedCallback):
    """Which may look at numbers after each step."""


def test_callbacks_of_neurst_take_tensors(tmp_path):
    callbacks = [MetricReductionCallback(None, 2, str(tmp_path)), OfAUser()]
    take_tensors(callbacks)
    assert [callback._supports_tf_logs for callback in callbacks] == [True, False]
    take_tensors(None)


class Unread:
    """A number that is still being computed."""

    def numpy(self):
        raise AssertionError("a step waited for it")


def test_metrics_are_read_when_they_are_logged(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    callback = MetricReductionCallback(None, 2, str(tmp_path))
    for step, loss in ((1, Unread()), (2, tf.constant(1.5)), (3, Unread()), (4, tf.constant(0.25))):
        callback.custom_on_train_batch_begin(step)
        with caplog.at_level(logging.INFO):
            callback.custom_on_train_batch_end(step, {"loss": loss})
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("\t")[:2] for line in lines if "TrainingLoss" in line] == [
        ["Update 2", "TrainingLoss=1.50"],
        ["Update 4", "TrainingLoss=0.25"],
    ]
    assert not any("tf.Tensor" in line for line in lines)
