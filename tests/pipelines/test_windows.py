"""Tokens of a text in windows, each once."""

from __future__ import annotations

import numpy as np
import pytest

from tf_ls.pipelines.windows import Window, joined, tokens_of

CLS, SEP = -1, -2


def windows(count: int, size: int, stride: int) -> list[Window]:
    """Of the tokens 0, 1, ... with special ones around them."""
    step = size - stride
    begins = [b for b in range(0, count, step) if b == 0 or b + stride < count]
    return [
        Window(
            ids=[CLS, *range(b, min(b + size, count)), SEP],
            types=[0] * (min(size, count - b) + 2),
            spans=[(0, 0), *((i, i + 1) for i in range(b, min(b + size, count))), (0, 0)],
            is_special=[True, *[False] * min(size, count - b), True],
            begin=b,
        )
        for b in begins
    ]


@pytest.mark.parametrize("count", [1, 4, 5, 9, 23])
@pytest.mark.parametrize("stride", [0, 1, 2, 3])
def test_each_token_comes_once_and_in_order(count, stride):
    tokens = tokens_of(windows(count, 4, stride))
    assert [token.id for token in tokens] == [CLS, *range(count), SEP]
    assert [token.is_special for token in tokens] == [True, *[False] * count, True]
    assert [token.span for token in tokens[1:-1]] == [(i, i + 1) for i in range(count)]


def test_a_token_comes_from_the_window_that_knows_most_around_it():
    tokens = tokens_of(windows(10, 6, 4))  # 0-5, 2-7, 4-9
    assert [token.window for token in tokens] == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2]


def test_outputs_are_those_of_the_tokens_places():
    parts = windows(10, 6, 4)
    outputs = [np.array(part.ids, np.float32)[:, np.newaxis] for part in parts]
    expected = [CLS, *range(10), SEP]
    np.testing.assert_array_equal(joined(tokens_of(parts), outputs)[:, 0], expected)


def test_special_tokens_between_a_pair_stay_where_they_are():
    pair = Window([CLS, 3, SEP, 4, SEP], [0, 0, 0, 1, 1], [(0, 1)] * 5, [True, False] * 2 + [True])
    assert [token.id for token in tokens_of([pair])] == pair.ids
