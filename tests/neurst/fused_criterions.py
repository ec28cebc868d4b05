"""NeurST's criterions, fused against stock: everything they return, in training and evaluation.

test_fused_models.py runs this file.
"""

import numpy as np
import pytest
import small_models  # fuses NeurST; before TensorFlow
import tensorflow as tf
from half_precision import float16
from neurst.criterions import build_criterion
from neurst.criterions.joint_criterion import JointCriterion
from neurst.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropy
from neurst.criterions.label_smoothed_cross_entropy_with_kd import LabelSmoothedCrossEntropyWithKd
from small_models import TARGET_LENGTHS, VOCABULARY, ids, relative_error, stock

SHAPE = (4, 6)
PADDING = 1.0 - tf.sequence_mask(TARGET_LENGTHS, SHAPE[1], tf.float32)
MASK = tf.constant([[1, 0, 1, 1, 1, 1]] * 4)

INPUTS = {
    "trg_length": {"trg_length": tf.constant(TARGET_LENGTHS)},
    "trg_padding": {"trg_padding": PADDING},
    "length": {"length": tf.constant(TARGET_LENGTHS, tf.int64)},
    "padding": {"padding": tf.cast(PADDING, tf.int32)},
    "mask": {"trg_length": tf.constant(TARGET_LENGTHS), "mask": MASK},
    "padding goes before length": {"trg_padding": PADDING, "trg_length": tf.constant([6] * 4)},
}


def make(label_smoothing=0.1):
    return LabelSmoothedCrossEntropy({"label_smoothing": label_smoothing})


def logits(dtype="float32"):
    values = 3.0 * np.random.default_rng(0).normal(size=[*SHAPE, VOCABULARY])
    return tf.constant(values, dtype)


