"""ops.generate against the float64 reference search, on small random decoders."""

import dataclasses
import threading

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadInput
from found_hypotheses import found_of
from generation_problem import (
    EOS,
    HIDDEN,
    MEMORY,
    VOCABULARY,
    Problem,
    as_tensors,
    options_of,
    problem_of,
    without_prefix,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from search_options import BAD_OPTIONS, random_options
from tensorflow.python.eager import cancellation

from tf_ls import ops
from tf_ls.ops.search_options import METHODS
from tf_ls.testing.reference_search import sampling_probs, score

# Comparison ---------------------------------------------------------------------------------------


def check(problem, options, prefixes=None, *, return_attention=False):
    """Compares everything that is returned with the reference's."""
    generated = problem.generate(options, prefixes, return_attention=return_attention)
    tokens, lengths, scores, log_probs, attention = (part.numpy() for part in generated)
    expected = problem.expected(options, prefixes)
    found = found_of(generated)
    for i, hypotheses in enumerate(expected):
        hypotheses = [h for h in hypotheses if h.tokens or score(h, options) > -np.inf]
        values = [score(hypothesis, options) for hypothesis in hypotheses]
        if found[i] != [h.tokens for h in hypotheses]:
            check_tie(problem, options, prefixes, i, found[i])
            continue
        np.testing.assert_allclose(scores[i][: len(values)], values, rtol=1e-5, atol=1e-5)
        for j, hypothesis in enumerate(hypotheses):
            n = len(hypothesis.tokens)
            assert (tokens[i, j, n:] == EOS).all()
            assert (log_probs[i, j, n:] == 0).all()
            np.testing.assert_allclose(log_probs[i, j, :n], hypothesis.log_probs, atol=1e-5)
            if return_attention:
                seen = np.array(hypothesis.attention).reshape(n, -1)
                s = seen.shape[1]
                np.testing.assert_allclose(attention[i, j, :n, :s], seen, atol=1e-5)
                assert (attention[i, j, n:] == 0).all()
                assert (attention[i, j, :, s:] == 0).all()
        assert (lengths[i, len(hypotheses) :] == 0).all()
    if not return_attention:
        assert attention.shape[-1] == 0
    assert tokens.shape[2] == max(lengths.ravel(), default=0)
    return generated


def check_tie(problem, options, prefixes, sentence, found):
    """Where rounding decides: logits of float32 must explain what was found."""
    explained = [
        [h.tokens for h in problem.expected(options, prefixes, noise=seed)[sentence]]
        for seed in range(10)
    ]
    assert found in explained


# Against the reference ---------------------------------------------------------------------------

SEARCHES = ("greedy", "beam_search", "diverse_beam_search")


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"length_penalty_alpha": 1.5},
        {"length_penalty_alpha": -1.0},
        {"length_penalty": "lightseq", "length_penalty_alpha": -1.0},
        {"length_penalty": "exponent", "length_penalty_alpha": 1.0},
        {"length_penalty": "none"},
        {"early_stopping": True},
        {"early_stopping": True, "patience": 2.0},
        {"diversity": 0.7},
        {"coverage_penalty": 0.3},
        {"coverage_penalty": 0.3, "early_stopping": True},
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 0.7},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"min_length": 6},
        {"min_length": 9},
        {"max_length": 1},
        {"max_extra_length": 0},
        {"max_extra_length": 2},
        {"max_extra_length": None},
        {"forbidden_tokens": (EOS,)},
        {"forbidden_tokens": (1, 3, 4, 5)},
    ],
    ids=str,
)
def test_searches_and_options(method, more):
    beams = {"num_hypotheses": 1} if method == "greedy" else {"beam_size": 3, "num_hypotheses": 3}
    check(problem_of(), options_of(method, **beams, **more))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"num_hypotheses": 5},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": VOCABULARY + 5},
        {"top_p": 0.6},
        {"top_k": 4, "top_p": 0.8, "temperature": 1.5},
        {"seed": 2**63 - 1},
        {"forbidden_tokens": (EOS, 1)},
        {"no_repeat_ngram_size": 1, "min_length": 5, "top_k": 3},
        {"repetition_penalty": 1.5},
        {"coverage_penalty": 0.2, "length_penalty": "none"},
        {"max_length": 1},
    ],
    ids=str,
)
def test_sampling(more):
    options = options_of("sampling", **{"num_hypotheses": 3, "seed": 11, **more})
    check(problem_of(), options)
    check(problem_of(), options, [[4] * min(3, options.max_length), [], [9]])
    check(problem_of(lengths=None), dataclasses.replace(options, coverage_penalty=0.0))


