"""Three steps on one text, on lists, on iterables of any length."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from tf_ls.pipelines import Pipeline, Prepared


class Lengths:
    """A model that tells how long its rows are, and remembers its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, rows):
        self.batches.append([len(row) for row in rows])
        return [len(row) for row in rows]


def words(text):
    if not text:
        raise ValueError("no words")
    return Prepared(text, text.split(" / "))


def answer(prepared, outputs):
    return {"text": prepared.source, "lengths": outputs}


@pytest.fixture
def pipe():
    return Pipeline(words, Lengths(), answer, batch_size=2, read_ahead=2)


def test_one_text(pipe):
    assert pipe("abc / de") == [{"text": "abc / de", "lengths": [3, 2]}]


def test_an_answer_that_is_no_dictionary_comes_as_it_is(pipe):
    assert dataclasses.replace(pipe, postprocess=lambda _, outputs: outputs)("abc") == [3]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_gives_a_list_in_its_order(pipe, kind):
    texts = kind(["a", "bbb / b", "cc", "dddd", "e", ""][:5])
    assert pipe(texts) == [
        {"text": text, "lengths": [len(row) for row in text.split(" / ")]} for text in texts
    ]
    assert pipe(kind()) == []


def test_rows_of_similar_lengths_share_batches(pipe):
    pipe(["a", "bbb / b", "cc", "dddd"])
    assert pipe.model.batches == [[4, 3], [2, 1], [1]]


def test_of_an_endless_iterable_only_a_few_batches_are_read(pipe):
    read = itertools.count(1)
    answers = pipe(f"{'x' * (next(read) % 3 + 1)}" for _ in itertools.repeat(None))
    first = [next(answers)["lengths"] for _ in range(3)]
    assert first == [[2], [3], [1]]
    assert next(read) == 5  # two batches of two


def test_nothing_is_read_before_an_answer_is_asked_for(pipe):
    def texts():
        raise AssertionError
        yield

    pipe(texts())


def test_a_bad_input_is_named(pipe):
    with pytest.raises(ValueError, match="input 2: no words"):
        pipe(["a", "b", ""])
    with pytest.raises(ValueError, match=r"^no words"):
        pipe("")


def test_a_model_that_loses_rows(pipe):
    with pytest.raises(ValueError, match="returned 0 outputs for 2 rows"):
        dataclasses.replace(pipe, model=lambda rows: [])(["a", "b"])


@pytest.mark.parametrize("name", ["batch_size", "read_ahead"])
def test_sizes_must_be_positive(pipe, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        dataclasses.replace(pipe, **{name: 0})
