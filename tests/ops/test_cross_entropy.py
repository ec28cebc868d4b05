"""ops.cross_entropy and ops.projected_cross_entropy against the float64 reference."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ls import ops
from tf_ls.library import library
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS, random_batch, rounded
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import assert_close, relative_error

LENGTHS = [7, 0, 1, 5]


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels [B, L], of which those at padding are no words."""

    ids: np.ndarray
    weights: np.ndarray
    smoothing: float

    @staticmethod
    def random(real: np.ndarray, vocabulary: int, smoothing: float) -> "Labels":
        rng = np.random.default_rng(1)
        ids = np.where(real, rng.integers(0, vocabulary, real.shape), -1)
        weights = np.where(real, rng.uniform(0.5, 2.0, real.shape), 0.0)
        return Labels(ids, weights.astype(np.float32), smoothing)

    def arguments(self) -> tuple:
        return tf.constant(self.ids), tf.constant(self.weights), self.smoothing

    def loss(self, losses: tf.Tensor, nlls: tf.Tensor) -> tf.Tensor:
        """One number of all, to which each loss contributes something of its own."""
        factors = np.random.default_rng(2).normal(size=[2, *self.ids.shape])
        return tf.reduce_sum(tf.stack([losses, nlls]) * tf.constant(factors, losses.dtype))


def smallest_cross_entropy(vocabulary: int, smoothing: float) -> float:
    target = np.array([1.0 - smoothing] + (vocabulary - 1) * [smoothing / max(vocabulary - 1, 1)])
    return -float(np.sum(target[target > 0] * np.log(target[target > 0])))