def test_samples_are_of_their_row():
    """Row, number of the sample and seed make a sample; the batch and the number of samples not."""
    problem = problem_of(lengths=(5, 5, 5))
    options = options_of("sampling", num_hypotheses=6, seed=5, temperature=2.0)
    found = found_of(problem.generate(options))
    assert found == found_of(problem.generate(options))
    fewer = dataclasses.replace(options, num_hypotheses=2)
    assert [hypotheses[:2] for hypotheses in found] == found_of(problem.generate(fewer))
    assert found[:2] == found_of(problem.generate(options, sentences=[0, 1]))
    assert len({tokens for hypotheses in found for tokens in hypotheses}) > 9
    assert found != found_of(problem.generate(dataclasses.replace(options, seed=6)))


def test_samples_come_as_often_as_they_are_probable():
    """Chi-square of first tokens; Pearson 1900."""
    problem, count = problem_of(), 4000
    options = options_of("sampling", num_hypotheses=count, max_length=1, top_k=5, top_p=0.95)
    for i, hypotheses in enumerate(found_of(problem.generate(options))):
        logits = problem.models[i]([()])[0][0]
        expected = count * sampling_probs(logits - np.log(np.exp(logits).sum()), options)
        drawn = np.bincount([tokens[0] for tokens in hypotheses], minlength=VOCABULARY)
        assert (drawn[expected == 0] == 0).all()
        possible = expected > 0
        chi_square = ((drawn - expected)[possible] ** 2 / expected[possible]).sum()
        assert chi_square < 25  # with at most 4 degrees of freedom: 5 in 100,000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prefixes", [None, [[4, 4, 1], [], [9]]], ids=["", "prefix"])
def test_attention(method, prefixes):
    options = options_of(method, num_hypotheses=1 if method == "greedy" else 3)
    check(problem_of(), options, prefixes, return_attention=True)
    more = dataclasses.replace(options, coverage_penalty=0.5)
    check(problem_of(lengths=(4, 0, 7)), more, prefixes, return_attention=True)


