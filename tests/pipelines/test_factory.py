"""What `tf_ls.pipeline` refuses, and what it takes instead of a folder."""

from __future__ import annotations

import pytest
from same_answers import assert_same
from sample_sentences import SENTENCES

import tf_ls
from tf_ls import convert


def test_a_name_is_no_path():
    with pytest.raises(FileNotFoundError, match=r"'bert-base' is no path.*downloads nothing"):
        tf_ls.pipeline("fill-mask", "bert-base")


def test_an_unknown_task():
    with pytest.raises(ValueError, match=r"task must be one of text-classification.*'summary'"):
        tf_ls.pipeline("summary", "anything")


def test_an_option_that_the_task_does_not_have(encoder):
    with pytest.raises(TypeError, match="top_k"):
        tf_ls.pipeline("feature-extraction", encoder, top_k=3)
    with pytest.raises(ValueError, match="feature-extraction has none"):
        tf_ls.pipeline("feature-extraction", encoder, options={"beam_size": 3})


def test_a_model_for_something_else(classifier, encoder):
    with pytest.raises(ValueError, match="fill-mask: this model is for text-classification"):
        tf_ls.pipeline("fill-mask", classifier)
    with pytest.raises(ValueError, match="fill-mask: this model has no head"):
        tf_ls.pipeline("fill-mask", encoder)
    with pytest.raises(ValueError, match="a bert"):
        tf_ls.pipeline("text-generation", encoder)
    model = tf_ls.inference.Bert(encoder, 4)
    with pytest.raises(ValueError, match=r"must be a path or a tf_ls.inference.Gpt, got Bert"):
        tf_ls.pipeline("text-generation", model)


@pytest.mark.parametrize("name", ["model.pb", "model.hdf5"])
def test_model_files(classifier, tmp_path, name):
    convert.convert(classifier, tmp_path / name)
    with pytest.raises(ValueError, match="tokenizer: name its folder"):
        tf_ls.pipeline("text-classification", tmp_path / name)
    ours = tf_ls.pipeline("text-classification", tmp_path / name, tokenizer=classifier)
    assert ours(SENTENCES) == tf_ls.pipeline("text-classification", classifier)(SENTENCES)


def test_a_loaded_model_and_a_tokenizer_of_the_library(classifier):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(classifier / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    model = tf_ls.inference.Bert(classifier, 4)
    ours = tf_ls.pipeline("text-classification", model, tokenizer=tokenizer)
    assert_same(ours(SENTENCES), tf_ls.pipeline("text-classification", classifier)(SENTENCES))
    assert tokenizer.truncation["max_length"] == 3  # its owner's


def test_a_saved_model(classifier, tmp_path):
    tf_ls.export.save(classifier, tmp_path / "saved", family="bert")
    ours = tf_ls.pipeline("text-classification", tmp_path / "saved", tokenizer=classifier)
    assert ours(SENTENCES) == tf_ls.pipeline("text-classification", classifier)(SENTENCES)
