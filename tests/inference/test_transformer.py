"""tf_ls.inference.Transformer on an exported LSTransformer. (NeurST's folders: tests/neurst.)"""

import numpy as np
import pytest
import tensorflow as tf
from small_transformer import INPUTS, SOURCE_LENGTHS, SOURCE_WORDS, build

import tf_ls.inference as lsi
from tf_ls import export, ops

START, EOS = 7, 2
OPTIONS = {"eos": EOS, "beam_size": 3, "max_length": 7}
SENTENCES = [row[:length].tolist() for row, length in zip(INPUTS["src"], SOURCE_LENGTHS)]


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "exported"
    export.save(model, path, options=OPTIONS, start=START)
    return path


@pytest.fixture(scope="module")
def transformer(path):
    return lsi.Transformer(path, 8)


def test_all_hypotheses_of_the_beam(model, transformer):
    tokens, scores = transformer.infer(SENTENCES)
    options = ops.SearchOptions(**OPTIONS, num_hypotheses=3)
    wanted = model.generate(INPUTS["src"], options, START)
    np.testing.assert_array_equal(tokens, wanted.tokens)
    np.testing.assert_array_equal(scores, wanted.scores)
    assert tokens.shape[:2] == scores.shape == (4, 3)


def test_an_array_of_ids(transformer):
    pair = np.array([SENTENCES[0], SENTENCES[0][::-1]])
    np.testing.assert_array_equal(
        transformer.infer(pair).tokens, transformer.infer(pair.tolist()).tokens
    )


@pytest.mark.parametrize("max_batch_size", [1, 3])
def test_larger_batches_are_split(path, transformer, max_batch_size):
    tokens, scores = lsi.Transformer(path, max_batch_size).infer(SENTENCES)
    wanted = transformer.infer(SENTENCES)
    np.testing.assert_array_equal(tokens, wanted.tokens)
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-5)


def test_batches_of_different_lengths_are_joined(path):
    options = {"max_length": 9, "max_extra_length": 1, "min_length": 0, "forbidden_tokens": (EOS,)}
    tokens, _ = lsi.Transformer(path, 1, options=options).infer(SENTENCES)
    assert tokens.shape == (4, 3, 6)
    for sentence, hypotheses in zip(SENTENCES, tokens):
        np.testing.assert_array_equal(hypotheses[:, len(sentence) + 1 :], EOS)
        assert (hypotheses[:, : len(sentence) + 1] != EOS).all()


def test_options(path, model):
    given = {"method": "sampling", "num_hypotheses": 2, "top_k": 4, "forbidden_tokens": (1, 3)}
    transformer = lsi.Transformer(path, 8, options=given)
    assert {name: transformer.options[name] for name in given} == given
    assert transformer.options["max_length"] == 7
    wanted = model.generate(INPUTS["src"], ops.SearchOptions(**{**OPTIONS, **given}), START)
    np.testing.assert_array_equal(transformer.infer(SENTENCES).tokens, wanted.tokens)
    assert lsi.Transformer(path, 8, options={"method": "greedy"}).infer(SENTENCES[:1])[1].size == 1


def test_no_sentences_and_empty_ones(transformer):
    tokens, scores = transformer.infer([])
    assert tokens.shape[:2] == scores.shape == (0, 3)
    np.testing.assert_array_equal(
        transformer.infer([[], SENTENCES[0]]).tokens[1:, :, :3],
        transformer.infer([SENTENCES[0]]).tokens[..., :3],
    )


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([[1], [1, SOURCE_WORDS]], "sentence 1 has 13 at 1, which is not in the vocabulary of 13"),
        ([[-1]], "sentence 0 has -1 at 0"),
        ([[1, 0, 2]], "sentence 0 has the padding, 0: leave it out"),
        ([[1.0]], r"sentence 0 must be a list of integers, got \[1.0\]"),
        ([1, 2], "sentence 0 must be a list of integers, got 1"),
        ([["a"]], "sentence 0 must be a list of integers"),
    ],
    ids=str,
)
def test_bad_sentences(transformer, sentences, message):
    with pytest.raises(ValueError, match=message):
        transformer.infer(sentences)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, got 0"),
        ({"options": {"beams": 3}}, "unknown option beams; the options are beam_size"),
        ({"options": {"eos": 3}}, "unknown option eos"),
        ({"options": {"beam_size": 0}}, "beam_size: expected 1 to 64, got 0"),
        ({"precision": "float16"}, "is a SavedModel, whose precision is its own"),
    ],
    ids=str,
)
def test_bad_arguments(path, more, message):
    with pytest.raises(ValueError, match=message):
        lsi.Transformer(path, **{"max_batch_size": 8, **more})


def test_folders_without_a_model(tmp_path):
    with pytest.raises(lsi.UnfitModel, match="is no SavedModel"):
        lsi.Transformer(tmp_path, 8)
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(lsi.UnfitModel, match=r"not from tf_ls\.export\.save: it has no properties"):
        lsi.Transformer(tmp_path, 8)