@pytest.mark.parametrize("beam_size", [1, 2, 5, 64])
def test_beam_sizes(beam_size):
    more = {"beam_size": beam_size, "num_hypotheses": (beam_size + 1) // 2, "max_length": 4}
    check(problem_of(), options_of("beam_search", **more))


def test_each_sentence_has_its_prefix():
    prefixes = [[4, 4, 1], [], [9]]
    for more in ({}, {"no_repeat_ngram_size": 2, "forbidden_tokens": (4,), "min_length": 5}):
        options = options_of("beam_search", num_hypotheses=4, **more)
        generated = check(problem_of(), options, prefixes)
        for prefix, found in zip(prefixes, found_of(generated)):
            assert all(tokens[: len(prefix)] == tuple(prefix) for tokens in found)


def test_a_prefix_may_be_padded():
    problem, options = problem_of(), options_of("beam_search")
    ragged = problem.generate(options, [[4, 4, 1], [], [9]])
    padded = problem.generate(
        options,
        prefix=tf.constant([[4, 4, 1], [-1, 0, 99], [9, EOS, EOS]]),
        prefix_lengths=tf.constant([3, 0, 1]),
    )
    assert found_of(ragged) == found_of(padded)


def test_a_prefix_may_be_all_there_is():
    check(problem_of(), options_of("beam_search", max_length=3), [[4, 4, 1], [1, 1, 1], []])


@pytest.mark.parametrize(
    "more", [{}, {"beam_size": 3, "num_hypotheses": 3, "repetition_penalty": 1.3}]
)
def test_decoder_only(more):
    problem = problem_of(lengths=None)
    check(problem, options_of("beam_search", **more))
    check(problem, options_of("beam_search", **more), [[1, 3], [], [5, 5, 5, 5, 5]])


EMBEDDING_NORM = tuple(np.random.default_rng(6).normal(size=(2, HIDDEN)))


@pytest.mark.parametrize(
    "structure",
    [
        {"pre_norm": False, "norm": None},
        {"pre_norm": False, "norm": None, "embedding_norm": EMBEDDING_NORM, "epsilon": 1e-5},
        {"embedding_norm": EMBEDDING_NORM, "activation": "silu", "epsilon": 1e-12},
        {"activation": "gelu"},
        {"activation": "gelu_nonapprox", "output_bias": None},
        {"output_weights": None, "layers": 1},
        {"positions": None},
        {"positions": 0.5 * np.random.default_rng(5).normal(size=(9, HIDDEN)), "epsilon": 1e-3},
    ],
    ids=lambda structure: "-".join(structure),
)
def test_structures(structure):
    check(Problem(1, **structure), options_of("beam_search", num_hypotheses=2))


def test_many_exclusions():
    """More than are looked for beside the best: they are taken out of the logits."""
    problem = problem_of(vocabulary=200)
    forbidden = tuple(range(3, 190))
    for more in ({}, {"no_repeat_ngram_size": 1, "min_length": 9}, {"beam_size": 5}):
        options = options_of("beam_search", forbidden_tokens=forbidden, **more)
        check(problem, options, [[5, 5], [], []])
    check(problem, options_of("beam_search", forbidden_tokens=tuple(range(200))))


@settings(max_examples=60, deadline=None)
@given(options=random_options(VOCABULARY, EOS), seed=st.integers(0, 3), data=st.data())
def test_random_options(options, seed, data):
    problem = problem_of(seed)
    tokens = st.integers(0, VOCABULARY - 1).filter(lambda token: token != EOS)
    prefixes = []
    for i in range(problem.batch):
        limit = options.length_limit(problem.source_length(i))
        prefixes.append(data.draw(st.lists(tokens, max_size=min(3, limit))))
    check(problem, options, prefixes)


# Edges -------------------------------------------------------------------------------------------


def test_an_empty_source():
    check(problem_of(lengths=(0, 3)), options_of("beam_search", max_extra_length=3))
    check(problem_of(lengths=(0, 0)), options_of("beam_search", max_length=4))


def test_everything_finishes_at_the_first_step():
    bias = np.zeros(VOCABULARY)
    bias[EOS] = 100.0
    problem = Problem(output_bias=bias)
    generated = check(problem, options_of("greedy"))
    assert (generated.tokens.numpy() == EOS).all()
    assert generated.tokens.shape == [3, 1, 1]
    assert (generated.lengths.numpy() == 1).all()


def test_a_beam_larger_than_the_vocabulary():
    problem = problem_of(vocabulary=8)
    check(problem, options_of("beam_search", beam_size=10, num_hypotheses=10, max_length=1))
    check(problem, options_of("beam_search", beam_size=10, num_hypotheses=10, max_length=3))


def test_fewer_hypotheses_than_asked_for():
    options = options_of(
        "beam_search", beam_size=8, num_hypotheses=8, max_length=1, forbidden_tokens=(0, 1, 3, 4)
    )
    generated = check(problem_of(), options)
    assert (generated.lengths.numpy()[:, 7:] == 0).all()
    assert (generated.scores.numpy()[:, 7:] == -np.inf).all()


def test_no_sentences():
    for lengths in ((), None):
        problem = Problem(lengths=lengths)
        generated = problem.generate(options_of("beam_search", num_hypotheses=2), sentences=[])
        assert generated.tokens.shape == [0, 2, 0]
        assert generated.scores.shape == [0, 2]
        assert generated.attention.shape == [0, 2, 0, 0]


# What a sentence's hypotheses do not depend on ---------------------------------------------------


def test_neighbours_and_padding():
    problem = problem_of(lengths=(5, 3, 8, 1, 4, 4, 2))
    options = options_of("beam_search", num_hypotheses=3, max_length=12)
    together = problem.generate(options)
    for sentences, padding in ([[3], 0], [[3], 5], [[6, 3, 1], 2], [[1, 0, 3, 5], 1]):
        alone = problem.generate(options, sentences=sentences, padding=padding)
        for place, i in enumerate(sentences):
            assert found_of(alone)[place] == found_of(together)[i]
            np.testing.assert_allclose(
                alone.scores[place].numpy(), together.scores[i].numpy(), atol=1e-5
            )


def test_options_are_tensors_without_tracing_again():
    problem = problem_of()
    traces = []

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.string),
            tf.TensorSpec([None], tf.int32),
        ]
    )
    def generate(beam_size, alpha, method, forbidden):
        traces.append(method)
        options = ops.SearchOptions(
            eos=tf.constant(EOS),
            method=method,
            beam_size=beam_size,
            num_hypotheses=tf.constant(1),
            length_penalty_alpha=alpha,
            forbidden_tokens=forbidden,
            max_length=tf.constant(9),
        )
        return problem.generate(options)

    for beam_size, alpha, method, forbidden in (
        (4, 0.6, "beam_search", []),
        (2, 1.0, "diverse_beam_search", [3, 4]),
        (2, 0.0, "greedy", [5]),
    ):
        generated = generate(
            tf.constant(beam_size),
            tf.constant(alpha),
            tf.constant(method),
            tf.constant(forbidden, tf.int32),
        )
        options = options_of(
            method,
            beam_size=beam_size,
            length_penalty_alpha=alpha,
            forbidden_tokens=tuple(forbidden),
        )
        assert found_of(generated) == [[h.tokens for h in hs] for hs in problem.expected(options)]
    assert len(traces) == 1