def assert_same(actual, expected, tolerance=1e-6):
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected):
        one, other = tf.convert_to_tensor(one), tf.convert_to_tensor(other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert relative_error(one, other) < tolerance


def loss_gradient_and_outputs(criterion, inputs, values):
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = criterion.reduce_loss(inputs, values)
    return loss, tape.gradient(loss, values), criterion(inputs, {"logits": values})


def metrics(criterion, outputs):
    samples = [list(sample.values()) for sample in criterion.reduce_sample_metrics(outputs)]
    return criterion.reduce_metrics([outputs, outputs]), samples


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_on_given_logits(name, label_smoothing):
    criterion, inputs = make(label_smoothing), {"trg": ids(*SHAPE), **INPUTS[name]}
    actual = loss_gradient_and_outputs(criterion, inputs, logits())
    with stock():
        expected = loss_gradient_and_outputs(criterion, inputs, logits())
    assert_same(actual, expected)
    # A perplexity is an exponential of a loss of ten or more.
    assert_same(metrics(criterion, actual[-1]), metrics(criterion, expected[-1]), 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_on_half_precision_logits(dtype):
    criterion, inputs = make(), {"trg": ids(*SHAPE), **INPUTS["trg_length"]}
    outputs = criterion(inputs, logits(dtype))
    with stock():
        assert_same(outputs, criterion(inputs, logits(dtype)))


# With a model ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return small_models.translation_model()


def loss_and_gradients(model, criterion, inputs):
    """As a training step computes them, and the types of operations it is made of."""

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = criterion.reduce_loss(dict(inputs), model(dict(inputs), is_training=True))
        return loss, tape.gradient(loss, model.trainable_variables)

    return step(), {op.type: op for op in step.get_concrete_function().graph.get_operations()}


@pytest.mark.parametrize("name", small_models.MODELS)
def test_training_step(name):
    make_model, make_inputs = small_models.MODELS[name]
    model, inputs, criterion = make_model(), make_inputs(), make()
    (loss, gradients), operations = loss_and_gradients(model, criterion, inputs)
    with stock():
        (expected, expected_gradients), stock_operations = loss_and_gradients(
            model, criterion, inputs
        )
    assert_same(loss, expected)
    for variable, gradient, wanted in zip(model.trainable_variables, gradients, expected_gradients):
        if wanted is None:
            assert gradient is None
        else:
            assert relative_error(gradient, wanted) < 1e-4, variable.name
    if name == "CTNMT":  # whose encoder is not packed
        assert "LSCrossEntropy" in operations
    else:
        assert "LSProjectedCrossEntropySum" in operations
        assert "LSProjectedCrossEntropy" not in operations
    assert "SoftmaxCrossEntropyWithLogits" in stock_operations
    assert "SoftmaxCrossEntropyWithLogits" not in operations


def test_without_packed_rows_it_takes_the_logits(model):
    inputs = small_models.translation_inputs()
    criterion = make()

    @tf.function
    def run(through):
        return criterion(inputs, through(model(dict(inputs), is_training=False)))

    def types():
        concrete = run.get_concrete_function(other)
        return {op.type for op in concrete.graph.get_operations()}

    expected = run(tf.identity)
    for other in (lambda x: x + 0.0, tf.stop_gradient):
        assert_same(run(other), expected)
        assert "LSCrossEntropy" in types()
        assert "LSProjectedCrossEntropy" not in types()
    assert_same(criterion(inputs, model(dict(inputs), is_training=False)), expected)  # eagerly


def keras_inputs():
    inputs = small_models.translation_inputs()
    symbols = {k: tf.keras.Input(v.shape[1:], dtype=v.dtype, name=k) for k, v in inputs.items()}
    return symbols, {k: tf.convert_to_tensor(v) for k, v in inputs.items()}


def predictions(model, criterion):
    """What NeurST's CriterionValidator and Evaluator make of a batch."""
    symbols, values = keras_inputs()
    outputs = criterion(dict(symbols), model(dict(symbols), is_training=False))
    predict = tf.keras.Model(symbols, outputs).make_predict_function()
    return criterion.reduce_metrics(
        [predict(iter(tf.data.Dataset.from_tensors((values,)).repeat(2)))]
    )


def test_evaluation(model):
    metrics = predictions(model, make())
    with stock():
        assert_same(metrics, predictions(model, make()))


def fitted_losses(model, criterion):
    """The losses of three epochs as NeurST's Trainer trains; the variables stay as they are."""
    before = model.get_weights()
    symbols, values = keras_inputs()
    output = model(dict(symbols), is_training=True)
    keras_model = tf.keras.Model(symbols, output)
    loss = criterion.reduce_loss(dict(symbols), output)
    for part in loss.values() if isinstance(loss, dict) else [loss]:
        keras_model.add_loss(part)
    keras_model.compile(tf.keras.optimizers.SGD(0.1))
    data = tf.data.Dataset.from_tensors((values,))
    losses = keras_model.fit(data, epochs=3, verbose=0).history["loss"]
    model.set_weights(before)
    return losses


def test_fit(model):
    losses = fitted_losses(model, make())
    assert losses[-1] < losses[0]
    with stock():
        np.testing.assert_allclose(losses, fitted_losses(model, make()), rtol=1e-5)


def test_fit_of_a_joint_criterion(model):
    def criterion():
        part = {"criterion.class": "label_smoothed_cross_entropy"}
        settings = [
            {**part, "criterion.params": {"label_smoothing": smoothing}, "alpha": alpha}
            for smoothing, alpha in ((0.1, 0.7), (0.0, 0.3))
        ]
        return JointCriterion({"criterions": settings})

    losses, metrics = fitted_losses(model, criterion()), predictions(model, criterion())
    with stock():
        np.testing.assert_allclose(losses, fitted_losses(model, criterion()), rtol=1e-5)
        assert_same(metrics, predictions(model, criterion()))


def test_with_knowledge_distillation():
    criterion = LabelSmoothedCrossEntropyWithKd({"label_smoothing": 0.1, "kd_weight": 0.3})
    rng = np.random.default_rng(0)
    inputs = small_models.translation_inputs()
    hidden = [tf.constant(rng.normal(size=[4, 7, 5]), tf.float32) for _ in range(2)]

    def loss_and_outputs():
        outputs = dict(zip(("teacher_hidden_states", "student_hidden_states"), hidden))
        outputs["logits"] = logits()
        return criterion.reduce_loss(inputs, outputs), criterion(inputs, outputs)

    actual = loss_and_outputs()
    with stock():
        assert_same(actual, loss_and_outputs())


class Bounded(LabelSmoothedCrossEntropy):
    """A user's: no sentence's loss counts for more than 9."""

    def __call__(self, model_inp, model_out):
        nll_sum, n_samples, n_tokens = super().__call__(model_inp, model_out)
        assert nll_sum.shape.rank == 1
        return tf.minimum(nll_sum, 9.0), n_samples, n_tokens


class MeanOfSentences(LabelSmoothedCrossEntropy):
    def reduce_loss(self, model_inp, model_out):
        nll_sum, _, n_tokens = self(model_inp, model_out)
        assert nll_sum.shape.rank == 1
        return tf.reduce_mean(nll_sum / n_tokens)


class OfAnother(LabelSmoothedCrossEntropy):
    """Calls a criterion of NeurST's own while its own reduce_loss runs."""

    def __call__(self, model_inp, model_out):
        nll_sum, n_samples, n_tokens = make(0.3)(model_inp, model_out)
        assert nll_sum.shape.rank == 1
        return tf.sqrt(nll_sum), n_samples, n_tokens


class Doubled(LabelSmoothedCrossEntropy):
    def reduce_loss(self, model_inp, model_out):
        return 2.0 * super().reduce_loss(model_inp, model_out)


@pytest.mark.parametrize(
    ("criterion", "operation"),
    [
        (Bounded, "LSProjectedCrossEntropy"),
        (MeanOfSentences, "LSProjectedCrossEntropy"),
        (OfAnother, "LSProjectedCrossEntropy"),
        (Doubled, "LSProjectedCrossEntropySum"),
    ],
)
def test_subclasses_get_what_neurst_gives_them(model, criterion, operation):
    criterion, inputs = criterion({"label_smoothing": 0.1}), small_models.translation_inputs()
    (loss, gradients), operations = loss_and_gradients(model, criterion, inputs)
    assert [name for name in operations if name.startswith("LSProjected")] == [
        operation,
        operation + "Grad",
    ]
    with stock():
        (expected, wanted), _ = loss_and_gradients(model, criterion, inputs)
    assert_same(loss, expected)
    for variable, one, other in zip(model.trainable_variables, gradients, wanted):
        assert relative_error(one, other) < 1e-4, variable.name


def test_knowledge_distillation_sums_losses_with_their_gradient(model):
    criterion = LabelSmoothedCrossEntropyWithKd({"label_smoothing": 0.1, "kd_weight": 0.3})
    hidden = tf.zeros([4, 7, 5])

    def run(inputs, is_training):
        logits = model(inputs, is_training=is_training)
        return {"logits": logits, "teacher_hidden_states": hidden, "student_hidden_states": hidden}

    run.trainable_variables = model.trainable_variables
    _, operations = loss_and_gradients(run, criterion, small_models.translation_inputs())
    assert "LSProjectedCrossEntropySum" in operations
    assert "LSProjectedCrossEntropy" not in operations


def test_under_a_distribution_strategy(model):
    inputs, criterion = small_models.translation_inputs(), make()
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])

    @tf.function
    def step():
        return strategy.run(
            lambda: criterion.reduce_loss(dict(inputs), model(dict(inputs), is_training=True))
        )

    loss = step()
    with stock():
        expected = criterion.reduce_loss(dict(inputs), model(dict(inputs), is_training=True))
    assert relative_error(loss, expected) < 1e-6


