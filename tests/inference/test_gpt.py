"""tf_ls.inference.Gpt on an exported decoder. (Hugging Face's: test_hugging_face.py.)"""

import numpy as np
import pytest
import tensorflow as tf
from small_decoder import EOS, START, VOCABULARY, build, continuations

import tf_ls.inference as lsi
from tf_ls import export, ops

OPTIONS = {"eos": EOS, "method": "greedy", "max_length": 9}
PROMPTS = [[START, 1, 3], [START], [START, 5, 5, 4, 5], [9]]


@pytest.fixture(scope="module")
def decoder():
    return build()


@pytest.fixture(scope="module")
def paths(decoder, tmp_path_factory):
    """One model with a start token, and one without."""
    folder = tmp_path_factory.mktemp("models")
    export.save(decoder, folder / "start", options=OPTIONS, start=START)
    export.save(decoder, folder / "none", options=OPTIONS)
    return folder


@pytest.fixture(scope="module")
def model(paths):
    return lsi.Gpt(paths / "none", 8)


def test_samples_are_prompts_and_what_comes_behind_them(decoder, model):
    tokens = model.sample(PROMPTS)
    for row, prompt in zip(tokens.tolist(), PROMPTS):
        [(found, _, _)] = continuations(
            decoder, {**OPTIONS, "max_length": 8}, [prompt[1:]], start=prompt[0]
        )
        whole = prompt + found[0]
        assert row == whole + [EOS] * (tokens.shape[1] - len(whole))


def test_a_start_token_is_no_part_of_samples(paths, model):
    prompts = [prompt[1:] for prompt in PROMPTS[:3]]
    with_start = lsi.Gpt(paths / "start", 8, options={"max_length": 8}).sample(prompts)
    np.testing.assert_array_equal(with_start, model.sample(PROMPTS[:3])[:, 1:])


def test_options(paths, decoder):
    model = lsi.Gpt(paths / "none", 8, options={"method": "beam_search", "beam_size": 3})
    assert model.options["beam_size"] == 3
    options = {**OPTIONS, "method": "beam_search", "beam_size": 3, "max_length": 8}
    [(found, _, _)] = continuations(decoder, options, [[1, 3]])
    assert model.sample([[START, 1, 3]]).tolist() == [[START, 1, 3, *found[0]]]
    sampling = {"method": "sampling", "top_k": 3, "seed": 4}
    first, second = (lsi.Gpt(paths / "none", 8, options=sampling).sample(PROMPTS) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("max_batch_size", [1, 3])
def test_larger_batches_are_split(paths, model, max_batch_size):
    smaller = lsi.Gpt(paths / "none", max_batch_size)
    np.testing.assert_array_equal(smaller.sample(PROMPTS), model.sample(PROMPTS))
    texts = [[*prompt, 1, 4] for prompt in PROMPTS]
    np.testing.assert_allclose(smaller.ppl(texts), model.ppl(texts), rtol=1e-5)


def test_arrays_with_padding(model):
    prompts = np.array([[START, 1, 3], [START, EOS, EOS]])
    np.testing.assert_array_equal(model.sample(prompts), model.sample(PROMPTS[:2]))
    texts = np.array([[START, 1, 3], [START, 5, EOS]])
    np.testing.assert_allclose(model.ppl(texts), model.ppl([[START, 1, 3], [START, 5]]), rtol=1e-5)


def test_perplexity_is_that_of_all_tokens_with_something_in_front_of_them(decoder, paths, model):
    text = [1, 3, 4]
    options = ops.SearchOptions(eos=EOS, method="greedy", max_length=3)
    forced = ops.generate(decoder, None, None, tf.constant([START]), options, prefix=[text])
    wanted = [np.exp(-np.mean(forced.log_probs))]
    perplexities = model.ppl([[START, *text]])
    assert perplexities.dtype == np.float32
    np.testing.assert_allclose(perplexities, wanted, rtol=1e-5)
    np.testing.assert_allclose(lsi.Gpt(paths / "start", 8).ppl([text]), wanted, rtol=1e-5)


def test_nothing(model):
    assert model.sample([]).shape == (0, 0)
    assert model.ppl([]).shape == (0,)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1], [1, VOCABULARY]], "prompt 1 has 11 at 1, which is not in the vocabulary of 11"),
        ([[-1]], "prompt 0 has -1 at 0"),
        ([[1.0]], r"prompt 0 must be a list of integers, got \[1.0\]"),
        ([1, 2], "prompt 0 must be a list of integers"),
        ([[3], []], "prompt 1 must have a token: the model has no start token"),
    ],
    ids=str,
)
def test_bad_prompts(model, prompts, message):
    with pytest.raises(ValueError, match=message):
        model.sample(prompts)


def test_bad_texts_and_arguments(paths, model):
    with pytest.raises(ValueError, match="text 1 must have at least 2 tokens, got 1"):
        model.ppl([[1, 2, 3], [1]])
    with pytest.raises(ValueError, match="text 0 must have at least 1 tokens, got 0"):
        lsi.Gpt(paths / "start", 8).ppl([[]])
    for options, message in (
        ({"eos": 3}, "unknown option eos"),
        ({"num_hypotheses": 2}, "num_hypotheses: expected 1 to 1, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            lsi.Gpt(paths / "none", 8, options=options)
    with pytest.raises(lsi.UnfitModel, match="continues prompts: a model that encodes was exp"):
        lsi.Bert(paths / "none", 8)
