"""Text whose tokens come one by one."""

from __future__ import annotations

from tf_ls.inference.growing_text import GrowingText


def test_text_grows_by_whole_characters():
    text = GrowingText("Ich h")
    assert text.piece("Ich h\ufffd", is_last=False) == ""
    assert text.piece("Ich hä", is_last=False) == "ä"
    assert text.piece("Ich hä\ufffd\ufffd", is_last=False) == ""
    assert text.piece("Ich hä\ufffd\ufffdx", is_last=False) == "\ufffd\ufffdx"
    assert text.piece("Ich hä\ufffd\ufffdx\ufffd", is_last=True) == "\ufffd"


def test_a_prompt_that_reads_otherwise_with_what_follows_tells_nothing():
    text = GrowingText("a ")
    assert text.piece("ab", is_last=False) == ""