def test_static_shapes():
    problem = problem_of()

    @tf.function
    def generate():
        generated = problem.generate(options_of("beam_search", num_hypotheses=2))
        assert generated.tokens.shape.as_list() == [3, 2, None]
        assert generated.lengths.shape.as_list() == [3, 2]
        assert generated.scores.shape.as_list() == [3, 2]
        assert generated.log_probs.shape.as_list() == [3, 2, None]
        assert generated.attention.shape.as_list() == [3, 2, None, None]
        return generated

    generate()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_close(dtype):
    """Where tokens are the same, so are scores, about; most are the same."""
    problem = problem_of(lengths=(5, 3, 8, 1, 4, 4, 2))
    for weights_dtype in ("float32", dtype):
        options = options_of("greedy")
        exact = problem.generate(options)
        with_half = ops.generate(
            as_tensors(problem.decoder, weights_dtype),
            tf.constant(problem.memory, dtype),
            tf.constant(problem.lengths, tf.int64),
            tf.constant(problem.starts, tf.int64),
            without_prefix(options),
        )
        same = [a == b for a, b in zip(found_of(exact), found_of(with_half))]
        assert sum(same) >= 5
        np.testing.assert_allclose(
            with_half.scores.numpy()[same], exact.scores.numpy()[same], atol=0.1, rtol=0.05
        )


def test_variables_and_no_gradient():
    problem = problem_of()
    decoder = as_tensors(problem.decoder)
    table = tf.Variable(decoder.table)
    with tf.GradientTape() as tape:
        generated = ops.generate(
            dataclasses.replace(decoder, table=table),
            tf.constant(problem.memory),
            tf.constant(problem.lengths),
            tf.constant(problem.starts),
            without_prefix(options_of("greedy")),
        )
    assert tape.gradient(generated.scores, table) is None


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eos", *BAD_OPTIONS])
def test_bad_options(name):
    for value in {"eos": [-1, VOCABULARY], **BAD_OPTIONS}[name]:
        dtype = {float: tf.float64, str: tf.string}.get(type(value), tf.int64)
        options = ops.SearchOptions(**{"eos": EOS, name: tf.constant(value, dtype)})
        with pytest.raises(tf.errors.InvalidArgumentError, match=name):
            problem_of().generate(options)


def test_negative_alpha_needs_a_penalty_that_takes_it():
    options = ops.SearchOptions(
        eos=EOS, length_penalty=tf.constant("none"), length_penalty_alpha=tf.constant(-1.0)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="length_penalty_alpha"):
        problem_of().generate(options)


