"""What one request may ask for."""

import pytest

from tf_ls.ops.search_options import SearchOptions
from tf_ls.serving.errors import ServingError
from tf_ls.serving.limits import Limits

LIMITS = Limits(sentences=3, source_length=10, beam_size=4, length=20, work=100, attention=200)


def check(lengths, **options):
    LIMITS.check_generation(lengths, SearchOptions(**{"eos": 2, "max_extra_length": 5, **options}))


def test_what_is_allowed():
    check([], beam_size=4)
    check([10, 0, 5], beam_size=2)  # 2 * (15 + 5 + 10) = 60
    check([10], beam_size=4, num_hypotheses=4)
    check([1], method="greedy", beam_size=64)
    check([1], max_length=10**9)


def test_attention():
    """The numbers of it: hypotheses x their length x the source's."""
    options = SearchOptions(eos=2, max_extra_length=5, num_hypotheses=2)
    LIMITS.check_generation([7, 2], options, attention=True)  # 2 * (12 * 7 + 7 * 2) = 196
    LIMITS.check_generation([7, 3], options)
    with pytest.raises(
        ServingError, match=r"attention \(.*\): this server takes at most 200, got 216"
    ):
        LIMITS.check_generation([7, 3], options, attention=True)


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([1] * 4, {}, "sentences: this server takes at most 3, got 4"),
        ([1, 11], {}, "tokens in sentence 1: this server takes at most 10, got 11"),
        ([1], {"beam_size": 5}, "beam_size: this server takes at most 4, got 5"),
        (
            [1],
            {"method": "sampling", "num_hypotheses": 5},
            "num_hypotheses: this server takes at most 4, got 5",
        ),
        ([1], {"max_extra_length": 20}, "may have 21 tokens"),
        ([1], {"max_length": 30, "max_extra_length": None}, "may have 30 tokens"),
        ([1], {"max_length": 30, "min_length": 30}, "may have 30 tokens"),
        ([10, 10, 10], {"beam_size": 3}, r"work \(sentences x beam x length\): .* 100, got 135"),
    ],
    ids=str,
)
def test_what_is_too_much(lengths, options, message):
    with pytest.raises(ServingError, match=message) as error:
        check(lengths, **options)
    assert error.value.code == "INVALID_ARGUMENT"
