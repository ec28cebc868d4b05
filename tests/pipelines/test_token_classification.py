"""Entities of texts, against transformers' pipeline."""

from __future__ import annotations

import pytest
from same_answers import assert_same
from sample_sentences import SENTENCES

import tf_ls

TASK = "token-classification"


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "max", "average"])
@pytest.mark.parametrize("ignored", [["O"], []])
def test_answers_are_those_of_transformers(tagger, original, aggregation, ignored):
    ours = tf_ls.pipeline(TASK, tagger, aggregation=aggregation, ignore_labels=ignored)
    expected = original(TASK, tagger, aggregation_strategy=aggregation, ignore_labels=ignored)
    texts = [*SENTENCES, "Zürich, 東京 and unheard-of words", ""]
    for text in texts[:-1]:
        assert_same(ours(text), expected(text))
    assert_same(ours(texts), [ours(text) for text in texts])
    assert ours("") == []


def test_a_split_text_has_each_token_once_and_in_order(tagger):
    text = " ".join(SENTENCES)
    split = tf_ls.pipeline(TASK, tagger, long_inputs="split", stride=8, ignore_labels=[])
    assert len(split.preprocess(text).rows) > 1
    found = split(text)
    encoding = split.preprocess.tokenizer.encode(text, add_special_tokens=False)
    assert [(one["start"], one["end"]) for one in found] == encoding.offsets
    assert [one["index"] for one in found] == list(range(1, len(encoding.ids) + 1))
    assert all(text[one["start"] : one["end"]].lower().endswith(one["word"][-1]) for one in found)


def test_in_the_middle_of_its_window_a_token_has_its_windows_scores(tagger):
    text = " ".join(SENTENCES)
    split = tf_ls.pipeline(TASK, tagger, long_inputs="split", stride=8, ignore_labels=[])
    prepared = split.preprocess(text)
    alone = split.postprocess(
        split.preprocess(text[: prepared.rows[0].spans[-2][1]]), split.model(prepared.rows[:1])
    )
    together = split(text)
    sure = len(prepared.rows[0]) - 2 - 4  # the first four of eight that both windows have
    assert_same(together[:sure], alone[:sure])


def test_unknown_aggregation(tagger):
    with pytest.raises(ValueError, match="aggregation must be one of none, simple"):
        tf_ls.pipeline(TASK, tagger, aggregation="last")
