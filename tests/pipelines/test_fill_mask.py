"""Words for masks, against transformers' pipeline."""

from __future__ import annotations

import pytest
from same_answers import assert_same
from sample_sentences import SENTENCES

import tf_ls
from tf_ls.pipelines import Prepared

TEXTS = [
    "Mary [MASK] went from London to Paris.",
    "The [MASK] in [MASK] sells cars.",
    "[MASK]",
]


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"targets": ["over", "s", "##e"]}])
def test_answers_are_those_of_transformers(masked, original, options):
    ours = tf_ls.pipeline("fill-mask", masked, **options)
    expected = original("fill-mask", masked, **options)
    texts = TEXTS if "targets" not in options else TEXTS[:1]
    assert_same(ours(TEXTS[0]), expected(TEXTS[0]))
    assert_same(ours(texts), [expected(text) for text in texts])


def test_a_mask_in_a_split_text_is_filled_in_the_window_that_has_it(masked):
    split = tf_ls.pipeline("fill-mask", masked, long_inputs="split", stride=10, top_k=1)
    text = " ".join([*SENTENCES, TEXTS[0], *SENTENCES])
    prepared = split.preprocess(text)
    assert len(prepared.rows) > 2
    (found,) = split(text)
    assert found["sequence"].startswith("mary smith went from london")
    assert found["sequence"].endswith("again and again.")
    middle = next(row for row in prepared.rows if split.preprocess.mask_id in row.ids[10:-10])
    (alone,) = split.postprocess(Prepared(text, [middle]), split.model([middle]))
    assert (found["token"], found["token_str"]) == (alone["token"], alone["token_str"])


def test_a_text_without_a_mask(masked):
    with pytest.raises(ValueError, match=r"must have a \[MASK\] to fill"):
        tf_ls.pipeline("fill-mask", masked)("nothing to fill")


def test_targets_that_are_no_tokens(masked):
    with pytest.raises(ValueError, match=r"targets must be tokens .*xylophone"):
        tf_ls.pipeline("fill-mask", masked, targets=["xylophone"])
