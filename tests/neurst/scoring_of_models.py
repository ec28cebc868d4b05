"""Scores of NeurST's models against the log-softmax of stock NeurST's logits.

test_fused_models.py runs this file.
"""

import neurst  # noqa: F401  fuses; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
from neurst.models.ctnmt_transformer import CtnmtTransformer
from neurst.models.speech_transformer import SpeechTransformer
from small_models import MODELS, TARGET_LENGTHS, TARGET_MASK, VOCABULARY, relative_error, stock

from tf_ls.neurst import packed_model
from tf_ls.neurst.scoring import score


@pytest.fixture(scope="module", params=MODELS)
def model_and_inputs(request):
    make_model, make_inputs = MODELS[request.param]
    return make_model(), make_inputs()


def expected_log_probs(model, inputs):
    """float64 [B, T], zeros at padding."""
    with stock():
        output = model(dict(inputs), is_training=False)
    logits = output["logits"] if isinstance(output, dict) else output
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float64))
    log_probs = tf.gather(log_probs, inputs["trg"], batch_dims=2)
    return np.where(TARGET_MASK, log_probs, 0.0)


def check(scores, expected):
    assert relative_error(scores.token_log_probs, expected) < 1e-5
    assert relative_error(scores.sentence_log_probs, expected.sum(axis=1)) < 1e-5
    np.testing.assert_array_equal(scores.token_counts, TARGET_LENGTHS)
    perplexity = np.exp(-expected.sum() / sum(TARGET_LENGTHS))
    np.testing.assert_allclose(scores.perplexity, perplexity, rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_scores(model_and_inputs, mode):
    model, inputs = model_and_inputs
    run = tf.function(score) if mode == "graph" else score
    check(run(model, inputs), expected_log_probs(model, inputs))


def test_who_makes_logits_in_a_way_of_its_own_is_scored_by_them(model_and_inputs):
    model, inputs = model_and_inputs
    own = isinstance(model, (SpeechTransformer, CtnmtTransformer))
    assert (packed_model.packed_states(model, inputs) is None) == own


def test_what_does_not_run_packed_is_scored_by_its_logits(monkeypatch):
    make_model, make_inputs = MODELS["pre-norm"]
    model, inputs = make_model(), make_inputs()
    monkeypatch.setattr(packed_model, "_can_pack", lambda model: False)
    assert packed_model.packed_states(model, inputs) is None
    check(score(model, inputs), expected_log_probs(model, inputs))


def test_without_padding_told_all_positions_count():
    make_model, make_inputs = MODELS["pre-norm"]
    inputs = make_inputs()
    del inputs["trg_length"]
    np.testing.assert_array_equal(score(make_model(), inputs).token_counts, [6, 6, 6, 6])


def test_bad_targets():
    make_model, make_inputs = MODELS["pre-norm"]
    model, inputs = make_model(), make_inputs()
    with pytest.raises(ValueError, match="expected targets"):
        score(model, {name: x for name, x in inputs.items() if name != "trg"})
    with pytest.raises(ValueError, match=r"trg_input, \(4, 6\), got \(4, 5\)"):
        score(model, {**inputs, "trg": inputs["trg"][:, :5]})
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"label .* 0 to {VOCABULARY - 1}"):
        score(model, {**inputs, "trg": inputs["trg"] + VOCABULARY})
