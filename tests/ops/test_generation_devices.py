"""ops.generate on the GPU against the same on the CPU, in float32."""

import numpy as np
import pytest
import tensorflow as tf
from found_hypotheses import TIE, found_of
from generation_problem import Problem, options_of


@pytest.mark.parametrize("lengths", [(5, 3, 8, 0, 13), None], ids=["memory", "decoder-only"])
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("greedy", {}),
        ("beam_search", {"beam_size": 4, "num_hypotheses": 4}),
        ("beam_search", {"beam_size": 3, "early_stopping": True, "repetition_penalty": 1.3}),
        ("beam_search", {"beam_size": 5, "no_repeat_ngram_size": 2, "min_length": 6}),
        ("diverse_beam_search", {"beam_size": 4, "num_hypotheses": 4, "diversity": 0.3}),
        ("sampling", {"num_hypotheses": 6, "temperature": 1.5, "seed": 3}),
        ("sampling", {"num_hypotheses": 3, "top_k": 7, "top_p": 0.9, "seed": 4}),
    ],
    ids=str,
)
def test_devices_find_the_same(device, method, more, lengths):
    """The same tokens, unless the scores of hypotheses differ by less than rounding may."""
    if device == "CPU":
        pytest.skip("compares a GPU with the CPU")
    problem = Problem(seed=5, lengths=lengths, vocabulary=97)
    options = options_of(method, **{"max_length": 20, **more})
    found = problem.generate(options)
    with tf.device("/CPU:0"):
        expected = problem.generate(options)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=TIE)
    scores = expected.scores.numpy()
    for i, (of_gpu, of_cpu) in enumerate(zip(found_of(found), found_of(expected))):
        for j, (tokens, expected_tokens) in enumerate(zip(of_gpu, of_cpu)):
            ties = np.abs(np.delete(scores[i], j) - scores[i, j]) < TIE
            assert tokens == expected_tokens or ties.any()
