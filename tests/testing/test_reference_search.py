"""The reference of generation: against brute force, worked examples, what its options promise."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_options import random_options

from tf_ls.ops.search_options import METHODS
from tf_ls.testing.reference_search import (
    Hypothesis,
    Options,
    gumbel_noise,
    philox,
    sampling_probs,
    score,
    search,
)

EOS = 0


def random_model(vocabulary, seed=0, source_length=None):
    """A model whose logits depend on the whole prefix; with a source, attention does, too."""

    def model(prefixes):
        rngs = [np.random.default_rng([seed, *prefix]) for prefix in prefixes]
        logits = np.array([2.0 * rng.normal(size=vocabulary) for rng in rngs])
        if source_length is None:
            return logits
        return logits, np.array([rng.dirichlet(np.ones(source_length)) for rng in rngs])

    return model


def table_model(table, default):
    """A model that looks the probabilities of what follows a prefix up."""

    def model(prefixes):
        with np.errstate(divide="ignore"):
            return np.log([table.get(prefix, default) for prefix in prefixes])

    return model


def tokens_of(hypotheses):
    return [hypothesis.tokens for hypothesis in hypotheses]


# Against brute force -----------------------------------------------------------------------------


def all_sequences(model, options, vocabulary, limit):
    """Returns the score of each sequence that the options allow, by a route of its own."""
    scores = {}
    for length in range(1, limit + 1):
        for tokens in itertools.product(range(vocabulary), repeat=length):
            if EOS in tokens[:-1] or (tokens[-1] != EOS and length < limit):
                continue
            if tokens[-1] == EOS and length < options.min_length:
                continue
            free = tokens[len(options.prefix) :]
            if tokens[: len(options.prefix)] != options.prefix:
                continue
            if set(free) & set(options.forbidden_tokens):
                continue
            grams = list(zip(*(tokens[i:] for i in range(options.no_repeat_ngram_size))))
            if len(set(grams)) < len(grams):
                continue
            log_prob, coverage = 0.0, 0.0
            for i, token in enumerate(tokens):
                [logits], [attention] = model([tokens[:i]])
                for seen in set(tokens[:i]):
                    factor = options.repetition_penalty
                    logits[seen] *= 1 / factor if logits[seen] > 0 else factor
                log_prob += logits[token] - np.log(np.exp(logits).sum())
                coverage = coverage + attention
            value = log_prob / ((5 + length) / 6) ** options.length_penalty_alpha
            value += options.coverage_penalty * np.log(np.minimum(coverage, 1)).sum()
            scores[tokens] = value
    return scores


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_penalty_alpha": 0.0},
        {"length_penalty_alpha": 2.0},
        {"coverage_penalty": 0.3},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"min_length": 3},
        {"prefix": (2, 1)},
        {"forbidden_tokens": (1,)},
        {"prefix": (1,), "forbidden_tokens": (1,), "min_length": 4, "repetition_penalty": 1.2},
    ],
)
def test_a_beam_of_all_sequences_finds_them_in_order(options, early_stopping):
    vocabulary, limit = 3, 4
    model = random_model(vocabulary, seed=1, source_length=2)
    options = Options(
        eos=EOS,
        beam_size=64,
        num_hypotheses=64,
        max_length=limit,
        early_stopping=early_stopping,
        **options,
    )
    found = search(model, options)
    expected = all_sequences(model, options, vocabulary, limit)
    assert tokens_of(found) == sorted(expected, key=expected.get, reverse=True)
    np.testing.assert_allclose(
        [score(h, options) for h in found], [expected[h.tokens] for h in found]
    )


@pytest.mark.parametrize("seed", range(10))
def test_greedy_search_takes_the_most_probable_token(seed):
    model = random_model(6, seed)
    expected = ()
    while len(expected) < 8 and EOS not in expected:
        expected += (int(np.argmax(model([expected])[0])),)
    [found] = search(model, Options(eos=EOS, method="greedy", max_length=8))
    assert found.tokens == expected


def test_greedy_search_is_a_beam_of_one_and_sampling_of_one_token():
    model = random_model(6)
    greedy = search(model, Options(eos=EOS, method="greedy", max_length=8))
    for same in ({"beam_size": 1}, {"method": "sampling", "top_k": 1}):
        assert tokens_of(search(model, Options(eos=EOS, max_length=8, **same))) == tokens_of(greedy)


# Worked examples ---------------------------------------------------------------------------------

LOG = math.log


@pytest.mark.parametrize(
    ("penalty", "alpha", "expected"),
    [
        ("neurst", 0.6, LOG(1 / 8) / (8 / 6) ** 0.6),
        ("neurst", 0.0, LOG(1 / 8)),
        ("neurst", -1.0, LOG(1 / 8) / 3),
        ("lightseq", 0.6, LOG(1 / 8) / (8 / 6) ** 0.6),
        ("lightseq", -1.0, LOG(1 / 8) / 2),
        ("exponent", 0.5, LOG(1 / 8) / 3**0.5),
        ("none", 0.6, LOG(1 / 8)),
    ],
)
def test_length_penalties(penalty, alpha, expected):
    options = Options(eos=EOS, length_penalty=penalty, length_penalty_alpha=alpha)
    hypothesis = Hypothesis((1, 2, EOS), (LOG(1 / 2),) * 3, ended=True)
    assert score(hypothesis, options) == pytest.approx(expected)


def test_lightseq_ranks_the_search_by_sums_and_the_result_by_means():
    # EOS has the best sum, the other hypothesis of the beam the best mean.
    table = {(): [0.5, 0.3, 0.2], (1,): [0.9, 0.1, 0.0], (2,): [1.0, 0.0, 0.0]}
    options = Options(
        eos=EOS,
        length_penalty="lightseq",
        length_penalty_alpha=-1.0,
        beam_size=2,
        num_hypotheses=2,
    )
    found = search(table_model(table, None), options)
    assert tokens_of(found) == [(1, EOS), (EOS,)]
    assert score(found[0], options) == pytest.approx(LOG(0.3 * 0.9))
    assert score(found[1], options) == -math.inf


def test_a_finished_hypothesis_stays_in_the_beam_only_as_long_as_it_is_good():
    # The mean log-probability of what goes on overtakes that of EOS at the first step.
    table = {(): [0.3, 0.4, 0.3]}
    model = table_model(table, [0.0, 0.5, 0.5])
    options = {"eos": EOS, "beam_size": 2, "num_hypotheses": 2, "max_length": 3}
    options |= {"length_penalty": "exponent", "length_penalty_alpha": 1.0}
    found = search(model, Options(**options))
    assert tokens_of(found) == [(1, 1, 1), (1, 1, 2)]
    # EOS is returned where finished hypotheses leave the beam instead.
    table[(1,)] = [0.6, 0.2, 0.2]
    found = search(model, Options(**options, early_stopping=True))
    assert tokens_of(found) == [(1, EOS), (EOS,)]


def test_early_stopping_gives_the_places_of_finished_hypotheses_to_unfinished_ones():
    table = {(): [0.5, 0.3, 0.2], (1,): [0.1, 0.9, 0.0], (2,): [0.9, 0.1, 0.0]}
    model = table_model(table, [1.0, 0.0, 0.0])
    options = {"eos": EOS, "beam_size": 2, "num_hypotheses": 2, "length_penalty": "none"}
    # A beam of EOS and 1 has no place for 2; in a beam of 1 and 2, (2, EOS) comes second.
    assert tokens_of(search(model, Options(**options))) == [(EOS,), (1, 1, EOS)]
    found = search(model, Options(**options, early_stopping=True))
    assert tokens_of(found) == [(EOS,), (2, EOS)]
    found = search(model, Options(**options, early_stopping=True, patience=1.5))
    assert tokens_of(found) == [(EOS,), (1, 1, EOS)]


def test_at_the_maximum_length_unfinished_hypotheses_are_ranked_beside_finished_ones():
    model = table_model({(): [0.2, 0.8, 0.0]}, [0.1, 0.9, 0.0])
    options = Options(eos=EOS, beam_size=2, num_hypotheses=2, max_length=2, length_penalty="none")
    found = search(model, options)
    assert tokens_of(found) == [(1, 1), (EOS,)]
    assert [h.ended for h in found] == [False, True]


def test_diversity_counts_against_the_second_child_of_a_hypothesis():
    table = {(): [0.0, 0.6, 0.4], (1,): [0.0, 0.6, 0.4], (2,): [0.0, 0.5, 0.5]}
    model = table_model(table, None)
    options = {"eos": EOS, "beam_size": 2, "num_hypotheses": 2, "max_length": 2}
    options["length_penalty"] = "none"
    assert tokens_of(search(model, Options(**options))) == [(1, 1), (1, 2)]
    diverse = Options(**options, method="diverse_beam_search", diversity=1.0)
    found = search(model, diverse)
    assert tokens_of(found) == [(1, 1), (2, 1)]
    assert score(found[1], diverse) == pytest.approx(LOG(0.4 * 0.5))  # as if there were none
    assert tokens_of(search(model, Options(**options, diversity=1.0))) == [(1, 1), (1, 2)]


@pytest.mark.parametrize("method", ["beam_search", "diverse_beam_search"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_of_equals_the_earlier_hypothesis_and_the_lower_token_comes_first(method, early_stopping):
    model = table_model({}, [0.25] * 4)
    options = Options(
        eos=3,
        method=method,
        beam_size=3,
        num_hypotheses=3,
        max_length=2,
        early_stopping=early_stopping,
        length_penalty="none",
    )
    assert tokens_of(search(model, options)) == [(0, 0), (0, 1), (0, 2)]


def test_exclusion_leaves_the_log_probs_of_other_tokens_as_they_are():
    model = table_model({}, [0.1, 0.6, 0.3])
    options = Options(eos=EOS, max_length=1, forbidden_tokens=(1,))
    [found] = search(model, options)
    assert found.tokens == (2,)
    assert found.log_prob == pytest.approx(LOG(0.3))


def test_repetition_penalty_changes_the_logits_of_seen_tokens_once():
    def model(prefixes):
        return np.array([[-1.0, 2.0, -1.0]] * len(prefixes))

    def log_prob(penalty, prefix):
        options = Options(
            eos=EOS, repetition_penalty=penalty, prefix=prefix, max_length=len(prefix)
        )
        return search(model, options)[0].log_probs[-1]

    one = np.array([-1.0, 2.0 / 1.5, -1.0])
    both = np.array([-1.0, 2.0 / 1.5, -1.0 * 1.5])
    assert log_prob(1.5, (1, 1)) == pytest.approx(one[1] - LOG(np.exp(one).sum()))
    assert log_prob(1.5, (1, 2, 1, 2)) == pytest.approx(both[2] - LOG(np.exp(both).sum()))


def test_attention_is_that_of_each_step_and_unattended_positions_count_as_little():
    attention = np.array([0.75, 0.25, 0.0])

    def model(prefixes):
        return np.zeros([len(prefixes), 2]), np.array([attention] * len(prefixes))

    options = Options(eos=1, max_length=2, length_penalty="none", coverage_penalty=1.0)
    [found] = search(model, options)
    np.testing.assert_array_equal(found.attention, [attention] * len(found.tokens))
    assert found.tokens == (0, 0)
    expected = LOG(1 / 4) + LOG(1.0) + LOG(0.5) + LOG(1e-6)
    assert score(found, options) == pytest.approx(expected)


def test_coverage_counts_in_the_search_too():
    # Behind 1 the model attends to what it has not seen yet, behind 2 to the same again.
    attention = {(): [1.0, 0.0], (1,): [0.0, 1.0], (2,): [1.0, 0.0]}
    table = table_model({(): [0.0, 0.5, 0.5]}, [0.0, 0.6, 0.4])

    def model(prefixes):
        return table(prefixes), np.array([attention[prefix] for prefix in prefixes])

    options = {"eos": EOS, "beam_size": 2, "num_hypotheses": 2, "max_length": 2}
    assert tokens_of(search(model, Options(**options))) == [(1, 1), (2, 1)]
    covering = search(model, Options(**options, coverage_penalty=0.1))
    assert tokens_of(covering) == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("options", "source_length", "expected"),
    [
        ({"max_length": 5}, None, 5),
        ({"max_length": 5, "max_extra_length": 1}, 3, 4),
        ({"max_length": 5, "max_extra_length": 1}, 30, 5),
        ({"max_length": 5, "max_extra_length": None}, 30, 5),
        ({"max_length": 5, "max_extra_length": 1, "min_length": 5}, 3, 5),
        ({"max_length": 5, "max_extra_length": 0}, 0, 1),
    ],
)
def test_maximum_length(options, source_length, expected):
    model = table_model({}, [0.0, 0.5, 0.5])
    [found] = search(model, Options(eos=EOS, **options), source_length)
    assert len(found.tokens) == expected
    assert not found.ended


@pytest.mark.parametrize("method", METHODS)
def test_where_no_token_may_follow_a_hypothesis_ends_without_eos(method):
    model = random_model(3)
    options = Options(eos=EOS, method=method, forbidden_tokens=(EOS,), no_repeat_ngram_size=1)
    [found] = search(model, options)
    assert sorted(found.tokens) == [1, 2]
    assert found.ended
    nothing = Options(eos=EOS, method=method, forbidden_tokens=(EOS, 1, 2))
    assert search(model, nothing) == [Hypothesis(ended=True)]


def test_everything_finished_at_the_first_step():
    model = table_model({}, [1.0, 0.0, 0.0])
    for method in METHODS:
        [found] = search(model, Options(eos=EOS, method=method))
        assert found.tokens == (EOS,)
        assert found.log_prob == 0.0


def test_a_beam_larger_than_the_vocabulary_holds_what_there_is():
    options = Options(eos=EOS, beam_size=64, num_hypotheses=64, max_length=1)
    assert sorted(tokens_of(search(random_model(3), options))) == [(0,), (1,), (2,)]


# What options promise ----------------------------------------------------------------------------

VOCABULARY = 6


@st.composite
def options_with_prefix(draw, methods=METHODS):
    options = draw(random_options(VOCABULARY, EOS, methods))
    tokens = st.integers(1, VOCABULARY - 1)
    prefix = draw(st.lists(tokens, max_size=min(3, options.max_length)))
    return dataclasses.replace(options, prefix=tuple(prefix))


@settings(max_examples=300, deadline=None)
@given(options=options_with_prefix(), seed=st.integers(0, 999))
def test_hypotheses_are_what_the_options_ask_for(options, seed):
    found = search(random_model(VOCABULARY, seed, source_length=3), options)
    assert 1 <= len(found) <= options.num_hypotheses
    for hypothesis in found:
        tokens, prefix = hypothesis.tokens, options.prefix
        assert len(tokens) == len(hypothesis.log_probs) == len(hypothesis.attention)
        assert len(tokens) <= options.max_length
        assert EOS not in tokens[:-1]
        assert tokens[: len(prefix)] == prefix
        assert not set(tokens[len(prefix) :]) & set(options.forbidden_tokens)
        if tokens[-1:] == (EOS,):
            assert len(tokens) >= options.min_length
        n = options.no_repeat_ngram_size
        if n > 0:
            grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
            for i in range(max(0, len(prefix) - n + 1), len(grams)):  # those that end behind it
                assert grams[i] not in grams[:i]
    if options.method == "sampling":
        assert len(found) == options.num_hypotheses
    else:
        assert len(set(tokens_of(found))) == len(found)
        scores = [score(hypothesis, options) for hypothesis in found]
        assert scores == sorted(scores, reverse=True)


@settings(max_examples=100, deadline=None)
@given(options=options_with_prefix(methods=["beam_search"]), seed=st.integers(0, 999))
def test_more_patience_finds_nothing_worse(options, seed):
    model = random_model(VOCABULARY, seed, source_length=3)
    best = []
    for patience in (0.3, 1.0, 2.0, 5.0):
        values = {**vars(options), "early_stopping": True, "patience": patience}
        best.append(score(search(model, Options(**values))[0], options))
    assert best == sorted(best)


@settings(max_examples=50, deadline=None)
@given(options=options_with_prefix(methods=["sampling"]), row=st.integers(0, 1000))
def test_a_sample_depends_on_seed_row_and_its_number_alone(options, row):
    model = random_model(VOCABULARY, source_length=3)
    found = search(model, options, row=row)
    assert tokens_of(search(model, options, row=row)) == tokens_of(found)
    more = Options(**{**vars(options), "num_hypotheses": options.num_hypotheses + 2})
    assert tokens_of(search(model, more, row=row))[: len(found)] == tokens_of(found)


# Sampling ----------------------------------------------------------------------------------------

LOGITS = np.array([0.5, 2.0, -1.0, 1.0, 1.0, -3.0])


def expected_probs(temperature=1.0, kept=range(6)):
    probs = np.array(
        [math.exp(x / temperature) if i in kept else 0.0 for i, x in enumerate(LOGITS)]
    )
    return probs / probs.sum()


@pytest.mark.parametrize(
    ("options", "probs"),
    [
        ({}, expected_probs()),
        ({"temperature": 0.5}, expected_probs(0.5)),
        ({"temperature": 3.0}, expected_probs(3.0)),
        ({"top_k": 2}, expected_probs(kept=[1, 3])),  # of the two equals the lower token
        ({"top_k": 3}, expected_probs(kept=[1, 3, 4])),
        ({"top_k": 100}, expected_probs()),
        ({"top_p": 0.45}, expected_probs(kept=[1])),  # 0.496
        ({"top_p": 0.55}, expected_probs(kept=[1, 3])),
        ({"top_p": 0.9}, expected_probs(kept=[0, 1, 3, 4])),
        ({"top_k": 3, "top_p": 0.55}, expected_probs(kept=[1])),  # 0.576 of the three
        ({"top_k": 3, "top_p": 0.55, "temperature": 2.0}, expected_probs(2.0, kept=[1, 3])),
        ({"forbidden_tokens": (1,)}, expected_probs(kept=[0, 2, 3, 4, 5])),
        ({"forbidden_tokens": (1,), "top_k": 2}, expected_probs(kept=[3, 4])),
        ({"min_length": 2, "max_length": 2}, expected_probs(kept=[1, 2, 3, 4, 5])),
    ],
)
def test_samples_are_distributed_as_asked(options, probs):
    def model(prefixes):
        return np.array([LOGITS] * len(prefixes))

    options = {"max_length": 1, "num_hypotheses": 40, "seed": 7, **options}
    options = Options(eos=EOS, method="sampling", **options)
    counts = np.zeros(6)
    for row in range(25):
        for hypothesis in search(model, options, row=row):
            counts[hypothesis.tokens[0]] += 1
    assert_distributed(counts, probs)


def assert_distributed(counts, probs):
    """Asserts that a chi-square statistic is within five standard deviations of its mean."""
    assert not counts[probs == 0].any()
    expected = probs[probs > 0] * counts.sum()
    freedom = len(expected) - 1
    statistic = ((counts[probs > 0] - expected) ** 2 / expected).sum()
    assert statistic <= freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("changing", ["seed", "row", "sample", "step"])
def test_draws_that_differ_in_one_thing_are_independent(changing):
    probs = expected_probs(3.0)
    where = {"seed": 3, "row": 5, "sample": 7, "step": 11}

    def draw(number):
        noise = gumbel_noise(**{**where, changing: number}, tokens=np.arange(6))
        return np.argmax(np.log(probs) + noise)

    pairs = np.zeros([6, 6])
    for number in range(2000):
        pairs[draw(2 * number), draw(2 * number + 1)] += 1
    assert_distributed(pairs, np.outer(probs, probs))


def test_sampling_probs_are_those_of_the_whole_vocabulary_by_default():
    log_probs = np.log(expected_probs())
    options = Options(eos=EOS, method="sampling")
    np.testing.assert_allclose(sampling_probs(log_probs, options), np.exp(log_probs))


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        (0, [0] * 4, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (2**64 - 1, [2**32 - 1] * 4, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            0x299F31D0A4093822,
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_numbers(key, counter, words):
    assert [int(w) for w in philox(key, [np.uint64(c) for c in counter])] == words


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eos", -1),
        ("method", "beam"),
        ("beam_size", 0),
        ("beam_size", 65),
        ("beam_size", 2.0),
        ("beam_size", True),
        ("num_hypotheses", 0),
        ("num_hypotheses", 5),
        ("length_penalty", "gnmt"),
        ("length_penalty_alpha", math.nan),
        ("length_penalty_alpha", 10.5),
        ("coverage_penalty", -0.1),
        ("diversity", -1),
        ("early_stopping", 1),
        ("patience", 0.0),
        ("patience", math.inf),
        ("repetition_penalty", 0),
        ("no_repeat_ngram_size", -1),
        ("min_length", -1),
        ("min_length", 257),
        ("max_length", 0),
        ("max_extra_length", -1),
        ("prefix", [1]),
        ("prefix", (1, -1)),
        ("prefix", (1, EOS)),
        ("prefix", (1,) * 257),
        ("forbidden_tokens", ("a",)),
        ("temperature", 0.0),
        ("temperature", "hot"),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got "):
        Options(**{"eos": EOS, name: value})


def test_greedy_search_returns_one_hypothesis():
    with pytest.raises(ValueError, match="num_hypotheses: expected 1 to 1, got 2"):
        Options(eos=EOS, method="greedy", num_hypotheses=2)


@pytest.mark.parametrize("penalty", ["exponent", "none"])
def test_a_negative_alpha_has_a_meaning_for_neurst_and_lightseq_only(penalty):
    with pytest.raises(ValueError, match="length_penalty_alpha: expected at least 0 with"):
        Options(eos=EOS, length_penalty=penalty, length_penalty_alpha=-1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eos": 6}, "eos: expected ids below 6, got 6"),
        ({"prefix": (1, 9)}, "prefix: expected ids below 6, got 9"),
        ({"forbidden_tokens": (7,)}, "forbidden_tokens: expected ids below 6, got 7"),
        ({"prefix": (1, 2, 3), "max_extra_length": 0}, "prefix: expected at most 2 tokens, got 3"),
        ({"coverage_penalty": 0.1}, "coverage_penalty: expected a model that returns attention"),
    ],
)
def test_options_that_do_not_fit_the_model_or_the_source_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        search(random_model(VOCABULARY), Options(**{"eos": EOS, **options}), source_length=2)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros(6), r"logits: expected \[1, V\], got \[6\]"),
        (np.zeros([2, 6]), r"logits: expected \[1, V\], got \[2, 6\]"),
        (np.full([1, 6], math.nan), "logits: expected numbers or -inf, got NaN or inf"),
        (np.full([1, 6], math.inf), "logits: expected numbers or -inf, got NaN or inf"),
    ],
)
def test_bad_logits_are_refused(logits, message):
    with pytest.raises(ValueError, match=message):
        search(lambda prefixes: logits, Options(eos=EOS))
