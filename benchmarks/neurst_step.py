"""A training step of NeurST's Transformer as NeurST's trainer takes it, without the trainer.

Importing this mends what NeurST misses in newer TensorFlow, so it comes before TensorFlow.
"""

from __future__ import annotations

import types

from neurst_model import make_transformer, vocabulary  # isort: skip  before TensorFlow
import tensorflow as tf
from neurst.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropy
from neurst.optimizers import build_optimizer
from neurst.tasks.translation import Translation
from neurst.training import training_utils
from neurst.utils.compat import ModeKeys

IDS = tf.TensorSpec([None, None], tf.int64)


class _Task(Translation):
    """What a task computes of a batch, without its data."""

    def __init__(self, meta: dict):
        self._src_data_pipeline = self._trg_data_pipeline = types.SimpleNamespace(meta=meta)
        self._target_begin_of_sentence = "bos"


class NeurSTStep:
    """Calling it with ids of source and target, int64 [sentences, length], takes a step.

    It returns the loss, the mean over tokens. float16 means NeurST's default: mixed precision, the
    loss scaled dynamically.

    Args:
        hparams_set: the name of NeurST's hyperparameters.
        vocab_size: of both sides.
        dtype: NeurST's --dtype.
        xla: NeurST's --enable_xla.
        any_shape: whether one graph takes batches of any shape, as in NeurST's trainer, or every
            shape gets a graph of its own.
    """

    def __init__(
        self,
        hparams_set: str,
        vocab_size: int,
        dtype: str = "float32",
        xla: bool = False,
        any_shape: bool = True,
    ):
        training_utils.startup_env(dtype=dtype, enable_xla=xla)
        tf.random.set_seed(1)
        meta = vocabulary(vocab_size)
        self._task = _Task(meta)
        self._model = make_transformer(hparams_set, meta)
        self._criterion = LabelSmoothedCrossEntropy({"label_smoothing": 0.1})
        self._criterion.set_model(self._model)
        params = {"learning_rate": 1e-4, "beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9}
        adam = build_optimizer({"class": "adam", "params": params})
        self._optimizer = training_utils.handle_fp16_and_distributed_optimizer(adam, None)
        self._step = tf.function(self._take, input_signature=[IDS, IDS] if any_shape else None)

    def __call__(self, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        return self._step(source, target)

    def is_fused(self, source: tf.Tensor, target: tf.Tensor) -> bool:
        """Whether the graph for these inputs has tf_ls' operations in it."""
        graph = self._step.get_concrete_function(source, target).graph
        return any(op.type == "LSEncoderLayer" for op in graph.get_operations())

    def _take(self, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        batch = {"feature": source, "label": target}
        inputs = self._task.example_to_input(batch, ModeKeys.TRAIN)
        with tf.GradientTape() as tape:
            loss = self._criterion.reduce_loss(inputs, self._model(inputs, is_training=True))
        self._optimizer.minimize(loss, self._model.trainable_variables, tape=tape)
        return loss
