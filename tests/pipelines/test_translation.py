"""Translations of a model of Marian's, against transformers' pipeline."""

from __future__ import annotations

import pytest
from sample_sentences import SENTENCES

import tf_ls

TASK = "translation"
TEXTS = [*SENTENCES, ">>de<< What a day", "unheard-of Zürich", ""]


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_those_of_transformers(translator, original, beams):
    varied = {"no_repeat_ngram_size": 2}  # a model that has learned nothing repeats itself
    options = {"beam_size": beams, "early_stopping": True, **varied}
    options.update(max_length=19, max_extra_length=None)
    ours = tf_ls.pipeline(TASK, translator, options=options, batch_size=4)
    theirs = original("translation_xx_to_yy", translator)
    same = {"num_beams": beams, "early_stopping": beams > 1, "max_new_tokens": 19, **varied}
    expected = [theirs(text, **same)[0]["translation_text"] for text in TEXTS]
    found = ours(TEXTS)
    assert [one["translation_text"] for one in found] == expected
    assert all(one["score"] < 0 for one in found)
    assert len(set(expected)) > 3


def test_several_hypotheses_come_best_first(translator):
    several = tf_ls.pipeline(TASK, translator, num_hypotheses=3)
    (best,) = tf_ls.pipeline(TASK, translator)(SENTENCES[0])
    found = several(SENTENCES[0])
    assert len(found) == 3
    assert found[0]["translation_text"] == best["translation_text"]
    assert [one["score"] for one in found] == sorted((o["score"] for o in found), reverse=True)


def test_a_long_sentence_is_refused_or_cut_in_front_of_its_end(translator):
    text = " ".join(SENTENCES)
    with pytest.raises(ValueError, match=r"takes 100.*long_inputs='truncate'"):
        tf_ls.pipeline(TASK, translator)(text)
    cut = tf_ls.pipeline(TASK, translator, long_inputs="truncate")
    (row,) = cut.preprocess(text).rows
    whole = cut.preprocess.tokenizer.encode(text)
    assert row == [*whole[:99], whole[-1]]
    assert cut(text)


def test_more_hypotheses_than_a_loaded_model_returns(translator):
    model = tf_ls.inference.Transformer(translator, 4, options={"num_hypotheses": 2})
    with pytest.raises(ValueError, match=r"num_hypotheses must be 1 to 2.*got 3"):
        tf_ls.pipeline(TASK, model, tokenizer=translator, num_hypotheses=3)


def test_texts_go_through_the_tokenizer_that_is_given(translator):
    class Shouting:
        def __init__(self, tokenizer):
            self.encode, self._decode = tokenizer.encode, tokenizer.decode

        def decode(self, ids):
            return self._decode(ids).upper()

    plain = tf_ls.pipeline(TASK, translator)
    loud = tf_ls.pipeline(TASK, translator, tokenizer=Shouting(plain.preprocess.tokenizer))
    (expected,), (found,) = plain(SENTENCES[0]), loud(SENTENCES[0])
    assert found["translation_text"] == expected["translation_text"].upper()


def test_an_exported_model_has_its_own_text(pieces, tmp_path):
    from small_transformer import build

    model = build(vocab_size=330, trg_vocab_size=330, padding_idx=3)
    options = {"eos": 2, "max_length": 12}
    path = tmp_path / "exported"
    tf_ls.export.save(model, path, options=options, start=1, sentencepiece=pieces)
    texts = [*SENTENCES, "unheard-of Zürich 東京", ""]
    wanted = tf_ls.inference.load_translator(path)(texts)
    found = tf_ls.pipeline(TASK, path, batch_size=4)(texts)
    assert [one["translation_text"] for one in found] == wanted
    assert len(set(wanted)) > 3
    loaded = tf_ls.inference.Transformer(path, 4)
    assert tf_ls.pipeline(TASK, loaded)(texts) == found