def test_greedy_search_finds_one():
    options = ops.SearchOptions(
        eos=EOS, method=tf.constant("greedy"), num_hypotheses=tf.constant(2)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_hypotheses"):
        problem_of().generate(options)


def bad_call(match=None, *, decoder=None, error=BadInput, **changed):
    problem = problem_of()
    arguments = {
        "memory": tf.constant(problem.memory),
        "source_lengths": tf.constant(problem.lengths),
        "start": tf.constant(problem.starts),
        "options": ops.SearchOptions(eos=EOS, max_length=9),
        **changed,
    }
    changed_decoder = dataclasses.replace(as_tensors(problem.decoder), **(decoder or {}))
    with pytest.raises(error, match=match):
        ops.generate(changed_decoder, **arguments)


def test_bad_tokens_and_lengths():
    bad_call("start must be from 0 to 10", start=tf.constant([1, 2, 11]))
    bad_call("start must be from 0 to 10", start=tf.constant([-1, 2, 3]))
    bad_call("source length 1 must be from 0 to 8, got 9", source_lengths=tf.constant([1, 9, 3]))
    bad_call("source length 0 must be from 0", source_lengths=tf.constant([-1, 8, 3]))
    bad_call("prefix must be from 0 to 10", prefix=tf.constant([[1], [11], [2]]))
    bad_call("must not contain eos", prefix=tf.constant([[1], [EOS], [3]]))
    bad_call("prefix 0 must have at most 9 tokens", prefix=tf.ones([3, 10], tf.int64))
    prefix = tf.ones([3, 2], tf.int64)
    bad_call("prefix length 2 must be", prefix=prefix, prefix_lengths=tf.constant([0, 1, 3]))
    bad_call("prefix length 0 must be", prefix=prefix, prefix_lengths=tf.constant([-1, 1, 2]))
    bad_call("start must be integers", start=tf.constant([1.0, 2.0, 3.0]), error=TypeError)


def test_bad_shapes():
    bad_call(start=tf.constant([1, 2]))
    bad_call(start=tf.constant([[1, 2, 3]]))
    bad_call(source_lengths=tf.constant([1, 2]))
    bad_call(memory=tf.zeros([3, 8, MEMORY + 1]))
    bad_call(memory=tf.zeros([3, MEMORY]))
    bad_call(prefix=tf.ones([2, 1], tf.int64))
    bad_call(prefix=tf.ones([3, 1], tf.int64), prefix_lengths=tf.constant([1]))
    bad_call(decoder={"output_weights": tf.zeros([VOCABULARY + 1, HIDDEN])})
    bad_call(decoder={"output_bias": tf.zeros([VOCABULARY + 1])})
    bad_call(decoder={"norm": (tf.zeros([HIDDEN]), tf.zeros([HIDDEN + 1]))})
    bad_call(decoder={"norm": (tf.zeros([HIDDEN]),)})
    bad_call(decoder={"table": tf.zeros([VOCABULARY])})
    bad_call("must have at least 9 rows", decoder={"positions": tf.zeros([8, HIDDEN])})
    bad_call(decoder={"positions": tf.zeros([9, HIDDEN + 1])})
    layers = as_tensors(problem_of().decoder).layers
    bad_call(decoder={"layers": [layers[0], layers[1][:-1]]})
    bad_call(decoder={"layers": [layers[0], [tf.zeros([3])] * 20]})
    bad_call("heads", decoder={"num_heads": 5})


def test_bad_python_arguments():
    bad_call("together", memory=None, error=ValueError)
    bad_call("at least one layer", decoder={"layers": []}, error=ValueError)
    bad_call("sinusoids", decoder={"positions": "sines"}, error=ValueError)
    bad_call("without a prefix", prefix_lengths=tf.constant([1, 1, 1]), error=ValueError)
    with pytest.raises(ValueError, match="beam_size"):
        ops.SearchOptions(eos=EOS, beam_size=65)


def test_a_decoder_without_cross_attention_has_no_coverage():
    problem = problem_of(lengths=None)
    with pytest.raises(tf.errors.InvalidArgumentError, match="coverage_penalty"):
        problem.generate(options_of("beam_search", coverage_penalty=0.1))
    with pytest.raises(tf.errors.InvalidArgumentError, match="return_attention"):
        problem.generate(options_of("beam_search"), return_attention=True)


def test_logits_that_are_no_numbers():
    memory = problem_of().memory.copy()
    memory[1, 1] = np.nan
    bad_call("sentence 1 at position 0", memory=tf.constant(memory))


def test_cancellation():
    """A call that would take an hour ends at once."""
    problem = problem_of()
    manager = cancellation.CancellationManager()
    options = without_prefix(
        options_of(
            "beam_search", forbidden_tokens=(EOS,), max_length=100_000, max_extra_length=None
        )
    )

    @tf.function
    def generate(memory):  # an argument: what is made of constants alone is computed beforehand
        return ops.generate(
            as_tensors(problem.decoder),
            memory,
            tf.constant(problem.lengths),
            tf.constant(problem.starts),
            options,
        )

    memory = tf.constant(problem.memory)
    function = manager.get_cancelable_function(generate.get_concrete_function(memory))
    timer = threading.Timer(0.3, manager.start_cancel)
    timer.start()
    with pytest.raises(tf.errors.CancelledError):
        function(memory)
    timer.join()