def test_float16():
    """NeurST's default: stock rounds the logits to float16, which costs it some 1e-3."""
    inputs, criterion = small_models.translation_inputs(), make()
    model = small_models.translation_model()
    with stock():
        (expected, _), _ = loss_and_gradients(model, criterion, inputs)
    with float16():
        half = small_models.translation_model()
        for variable, value in zip(half.trainable_variables, model.trainable_variables):
            variable.assign(value)
        (loss, gradients), operations = loss_and_gradients(half, criterion, inputs)
        losses = fitted_losses(half, criterion)
        with stock():
            (_, stock_gradients), _ = loss_and_gradients(half, criterion, inputs)
    assert "LSProjectedCrossEntropySum" in operations
    assert loss.dtype == tf.float32
    assert relative_error(loss, expected) < 2e-3
    assert abs(losses[0] / float(expected) - 1.0) < 2e-3
    for gradient, wanted in zip(gradients, stock_gradients):
        assert tf.convert_to_tensor(gradient).dtype == tf.convert_to_tensor(wanted).dtype


# What the names are, and what goes wrong ---------------------------------------------------------


def test_names():
    for name in ("label_smoothed_cross_entropy", "LabelSmoothedCrossEntropy"):
        assert type(build_criterion(name)) is LabelSmoothedCrossEntropy
    criterion = build_criterion("ls_label_smoothed_cross_entropy", label_smoothing=0.1)
    inputs = {"trg": ids(*SHAPE), **INPUTS["trg_length"]}
    assert_same(criterion(inputs, logits()), make()(inputs, logits()))


def test_says_once_that_it_is_fused(caplog, monkeypatch):
    monkeypatch.setattr("tf_ls.neurst.eligibility._reported", set())
    inputs = {"trg": ids(*SHAPE), **INPUTS["trg_length"]}
    with caplog.at_level("INFO"):
        for _ in range(2):
            make()(inputs, logits())
    assert caplog.text.count("LabelSmoothedCrossEntropy runs fused") == 1


def test_label_outside_of_the_vocabulary():
    inputs = {"trg": tf.fill(SHAPE, VOCABULARY), **INPUTS["trg_length"]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"from 0 to 39.*got 40"):
        make()(inputs, logits())


def test_labels_of_another_shape_than_the_models(model):
    inputs = small_models.translation_inputs()
    swapped = {"trg": ids(6, 4), "trg_length": tf.constant([4] * 6)}

    @tf.function
    def run():
        return make()(swapped, model(dict(inputs), is_training=True))

    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="differ in shape"):
        run()


def test_no_logits():
    with pytest.raises(ValueError, match="Not supported type of model_out"):
        make()({"trg": ids(*SHAPE), **INPUTS["trg_length"]}, "logits")