def check(shape, vocabulary, *, dtype="float32", smoothing=0.1, real=None, scale=3.0):
    rng = np.random.default_rng(0)
    logits = rounded(scale * rng.normal(size=[*shape, vocabulary]), dtype)
    labels = Labels.random(np.ones(shape, bool) if real is None else real, vocabulary, smoothing)
    if real is not None:
        logits[~real] = np.nan  # must not be read

    argument = tf.constant(logits, dtype)
    with tf.GradientTape() as tape:
        tape.watch(argument)
        outputs = ops.cross_entropy(argument, *labels.arguments())
        loss = labels.loss(*outputs)
    gradient = tape.gradient(loss, argument)
    assert gradient.dtype == dtype

    exact = tf.constant(np.nan_to_num(logits), tf.float64)
    arguments = (labels.ids, labels.weights.astype(np.float64), smoothing)
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected_loss = labels.loss(*reference.cross_entropy_tf(exact, *arguments))
    # A loss is the cross entropy less its smallest value, and as exact as these two.
    smallest = (labels.weights * smallest_cross_entropy(vocabulary, smoothing), 0.0)
    expected_outputs = reference.cross_entropy(logits, *arguments)
    for actual, expected, offset in zip(outputs, expected_outputs, smallest):
        assert actual.dtype == tf.float32
        assert_close(actual.numpy() + offset, expected + offset, "float32")  # whatever the logits'
    assert_close(gradient, tape.gradient(expected_loss, exact), dtype, "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", [2, 7, 100, 8000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_gradients(dtype, vocabulary, smoothing):
    check((4, 7), vocabulary, dtype=dtype, smoothing=smoothing)


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_is_not_read(dtype):
    real = np.arange(7) < np.array(LENGTHS)[:, None]
    check((4, 7), 33, dtype=dtype, real=real)
    check((4, 7), 33, dtype=dtype, real=np.zeros([4, 7], bool))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_any_rank(shape):
    check(shape, 9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 100),
    vocabulary=st.integers(2, 5000),
    smoothing=st.floats(0.0, 0.75, width=32),
)
def test_random_shapes(rows, vocabulary, smoothing):
    check((rows,), vocabulary, smoothing=smoothing)


def test_a_vocabulary_of_one_word_is_never_wrong():
    logits = tf.constant([[3.0], [-7.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses, nlls = ops.cross_entropy(logits, tf.zeros([2], tf.int32), tf.ones([2]))
        loss = tf.reduce_sum(losses + nlls)
    np.testing.assert_array_equal(losses, [0.0, 0.0])
    np.testing.assert_array_equal(tape.gradient(loss, logits), [[0.0], [0.0]])


@pytest.mark.parametrize("shape", [(0, 5, 8), (3, 0, 8)])
def test_nothing(shape):
    logits = tf.zeros(shape)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = ops.cross_entropy(logits, tf.zeros(shape[:2], tf.int32), tf.ones(shape[:2]), 0.1)
        loss = tf.reduce_sum(losses.losses)
    assert losses.losses.shape == shape[:2]
    assert tape.gradient(loss, logits).shape == shape


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay_where_they_are(value, dtype):
    logits = np.zeros([3, 40], np.float32)
    logits[1, 17] = value
    logits = tf.constant(logits, dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses, nlls = ops.cross_entropy(logits, tf.zeros([3], tf.int32), tf.ones([3]), 0.1)
        loss = tf.reduce_sum(losses)
    gradient = tf.cast(tape.gradient(loss, logits), tf.float32).numpy()
    for result in (losses, nlls, gradient[:, 0]):
        np.testing.assert_array_equal(np.isnan(result), [False, True, False])


def test_gradient_of_infinite_losses_is_not_finite():
    logits, labels = tf.zeros([2, 3]), tf.zeros([2], tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(ops.cross_entropy(logits, labels, tf.constant([1.0, 0.0])).losses)
    gradient = tape.gradient(loss, logits, tf.constant(np.inf, tf.float32)).numpy()
    assert not np.isfinite(gradient[0]).any()
    np.testing.assert_array_equal(gradient[1], np.zeros(3))


def test_gradient_is_the_derivative():
    labels = tf.constant([1, 0, 4])

    def losses(logits):
        return ops.cross_entropy(logits, labels, tf.constant([1.0, 0.5, 2.0]), 0.1).losses

    logits = tf.constant(np.random.default_rng(0).normal(size=[3, 5]), tf.float32)
    theoretical, numerical = tf.test.compute_gradient(losses, [logits], delta=1e-2)
    assert relative_error(theoretical[0], numerical[0]) < 5e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_that_others_have_do_not_change(dtype):
    values = np.random.default_rng(0).normal(size=[4, 1000])
    labels = tf.zeros([4], tf.int32)

    def gradient_and(logits, use):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_sum(ops.cross_entropy(logits, labels, tf.ones([4]), 0.1).losses)
        gradient = tape.gradient(loss, logits)
        with tf.control_dependencies([gradient]):
            return gradient, use(logits)

    given_logits = tf.constant(values, dtype)
    before = given_logits.numpy().copy()
    expected, _ = gradient_and(given_logits, tf.identity)  # eagerly: the caller has them
    np.testing.assert_array_equal(given_logits, before)

    @tf.function
    def returned(factor):
        return gradient_and(tf.constant(values, dtype) * factor, tf.identity)

    @tf.function
    def summed(factor):
        return gradient_and(tf.constant(values, dtype) * factor, tf.reduce_sum)

    @tf.function
    def dropped(factor):
        return gradient_and(tf.constant(values, dtype) * factor, lambda _: tf.zeros([]))

    one = tf.constant(1.0, dtype)
    for function in (returned, summed, dropped):
        np.testing.assert_array_equal(function(one)[0], expected)
    np.testing.assert_array_equal(returned(one)[1], before)
    assert float(summed(one)[1]) == float(tf.reduce_sum(given_logits))


def test_static_shape():
    @tf.function(input_signature=[tf.TensorSpec([None, 3, None]), tf.TensorSpec(None, tf.int32)])
    def function(logits, labels):
        losses, nlls = ops.cross_entropy(logits, labels, tf.ones(tf.shape(labels)))
        assert losses.shape.as_list() == nlls.shape.as_list() == [None, 3]
        return losses

    function(tf.zeros([2, 3, 8]), tf.zeros([2, 3], tf.int32))


@pytest.mark.parametrize(
    ("logits", "labels", "weights"),
    [
        ([], [], []),
        ([2, 3, 8], [2, 4], [2, 4]),
        ([2, 3, 8], [3, 2], [3, 2]),
        ([2, 3, 8], [6], [6]),
        ([2, 3, 8], [2, 3], [3]),
        ([2, 3, 8], [2, 3], [2, 3, 1]),
        ([2, 0], [2], [2]),
    ],
    ids=str,
)
def test_bad_shape(logits, labels, weights):
    with pytest.raises(BadInput):
        ops.cross_entropy(tf.zeros(logits), tf.zeros(labels, tf.int32), tf.ones(weights))


@pytest.mark.parametrize("label", [-1, 8, 2**31 - 1, -(2**31)])
def test_label_outside_of_the_vocabulary(label):
    logits, weights = tf.zeros([2, 8]), tf.ones([2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"label 1 .*from 0 to 7.*got {label}"):
        ops.cross_entropy(logits, tf.constant([3, label]), weights)
    ops.cross_entropy(logits, tf.constant([3, label]), tf.constant([1.0, 0.0]))  # does not count


def test_label_outside_of_int32():
    with pytest.raises(tf.errors.InvalidArgumentError, match="got 4294967297"):
        ops.cross_entropy(tf.zeros([1, 8]), tf.constant([2**32 + 1]), tf.ones([1]))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_bad_smoothing(smoothing):
    with pytest.raises(BadInput, match=r"label_smoothing must be in \[0, 1\)"):
        ops.cross_entropy(tf.zeros([1, 8]), tf.constant([0]), tf.ones([1]), smoothing)


def test_one_word_cannot_be_smoothed():
    with pytest.raises(BadInput, match="label_smoothing must be 0 for a vocabulary of one word"):
        ops.cross_entropy(tf.zeros([1, 1]), tf.constant([0]), tf.ones([1]), 0.1)


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_bad_dtype(dtype):
    with pytest.raises(BadDtype):
        ops.cross_entropy(tf.zeros([2, 8], dtype), tf.constant([0, 0]), tf.ones([2]))


# From hidden states ------------------------------------------------------------------------------

HIDDEN = 24


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("summed", [True, False], ids=["summed", "single"])
def test_projected(dtype, kind, with_bias, summed):
    check_projected(dtype, kind, with_bias, summed)


@pytest.mark.parametrize("vocabulary", [2, 7, 8000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("summed", [True, False], ids=["summed", "single"])
def test_projected_on_any_vocabulary(vocabulary, smoothing, summed):
    check_projected("float32", "packed", True, summed, vocabulary, smoothing)


def check_projected(dtype, kind, with_bias, summed, vocabulary=50, smoothing=0.1):
    rng = np.random.default_rng(0)
    lengths = LENGTHS if kind == "packed" else [7] * 4  # a dense layout computes padding too
    batch = random_batch(rng, lengths, HIDDEN, kind=kind, dtype=dtype)
    labels = Labels.random(batch.real, vocabulary, smoothing)
    weights = rng.normal(size=[vocabulary, HIDDEN]).astype(np.float32)
    bias = [rng.normal(size=[vocabulary]).astype(np.float32)] if with_bias else []

    arguments = [tf.constant(batch.values, dtype), tf.constant(weights), *map(tf.constant, bias)]
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        outputs = ops.projected_cross_entropy(
            batch.to_rows(arguments[0], layout),
            layout,
            arguments[1],
            arguments[2] if with_bias else None,
            *labels.arguments(),
            summed=summed,
        )
        loss = 0.25 * outputs.losses if summed else labels.loss(*outputs)
    gradients = tape.gradient(loss, arguments)
    assert [g.dtype for g in gradients] == [a.dtype for a in arguments]

    exact = [tf.constant(a, tf.float64) for a in (batch.values, weights, *bias)]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        logits = tf.matmul(exact[0], exact[1], transpose_b=True)
        logits = logits + exact[2] if with_bias else logits
        targets = (labels.ids, labels.weights.astype(np.float64), smoothing)
        expected = reference.cross_entropy_tf(logits, *targets)
        if summed:
            expected = [tf.reduce_sum(losses) for losses in expected]
        expected_loss = 0.25 * expected[0] if summed else labels.loss(*expected)
    for actual, want in zip(outputs, expected):
        assert actual.dtype == tf.float32
        assert_close(actual, want, dtype)
    for name, actual, want in zip(["x", "w", "b"], gradients, tape.gradient(expected_loss, exact)):
        assert_close(actual, want, dtype, f"gradient of {name}")


class Sums:
    """Sums of the losses of random rows in one form or the other, and their arguments."""

    def __init__(self):
        batch = random_batch(np.random.default_rng(0), LENGTHS, HIDDEN)
        self._layout = batch.layout()
        self._labels = Labels.random(batch.real, 50, 0.1)
        rows = batch.to_rows(tf.constant(batch.values), self._layout)
        weights = tf.random.stateless_normal([50, HIDDEN], [1, 2])
        self.arguments = [rows, weights, tf.random.stateless_normal([50], [3, 4])]

    def __call__(self, summed=True):
        rows, weights, bias = self.arguments
        labels = self._labels.arguments()
        losses = ops.projected_cross_entropy(
            rows, self._layout, weights, bias, *labels, summed=summed
        )
        return ops.CrossEntropy(*map(tf.reduce_sum, losses))


@pytest.mark.parametrize("in_graph", [True, False])
@pytest.mark.parametrize(
    "objective",
    [
        lambda loss, rows: loss * 3.0 - tf.reduce_sum(rows**2),
        lambda loss, rows: -1e-8 * loss,
        lambda loss, rows: loss**2,
        lambda loss, rows: loss * tf.reduce_sum(rows[:3]),
        lambda loss, rows: 0.0 * loss,
    ],
    ids=["linear", "tiny", "squared", "product", "zero"],
)
def test_the_sum_may_be_a_part_of_any_objective(objective, in_graph):
    sums = Sums()

    def gradients(summed):
        with tf.GradientTape() as tape:
            tape.watch(sums.arguments)
            value = objective(sums(summed).losses, sums.arguments[0])
        return value, tape.gradient(value, sums.arguments)

    value, actual = (tf.function(gradients) if in_graph else gradients)(True)
    expected_value, expected = gradients(False)
    assert_close(value, expected_value, "float32")
    for name, one, other in zip(["x", "w", "b"], actual, expected):
        assert_close(one, other, "float32", f"gradient of {name}")


def test_sums_are_the_same_in_every_run():
    sums = Sums()
    first = [number.numpy() for number in sums()]
    for _ in range(3):
        assert [number.numpy() for number in sums()] == first


@pytest.mark.parametrize("in_graph", [True, False])
def test_summed_likelihoods_have_no_gradient(in_graph):
    sums = Sums()

    def gradient(use):
        with tf.GradientTape() as tape:
            tape.watch(sums.arguments)
            value = use(*sums())
        return tape.gradient(value, sums.arguments[0])

    if in_graph:
        gradient = tf.function(gradient, autograph=False)  # which would wrap the error
    for use in (lambda loss, nll: nll, lambda loss, nll: loss + nll):
        with pytest.raises(LookupError, match=r"nlls .*summed=True.* have no gradient"):
            gradient(use)
    expected = gradient(lambda loss, nll: loss)
    actual = gradient(lambda loss, nll: loss + tf.stop_gradient(nll))
    np.testing.assert_array_equal(actual, expected)


def test_a_function_may_return_both_sums():
    sums = Sums()

    @tf.function
    def both(rows):
        sums.arguments[0] = rows
        loss, nll = sums()
        return loss, tf.stop_gradient(nll)

    rows = sums.arguments[0]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss, _ = both(rows)
    assert np.isfinite(tape.gradient(loss, rows)).all()


def test_projected_is_the_cross_entropy_of_the_output_projection():
    """At positions that count but have no row, too."""
    batch = random_batch(np.random.default_rng(0), LENGTHS, HIDDEN)
    layout = batch.layout()
    rows = batch.to_rows(tf.constant(batch.values), layout)
    weights = tf.random.stateless_normal([50, HIDDEN], [1, 2])
    labels = Labels.random(np.ones([4, 7], bool), 50, 0.1)
    logits = ops.output_projection(rows, layout, weights, None, tf.constant([4, 7]))
    for actual, expected in zip(
        ops.projected_cross_entropy(rows, layout, weights, None, *labels.arguments()),
        ops.cross_entropy(logits, *labels.arguments()),
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 3)])
@pytest.mark.parametrize("summed", [True, False], ids=["summed", "single"])
def test_projected_nothing(shape, summed):
    batch = random_batch(np.random.default_rng(0), [0] * shape[0], HIDDEN, length=shape[1])
    arguments = [tf.constant(batch.values), tf.ones([5, HIDDEN]), tf.ones([5])]
    layout = batch.layout()
    labels = Labels.random(batch.real, 5, 0.1)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        rows = batch.to_rows(arguments[0], layout)
        losses, _ = ops.projected_cross_entropy(
            rows, layout, *arguments[1:], *labels.arguments(), summed=summed
        )
        loss = tf.reduce_sum(losses)
    np.testing.assert_array_equal(losses, np.zeros([] if summed else shape))
    for argument, gradient in zip(arguments, tape.gradient(loss, arguments)):
        np.testing.assert_array_equal(gradient, np.zeros(argument.shape))


@pytest.mark.parametrize("factor", [np.inf, np.nan])
@pytest.mark.parametrize("summed", [True, False], ids=["summed", "single"])
def test_projected_gradient_of_infinite_losses_is_not_finite(factor, summed):
    batch = random_batch(np.random.default_rng(0), [3, 2], HIDDEN)
    layout = batch.layout()
    rows = batch.to_rows(tf.constant(batch.values), layout)
    labels = Labels.random(batch.real, 5, 0.1)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        losses, _ = ops.projected_cross_entropy(
            rows, layout, tf.ones([5, HIDDEN]), None, *labels.arguments(), summed=summed
        )
        loss = tf.reduce_sum(losses)
    gradient = tape.gradient(loss, rows, tf.constant(factor, tf.float32)).numpy()
    assert not np.isfinite(gradient[:5]).any()
    if not summed:
        np.testing.assert_array_equal(gradient[5:], np.zeros([59, HIDDEN]))


def call(
    *,
    x=(64, 8),
    indices=None,
    weights=(5, 8),
    bias=(5,),
    labels=(2, 3),
    label_weights=None,
    summed=False,
):
    (layout,) = ops.pack_layouts([tf.zeros([2, 3])])
    if indices is not None:
        layout = layout._replace(indices=tf.constant([*indices, *[-1] * (64 - len(indices))]))
    return ops.projected_cross_entropy(
        tf.zeros(x),
        layout,
        tf.zeros(weights),
        tf.zeros(bias),
        tf.zeros(labels, tf.int32),
        tf.ones(label_weights or labels),
        0.1,
        summed=summed,
    )


def test_good_input_is_good():
    assert call().losses.shape == [2, 3]
    assert call(indices=[5, 0]).losses.shape == [2, 3]
    assert call(indices=[5, 0], summed=True).losses.shape == []


@pytest.mark.parametrize(
    "change",
    [
        {"x": (64,)},
        {"x": (64, 9)},
        {"x": (128, 8)},
        {"weights": (5,)},
        {"weights": (5, 9)},
        {"weights": (1, 5, 8)},
        {"weights": (0, 8), "bias": (0,)},
        {"bias": (6,)},
        {"bias": (1, 5)},
        {"labels": (2, 2)},
        {"label_weights": (3, 2)},
        {"indices": [6]},
        {"indices": [-2]},
        {"indices": [3, 3]},
    ],
    ids=str,
)
@pytest.mark.parametrize("summed", [True, False], ids=["summed", "single"])
def test_projected_bad_input(change, summed):
    with pytest.raises(BadInput):
        call(**change, summed=summed)


def kept_gradient():
    """What the summed form keeps for x [3, 8], weights [5, 8] and a bias."""
    return library.ops.ls_projected_cross_entropy_sum(
        x=tf.zeros([3, 8]),
        indices=tf.range(3),
        weights=tf.zeros([5, 8]),
        bias=[tf.zeros([5])],
        labels=tf.zeros([3], tf.int64),
        label_weights=tf.ones([3]),
    ).reserve


def scale_kept_gradient(*, dloss=(), x=(3, 8), weights=(5, 8), bias=(5,), reserve=tf.identity):
    """The gradient operation of the summed form, as nobody calls it by hand."""
    return library.ops.ls_projected_cross_entropy_sum_grad(
        dloss=tf.ones(dloss),
        x=tf.zeros(x),
        weights=tf.zeros(weights),
        bias=[tf.zeros(shape) for shape in ([bias] if isinstance(bias, tuple) else bias)],
        reserve=reserve(kept_gradient()),
    )


def test_kept_gradient_is_shaped_as_its_arguments():
    dx, dweights, (dbias,) = scale_kept_gradient()
    assert [dx.shape, dweights.shape, dbias.shape] == [[3, 8], [5, 8], [5]]


@pytest.mark.parametrize(
    "change",
    [
        {"dloss": (1,)},
        {"dloss": (2, 3)},
        {"x": (24,)},
        {"x": (3, 9)},
        {"weights": (40,)},
        {"weights": (5, 9)},
        {"bias": (6,)},
        {"bias": (1, 5)},
        {"bias": [(5,), (5,)]},
        {"reserve": lambda kept: kept[:0]},
        {"reserve": lambda kept: kept[:-1]},
        {"reserve": lambda kept: tf.concat([kept, kept], axis=0)},
        {"reserve": lambda kept: kept[tf.newaxis]},
        {"x": (100, 8)},
        {"weights": (6, 8), "bias": []},
    ],
)
def test_bad_kept_gradient(change):
    with pytest.raises(BadInput):
        scale_kept_gradient(**change)


def test_kept_gradient_of_another_size():
    size = kept_gradient().shape[0]
    with pytest.raises(BadInput, match=rf"reserve .*\[{size}\].*\[{size - 1}\]"):
        scale_kept_gradient(reserve=lambda kept: kept[1:])


def test_projected_label_outside_of_the_vocabulary():
    (layout,) = ops.pack_layouts([tf.zeros([1, 2])])
    arguments = (tf.zeros([64, 8]), layout, tf.zeros([5, 8]), None, tf.constant([[0, 5]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"label 1 .*from 0 to 4.*got 5"):
        ops.projected_cross_entropy(*arguments, tf.ones([1, 2]))
    ops.projected_cross_entropy(*arguments, tf.constant([[1.0, 0.0]]))
