"""What happens to texts of more tokens than a model takes."""

from __future__ import annotations

import pytest

from tf_ls.pipelines.long_inputs import LongInputs, TooLong, smallest


@pytest.mark.parametrize("way", ["error", "truncate", "split"])
def test_what_fits_is_not_too_long(way):
    assert not LongInputs(3, way).too_long(3)
    assert not LongInputs(None, way).too_long(1000)


def test_what_does_not_fit_is_an_error_that_says_how_much_it_is():
    with pytest.raises(TooLong, match=r"has 5 tokens.*takes 3.*'truncate' or 'split'") as error:
        LongInputs(3).too_long(5)
    assert (error.value.tokens, error.value.allowed) == (5, 3)
    assert LongInputs(3, "truncate").too_long(5)


def test_special_tokens_and_the_stride_must_leave_room():
    assert LongInputs(10, "split", 3).room(2) == 8
    with pytest.raises(ValueError, match="of 5 tokens 2 are special, so that 3 are the text's"):
        LongInputs(5, "split", 3).room(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, "cut"), "long_inputs must be one of error, truncate, split; got 'cut'"),
        ((0,), "max_length must be at least 1, got 0"),
        ((3, "truncate", 1), "stride is for long_inputs='split'"),
        ((3, "split", -1), "stride must be at least 0"),
        ((3, "split", 0, ("error", "truncate")), "one of error, truncate; got 'split'"),
    ],
)
def test_what_does_not_fit_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        LongInputs(*arguments)


def test_the_smallest_limit_holds():
    assert smallest(None, 5, 3) == 3
    assert smallest(None) is None
