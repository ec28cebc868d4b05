"""The reference of generation against NeurST's own searches, on random logits.

test_against_neurst.py runs this file.
"""

import numpy as np
import pytest
import tensorflow as tf

from tf_ls.neurst import compat
from tf_ls.testing.reference_search import Options, sampling_probs, score, search

compat.mend_tensorflow()
from neurst.layers.search.beam_search import BeamSearch, sequence_beam_search  # noqa: E402
from neurst.layers.search.sampling import top_k_logits, top_p_logits  # noqa: E402

VOCABULARY, EOS, UNK, START = 12, 3, 5, 4
SENTENCES = 3


def logits_of(sentence, prefix, dtype="float64"):
    """Returns logits [V] that depend on the sentence and the whole prefix."""
    logits = 2.0 * np.random.default_rng([sentence, *prefix]).normal(size=VOCABULARY)
    logits[EOS] += 1.5
    return logits.astype(dtype)


def symbols_to_logits(dtype):
    """Returns NeurST's kind of model; its cache is what it was called with before."""

    def function(ids, cache, time):
        cache["tokens"] = tf.concat([cache["tokens"], ids[:, None]], axis=1)
        assert cache["tokens"].shape[1] == time + 2
        rows = [[int(token) for token in row] for row in cache["tokens"].numpy()]
        return tf.constant([logits_of(row[0], row[2:], dtype) for row in rows])

    return function


def initializer(sentences, source_length=None):
    batch = {
        "decoder_input": tf.fill([len(sentences)], START),
        "decoder_internal_cache": {"tokens": tf.constant(sentences, tf.int32)[:, None]},
        "eos_id": EOS,
        "unk_id": UNK,
    }
    return batch if source_length is None else {**batch, "encoder_inputs_maxlen": source_length}


def neurst_search(seed, source_length=None, **options):
    """Returns the hypotheses [sentence][rank], EOS as padding, and their scores."""
    sentences = [SENTENCES * seed + i for i in range(SENTENCES)]
    tokens, scores = sequence_beam_search(
        symbols_to_logits("float64"),
        initializer(sentences, source_length),
        dtype=tf.float64,
        **options,
    )
    count = options["top_k"]
    return (
        tokens.numpy().reshape([SENTENCES, count, -1]),
        scores.numpy().reshape([SENTENCES, count]),
    )


def assert_same(options, tokens, scores, sentences, source_length=None, rtol=1e-12):
    for sentence, its_tokens, its_scores in zip(sentences, tokens, scores):
        found = search(
            lambda prefixes, sentence=sentence: np.array(
                [logits_of(sentence, p) for p in prefixes]
            ),
            options,
            source_length,
        )
        padded = [
            [*hypothesis.tokens, *[EOS] * (len(row) - len(hypothesis.tokens))]
            for hypothesis, row in zip(found, its_tokens)
        ]
        np.testing.assert_array_equal(padded, its_tokens)
        np.testing.assert_allclose([score(h, options) for h in found], its_scores, rtol=rtol)


@pytest.mark.parametrize("beam_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("alpha", [0.6, 0.0, 2.5, -1.0])
def test_beam_search(beam_size, alpha):
    for seed, (max_length, min_length) in enumerate([(1, 0), (4, 3), (10, 0), (10, 6)]):
        tokens, scores = neurst_search(
            seed,
            beam_size=beam_size,
            top_k=beam_size,
            length_penalty=alpha,
            maximum_decode_length=max_length,
            minimum_decode_length=min_length,
        )
        options = Options(
            eos=EOS,
            beam_size=beam_size,
            num_hypotheses=beam_size,
            length_penalty_alpha=alpha,
            max_length=max_length,
            min_length=min_length,
            forbidden_tokens=(UNK,),
        )
        sentences = [SENTENCES * seed + i for i in range(SENTENCES)]
        assert_same(options, tokens, scores, sentences)


@pytest.mark.parametrize("source_length", [2, 5, 30])
@pytest.mark.parametrize("enable_unk", [False, True])
def test_length_relative_to_the_source_and_unknown_tokens(source_length, enable_unk):
    seed = 100
    tokens, scores = neurst_search(
        seed,
        source_length,
        beam_size=4,
        top_k=2,
        length_penalty=1.5,
        extra_decode_length=2,
        maximum_decode_length=15,
        enable_unk=enable_unk,
    )
    options = Options(
        eos=EOS,
        num_hypotheses=2,
        length_penalty_alpha=1.5,
        max_length=15,
        max_extra_length=2,
        forbidden_tokens=() if enable_unk else (UNK,),
    )
    sentences = [SENTENCES * seed + i for i in range(SENTENCES)]
    assert_same(options, tokens, scores, sentences, source_length)


def test_the_search_layer_with_its_default_arguments():
    sentences, source_length = [7, 8, 9], 6

    class Model:
        def get_symbols_to_logits_fn(self, inputs, **kwargs):
            return symbols_to_logits("float32"), initializer(sentences, source_length)

    arguments = {flag.name: flag.default for flag in BeamSearch.class_or_method_args()}
    layer = BeamSearch(arguments)
    layer.set_model(Model())
    tokens, scores = layer.call({}, max_data_len=source_length)
    options = Options(eos=EOS, forbidden_tokens=(UNK,))
    tokens, scores = tokens.numpy()[:, None], scores.numpy()[:, None]
    assert_same(options, tokens, scores, sentences, source_length, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_sampling_draws_from_the_same_tokens(seed):
    logits = np.random.default_rng(seed).normal(size=[1, 40]) * 3
    log_probs = logits[0] - np.log(np.exp(logits).sum())

    def assert_drawn(neurst_logits, **options):
        probs = sampling_probs(log_probs, Options(eos=EOS, method="sampling", **options))
        np.testing.assert_allclose(probs, tf.nn.softmax(neurst_logits)[0], rtol=1e-9)

    for k in (0, 1, 2, 7, 40):
        assert_drawn(top_k_logits(tf.constant(logits), k), top_k=k)
    for p in (0.01, 0.3, 0.5, 0.9, 0.999):
        assert_drawn(top_p_logits(tf.constant(logits), p), top_p=p)
