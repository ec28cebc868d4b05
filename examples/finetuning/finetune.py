"""What the examples share: batches, training, prediction, and a comparison with stock layers."""

import argparse
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf
from transformers.modeling_tf_utils import keras

import tf_ls

UNCOUNTED = -100  # the label of what has none


class Example(NamedTuple):
    """A sentence as a model takes it."""

    ids: Sequence[int]
    labels: Sequence[int]  # one, or one for each id, UNCOUNTED where there is none


class Batch(NamedTuple):
    ids: np.ndarray  # int32 [B, L], 0 at padding
    mask: np.ndarray  # int32 [B, L], 0 at padding
    labels: np.ndarray  # int32 [B, L] or [B, 1], UNCOUNTED at padding


def make_batch(examples: Sequence[Example]) -> Batch:
    def padded(rows: list[Sequence[int]], filler: int) -> np.ndarray:
        length = max(map(len, rows))
        return np.array([[*row, *[filler] * (length - len(row))] for row in rows], np.int32)

    ids = [example.ids for example in examples]
    return Batch(
        padded(ids, 0),
        padded([[1] * len(row) for row in ids], 0),
        padded([example.labels for example in examples], UNCOUNTED),
    )


def shuffled_batches(examples: Sequence[Example], size: int, seed: int = 0) -> Iterator[Batch]:
    """Batches of random sentences, for ever: every sentence once in each epoch."""
    order = list(examples)
    for epoch in itertools.count():
        random.Random(seed + epoch).shuffle(order)
        for start in range(0, len(order), size):
            yield make_batch(order[start : start + size])


def logits_of(model: Any, ids: tf.Tensor, mask: tf.Tensor, training: bool) -> tf.Tensor:
    """[B, L, classes], or [B, 1, classes] of a model that classifies sentences."""
    logits = model(input_ids=ids, attention_mask=mask, training=training).logits
    return logits if logits.shape.rank == 3 else logits[:, tf.newaxis]


def make_step(model: Any, optimizer: Any) -> Callable[..., tf.Tensor]:
    """A function of a batch's tensors that trains on it and returns the mean loss of its labels."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3)
    def step(ids: tf.Tensor, mask: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss, count = _loss(logits_of(model, ids, mask, training=True), labels)
            loss /= tf.cast(count, loss.dtype)
        gradients = tape.gradient(loss, model.trainable_variables)
        pairs = zip(gradients, model.trainable_variables)
        optimizer.apply_gradients([pair for pair in pairs if pair[0] is not None])
        return loss

    return step


def _loss(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The sum of the losses of labels, and how many labels there are."""
    counted = tf.not_equal(labels, UNCOUNTED)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.where(counted, labels, 0), tf.cast(logits, tf.float32)
    )
    return tf.reduce_sum(tf.where(counted, losses, 0)), tf.math.count_nonzero(counted)


def fit(
    model: Any, examples: Sequence[Example], *, steps: int, batch_size: int, learning_rate: float
) -> None:
    """Trains with Adam and a learning rate that falls to 0, and prints how it goes."""
    schedule = keras.optimizers.schedules.PolynomialDecay(learning_rate, steps, 0.0)
    step = make_step(model, keras.optimizers.Adam(schedule))
    losses = []
    began = time.perf_counter()
    for number, batch in enumerate(shuffled_batches(examples, batch_size), 1):
        losses.append(float(step(*batch)))
        if number == 1:
            began = time.perf_counter()  # the first step traces the function
        elif number % max(1, steps // 20) == 0:
            seconds = (time.perf_counter() - began) / (number - 1)
            print(
                f"step {number} of {steps}: loss {np.mean(losses[-50:]):.4f}, {seconds:.3f} s a"
                f" step, {seconds * (steps - number):.0f} s left",
                flush=True,
            )
        if number == steps:
            return


def add_training_arguments(
    parser: argparse.ArgumentParser, *, steps: int, batch_size: int, learning_rate: float
) -> None:
    """Adds the flags that `train` reads, with an example's defaults."""
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--compare", action="store_true", help="time a stock step beside ours")


def train(
    make_model: Callable[[], Any], examples: Sequence[Example], arguments: argparse.Namespace
) -> Any:
    """Returns a trained model, accelerated; compares first if the arguments say so."""
    if arguments.compare:
        compare(make_model, examples, arguments.batch_size)
    model = tf_ls.accelerate(make_model())
    fit(
        model,
        examples,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
    )
    return model


def make_predict(model: Any) -> Callable[[Batch], np.ndarray]:
    """A function of a batch that returns its most likely classes, [B, L] or [B, 1]."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2)
    def classes(ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return tf.argmax(logits_of(model, ids, mask, training=False), axis=-1)

    return lambda batch: classes(batch.ids, batch.mask).numpy()


def mean_loss(model: Any, examples: Sequence[Example], batch_size: int) -> float:
    """The mean loss of all labels, without dropout."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3)
    def loss_and_count(ids: tf.Tensor, mask: tf.Tensor, labels: tf.Tensor) -> Any:
        return _loss(logits_of(model, ids, mask, training=False), labels)

    total = count = 0.0
    for start in range(0, len(examples), batch_size):
        loss, labels = loss_and_count(*make_batch(examples[start : start + batch_size]))
        total, count = total + float(loss), count + float(labels)
    return total / count


def compare(make_model: Callable[[], Any], examples: Sequence[Example], batch_size: int) -> None:
    """Prints the seconds of a step with transformers' own layers and with fused ones.

    The same batches, steps of one and the other in turn; the median of each.
    """
    rounds = 8
    step_of = {
        "transformers' layers": make_step(make_model(), keras.optimizers.Adam(0.0)),
        "tf_ls": make_step(tf_ls.accelerate(make_model()), keras.optimizers.Adam(0.0)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in step_of}
    for batch in itertools.islice(shuffled_batches(examples, batch_size), rounds + 1):
        for name, step in step_of.items():
            began = time.perf_counter()
            float(step(*batch))
            seconds[name].append(time.perf_counter() - began)
    stock, fused = (float(np.median(times[1:])) for times in seconds.values())
    print(
        f"a training step: {stock:.3f} s with transformers' layers, {fused:.3f} s with tf_ls,"
        f" {stock / fused:.2f} times as fast",
        flush=True,
    )
