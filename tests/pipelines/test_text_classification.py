"""Classes of texts, against transformers' pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from same_answers import assert_same
from sample_sentences import SENTENCES

import tf_ls


@pytest.fixture(scope="module")
def classify(classifier):
    return tf_ls.pipeline("text-classification", classifier, batch_size=4)


def test_answers_are_those_of_transformers(classify, classifier, original):
    expected = original("text-classification", classifier)
    assert_same(classify(SENTENCES[0]), expected(SENTENCES[0]))
    assert_same(classify(SENTENCES), expected(SENTENCES))


@pytest.mark.parametrize("function", [None, "softmax", "sigmoid", "none"])
def test_top_k_and_functions(classifier, original, function):
    ours = tf_ls.pipeline("text-classification", classifier, top_k=2, function_to_apply=function)
    expected = original("text-classification", classifier, top_k=2, function_to_apply=function)
    assert_same(ours(SENTENCES[:3]), expected(SENTENCES[:3]))
    assert ours(SENTENCES[0]) == ours(SENTENCES[:1])[0]


def test_pairs(classify, classifier, original):
    pair = {"text": "Mary went to Paris.", "text_pair": "What a wonderful day"}
    assert_same(classify([pair]), original("text-classification", classifier)([pair]))


def test_a_long_text_is_refused_with_its_length(classify):
    tokens = len(classify.preprocess.tokenizer.encode(" ".join(SENTENCES)).ids)
    with pytest.raises(ValueError, match=f"has {tokens} tokens.* takes 64") as error:
        classify(" ".join(SENTENCES))
    assert (error.value.tokens, error.value.allowed) == (tokens, 64)
    with pytest.raises(ValueError, match="input 1: the text has"):
        classify([SENTENCES[0], " ".join(SENTENCES)])


def test_a_long_text_is_truncated_on_request(classifier, original):
    ours = tf_ls.pipeline("text-classification", classifier, long_inputs="truncate")
    expected = original("text-classification", classifier, truncation=True)
    text = " ".join(SENTENCES)
    assert_same(ours(text), expected(text))
    pair = {"text": text, "text_pair": SENTENCES[0] + SENTENCES[1]}
    assert_same(ours([pair]), expected([pair]))


def test_of_a_text_that_is_split_the_probabilities_of_windows_are_averaged(classifier):
    split = tf_ls.pipeline(
        "text-classification", classifier, long_inputs="split", stride=5, top_k=3
    )
    windows = split.preprocess(" ".join(SENTENCES)).rows
    assert len(windows) > 1
    logits = np.array(split.model(windows))
    powers = np.exp(logits)
    mean = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
    found = {one["label"]: one["score"] for one in split(" ".join(SENTENCES))}
    assert_same([found[name] for name in ("bad", "middling", "good")], mean.tolist())


def test_a_long_pair_is_not_split(classifier):
    split = tf_ls.pipeline("text-classification", classifier, long_inputs="split")
    with pytest.raises(ValueError, match="long_inputs='truncate'"):
        split({"text": " ".join(SENTENCES), "text_pair": "a"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"function_to_apply": "tanh"}, "function_to_apply must be one of"),
        ({"max_length": 65}, "takes 64 tokens, got 65"),
    ],
)
def test_bad_options(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        tf_ls.pipeline("text-classification", classifier, **options)


@pytest.mark.parametrize("text", [3, None, {"text": "a"}, {"text": "a", "text_pair": 3}])
def test_what_is_no_text(classify, text):
    with pytest.raises(ValueError, match="input 0: expected a text or"):
        classify([text])
