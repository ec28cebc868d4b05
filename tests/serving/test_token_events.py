"""Hypotheses put together from what is told of them."""

import pytest

from tf_ls.serving.token_events import Assembly, End, Told, as_number

EOS = 2


def told(token, index, *, prompt=0, hypothesis=0, text=None, is_last=False):
    return Told(prompt, hypothesis, index, token, -1.0, text, is_last)


def test_an_assembly_is_complete_when_all_hypotheses_have_ended():
    assembly = Assembly([3, 2], 1, EOS)
    assert assembly.add(told(5, 0))
    assert assembly.add(told(6, 0, prompt=1))
    assert assembly.add(told(EOS, 1, is_last=True))
    assert not assembly.complete
    assert not assembly.add(told(-1, 0, prompt=1, is_last=True))
    assert assembly.complete
    end = assembly.end()
    assert end == End([[(2, "eos", None)], [(1, "nothing_left", None)]])
    assert end.tokens == 3


def test_what_a_batch_tells_again_is_no_news():
    """A batch that failed for another's sake is made once more."""
    assembly = Assembly([2], 2, EOS)
    assert assembly.add(told(5, 0))
    assert assembly.add(told(7, 0, hypothesis=1))
    assert not assembly.add(told(5, 0))
    assert assembly.add(told(6, 1, is_last=True))
    assert not assembly.add(told(7, 0, hypothesis=1))
    assert assembly.add(told(8, 1, hypothesis=1, is_last=True))
    assert assembly.end() == End([[(2, "length", None), (2, "length", None)]])
    with pytest.raises(RuntimeError, match="other tokens"):
        assembly.add(told(9, 1))


def test_text():
    assembly = Assembly([9], 1, EOS)
    assembly.add(told(5, 0, text="a"))
    assembly.add(told(5, 1, text=""))
    assembly.add(told(EOS, 2, text="ä", is_last=True))
    assert assembly.end() == End([[(3, "eos", "aä")]])


def test_log_probs_have_as_many_digits_as_a_float32():
    assert as_number(-0.10000000149011612) == -0.1
