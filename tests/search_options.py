"""Options of a search to draw at random, and options that are out of their range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tf_ls.ops.search_options import LENGTH_PENALTIES, METHODS
from tf_ls.testing.reference_search import Options


@st.composite
def random_options(draw, vocabulary: int, eos: int, methods: Sequence[str] = METHODS) -> Options:
    """Options of hypotheses of up to 7 tokens, without a prefix."""
    method = draw(st.sampled_from(methods))
    beam_size = draw(st.integers(1, 5))
    most = {"greedy": 1, "sampling": 5}.get(method, beam_size)
    max_length = draw(st.integers(1, 7))
    return Options(
        eos=eos,
        method=method,
        beam_size=beam_size,
        num_hypotheses=draw(st.integers(1, most)),
        length_penalty=draw(st.sampled_from(LENGTH_PENALTIES)),
        length_penalty_alpha=draw(st.sampled_from([0.0, 0.6, 1.0, 2.0])),
        coverage_penalty=draw(st.sampled_from([0.0, 0.2])),
        diversity=draw(st.sampled_from([0.0, 0.5])),
        early_stopping=draw(st.booleans()),
        patience=draw(st.sampled_from([0.5, 1.0, 2.0])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3, 0.8])),
        no_repeat_ngram_size=draw(st.integers(0, 3)),
        min_length=draw(st.integers(0, max_length)),
        max_length=max_length,
        max_extra_length=draw(st.sampled_from([None, 0, 2, 50])),
        forbidden_tokens=tuple(draw(st.lists(st.integers(0, vocabulary - 1), max_size=3))),
        temperature=draw(st.sampled_from([0.5, 1.0, 2.0])),
        top_k=draw(st.integers(0, vocabulary + 1)),
        top_p=draw(st.sampled_from([0.3, 0.9, 1.0])),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


# Values that a search refuses when it runs, in a vocabulary of 11; where others have defaults.
BAD_OPTIONS = {
    "method": ["beam"],
    "beam_size": [0, 65],
    "num_hypotheses": [0, 5],
    "length_penalty": ["google"],
    "length_penalty_alpha": [10.5, np.nan],
    "coverage_penalty": [-0.1, np.inf],
    "diversity": [-1.0],
    "patience": [0.0],
    "repetition_penalty": [0.0, -1.0, 1e-60, 1e60],
    "no_repeat_ngram_size": [-1],
    "min_length": [-1, 300],
    "max_length": [0],
    "max_extra_length": [-2],
    "forbidden_tokens": [[-1], [11]],
    "temperature": [0.0],
    "top_k": [-1],
    "top_p": [0.0, 1.1],
    "seed": [-1],
}
