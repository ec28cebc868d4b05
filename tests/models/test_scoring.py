"""Scores against the log-softmax of a padded float64 model."""

import numpy as np
import pytest
import tensorflow as tf
from small_transformer import (
    INPUTS,
    ONE_TABLE,
    REAL,
    SETTINGS,
    TARGET_LENGTHS,
    TARGET_WORDS,
    build,
    padded_model,
    variables,
)

from tf_ls.models import LSTransformer, score
from tf_ls.testing.comparison import relative_error

TARGETS = np.random.default_rng(5).integers(0, TARGET_WORDS, REAL.shape)
WITH_TARGETS = {**INPUTS, "trg": TARGETS}


def expected_log_probs(model, changes):
    """float64 [B, T], zeros at padding."""
    exact = {name: tf.constant(v.numpy(), tf.float64) for name, v in variables(model).items()}
    log_probs = tf.nn.log_softmax(padded_model(exact, {**SETTINGS, **changes})).numpy()
    return np.take_along_axis(log_probs, TARGETS[..., None], -1)[..., 0] * REAL


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pre_layer_norm": False, "activation_fn": "gelu"},
        {"share_embedding_and_softmax_weights": False},
        ONE_TABLE,
    ],
    ids=["pre_norm", "post_norm", "softmax_linear", "one_table"],
)
def test_scores(changes):
    model = build(**changes)
    expected = expected_log_probs(model, changes)
    scores = score(model, WITH_TARGETS)
    assert {x.dtype for x in scores} == {tf.float32, tf.int32}
    assert relative_error(scores.token_log_probs, expected) < 1e-5
    assert relative_error(scores.sentence_log_probs, expected.sum(axis=1)) < 1e-5
    np.testing.assert_array_equal(scores.token_counts, TARGET_LENGTHS)
    assert scores.perplexity.shape == ()
    np.testing.assert_allclose(
        scores.perplexity, np.exp(-expected.sum() / sum(TARGET_LENGTHS)), rtol=1e-5
    )


def test_padding_has_log_probability_zero_whatever_its_target():
    model = build()
    scores = score(model, WITH_TARGETS)
    assert not np.array(scores.token_log_probs)[~REAL].any()
    other = {**WITH_TARGETS, "trg": np.where(REAL, TARGETS, TARGET_WORDS + 7)}
    np.testing.assert_array_equal(score(model, other).token_log_probs, scores.token_log_probs)


def test_a_model_in_training_is_scored_without_dropout():
    model = build(hidden_dropout_ratio=0.5)
    np.testing.assert_array_equal(
        score(model, WITH_TARGETS).token_log_probs, score(model, WITH_TARGETS).token_log_probs
    )


def test_several_batches_make_one_perplexity():
    model = build()
    halves = [
        score(model, {n: x[rows] for n, x in WITH_TARGETS.items()}) for rows in ([0, 1], [2, 3])
    ]
    total = sum(np.sum(scores.sentence_log_probs) for scores in halves)
    count = sum(np.sum(scores.token_counts) for scores in halves)
    np.testing.assert_allclose(
        np.exp(-total / count), score(model, WITH_TARGETS).perplexity, rtol=1e-5
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    exact = build()
    model = LSTransformer(**SETTINGS, dtype=policy)
    model.set_weights(exact.get_weights())
    scores, expected = score(model, WITH_TARGETS), score(exact, WITH_TARGETS)
    assert scores.token_log_probs.dtype == tf.float32
    tolerance = 5e-2 if policy == "mixed_bfloat16" else 1e-2
    assert relative_error(scores.token_log_probs, expected.token_log_probs) < tolerance


def test_empty_targets():
    model = build()
    scores = score(model, {**INPUTS, "trg_input": np.zeros([4, 6], int), "trg": TARGETS})
    for x in scores[:3]:
        assert not np.any(x)
    assert scores.perplexity == 1.0
    scores = score(model, {**INPUTS, "trg_input": np.zeros([4, 0], int), "trg": TARGETS[:, :0]})
    assert scores.token_log_probs.shape == (4, 0)
    assert scores.sentence_log_probs.shape == (4,)
    scores = score(model, {name: x[:0] for name, x in WITH_TARGETS.items()})
    assert scores.token_log_probs.shape == (0, 6)
    assert scores.perplexity == 1.0


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_tf_function_of_any_shape(dtype):
    model = build()
    spec = {name: tf.TensorSpec([None, None], dtype) for name in WITH_TARGETS}
    function = tf.function(lambda inputs: score(model, inputs), input_signature=[spec])
    for count in (1, 4, 0):
        inputs = {name: tf.constant(x[:count], dtype) for name, x in WITH_TARGETS.items()}
        for actual, expected in zip(function(inputs), score(model, inputs)):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


# What is not right says so -----------------------------------------------------------------------


def test_no_targets():
    with pytest.raises(ValueError, match=r"expected targets.*got \['src', 'trg_input'\] only"):
        score(build(), INPUTS)


def test_targets_of_another_shape():
    model = build()
    inputs = {**INPUTS, "trg": TARGETS[:, :5]}
    with pytest.raises(ValueError, match=r"trg_input, \(4, 6\), got \(4, 5\)"):
        score(model, inputs)
    spec = {name: tf.TensorSpec([None, None], tf.int64) for name in inputs}
    function = tf.function(lambda inputs: score(model, inputs), input_signature=[spec])
    with pytest.raises(tf.errors.InvalidArgumentError):
        function({name: tf.constant(x, tf.int64) for name, x in inputs.items()})


def test_target_outside_the_vocabulary():
    targets = TARGETS.copy()
    targets[0, 1] = TARGET_WORDS
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{TARGET_WORDS}"):
        score(build(), {**INPUTS, "trg": targets})
