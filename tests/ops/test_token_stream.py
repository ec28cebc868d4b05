"""ops.TokenStream tells the tokens that ops.generate returns, while it runs."""

import dataclasses
import threading

import numpy as np
import pytest
import tensorflow as tf
from generation_problem import EOS, as_tensors, options_of, problem_of, without_prefix
from tensorflow.python.eager import cancellation

from tf_ls import ops

PREFIXES = [[1, 3], [], [5, 5, 5, 5, 5]]
ENDLESS = {"forbidden_tokens": (EOS,), "max_length": 200_000, "max_extra_length": None}


def packed_of(problem):
    return ops.PackedDecoder(as_tensors(problem.decoder))


class Call:
    """A call of `generate` in a thread of its own, and what it tells.

    Attributes:
        read: of each sentence and sample its tokens, their log-probabilities, and which are last.
        result: what it returned; or the error.
    """

    def __init__(self, generate):
        self.read = {}
        with ops.TokenStream() as self.stream:
            self.thread = threading.Thread(target=self._run, args=[generate])
            self.thread.start()
            while (tokens := self.stream.read()) is not None:
                for sentence, sample, *token in zip(*tokens):
                    self.read.setdefault((sentence, sample), []).append(token)
            self.thread.join()

    def _run(self, generate):
        try:
            self.result = generate(stream=self.stream.number)
        except tf.errors.OpError as error:
            self.result = error
            self.stream.close()


def assert_tells_what_it_returns(call, prefixes):
    generated = call.result
    assert isinstance(generated, ops.Generated), generated
    batch, count, _ = generated.tokens.shape
    assert call.read.keys() == {(i, j) for i in range(batch) for j in range(count)}
    for (i, j), told in call.read.items():
        tokens, log_probs, are_last = zip(*told)
        assert list(are_last) == [False] * (len(told) - 1) + [True]
        begin, end = len(prefixes[i]), int(generated.lengths[i, j])
        if begin == end:
            assert tokens == (-1,)
        else:
            np.testing.assert_array_equal(tokens, generated.tokens[i, j, begin:end])
            np.testing.assert_array_equal(log_probs, generated.log_probs[i, j, begin:end])


@pytest.mark.parametrize("lengths", [None, (5, 3, 8)], ids=["decoder_only", "with_memory"])
@pytest.mark.parametrize(
    "options",
    [
        options_of("greedy"),
        options_of("greedy", max_length=5),  # which one of the prefixes has already
        options_of("greedy", repetition_penalty=1.5, no_repeat_ngram_size=2, min_length=7),
        options_of("beam_search", beam_size=1),
        options_of("sampling", num_hypotheses=3, top_k=4),
        options_of("greedy", forbidden_tokens=tuple(range(11))),  # nothing may come
    ],
    ids=str,
)
def test_what_is_told_is_what_is_returned(options, lengths):
    problem = problem_of(lengths=lengths)
    packed = packed_of(problem)
    call = Call(lambda **more: problem.generate(options, PREFIXES, decoder=packed, **more))
    if not isinstance(call.result, ops.Generated):
        raise call.result
    assert_tells_what_it_returns(call, PREFIXES)
    unstreamed = problem.generate(options, PREFIXES, decoder=packed)
    for part, wanted in zip(call.result, unstreamed):
        np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    problem = problem_of(lengths=None)
    packed = ops.PackedDecoder(as_tensors(problem.decoder, dtype), dtype)
    options = options_of("greedy")
    call = Call(lambda **more: problem.generate(options, PREFIXES, decoder=packed, **more))
    assert_tells_what_it_returns(call, PREFIXES)


def test_in_a_function():
    problem = problem_of(lengths=None)
    packed = packed_of(problem)
    options = without_prefix(options_of("greedy"))

    @tf.function
    def generate(stream):
        starts = tf.constant(problem.starts, tf.int64)
        return ops.generate(packed, None, None, starts, options, stream=stream)

    for _ in range(2):
        assert_tells_what_it_returns(Call(generate), [[], [], []])


def endless(problem, packed, **more):
    options = without_prefix(options_of("greedy", **ENDLESS))
    starts = tf.constant(problem.starts, tf.int64)
    return ops.generate(packed, None, None, starts, options, **more)


def test_tokens_come_while_it_runs_and_cancelling_ends_it():
    """A call that would take an hour: tokens are read from it, then it is cancelled."""
    problem = problem_of(lengths=None)
    packed = packed_of(problem)
    manager = cancellation.CancellationManager()
    function = tf.function(lambda stream: endless(problem, packed, stream=stream))
    concrete = function.get_concrete_function(tf.TensorSpec([], tf.int64))
    ended = []

    def run(stream):
        with pytest.raises(tf.errors.CancelledError):
            manager.get_cancelable_function(concrete)(stream)
        ended.append(True)

    with ops.TokenStream() as stream:
        thread = threading.Thread(target=run, args=[stream.number])
        thread.start()
        count = sum(len(stream.read().tokens) for _ in range(20))
        assert count >= 20
        assert not ended
        manager.start_cancel()
        while stream.read() is not None:  # it ends with the call
            pass
        thread.join(30)
    assert ended


def test_closing_ends_the_wait_of_who_reads():
    stream = ops.TokenStream()
    timer = threading.Timer(0.1, stream.close)
    timer.start()
    assert stream.read() is None
    timer.join()
    assert stream.read() is None
    stream.close()


def test_a_call_that_fails_ends_its_stream():
    problem = problem_of(lengths=None)
    weights = dataclasses.replace(
        as_tensors(problem.decoder), output_bias=tf.fill([11], np.float32("nan"))
    )
    packed = ops.PackedDecoder(weights)
    options = options_of("greedy")
    with ops.TokenStream() as stream:
        with pytest.raises(tf.errors.InvalidArgumentError, match="sentence 0 at position 0"):
            problem.generate(options, decoder=packed, stream=stream.number)
        assert stream.read() is None


def test_bad_calls():
    problem = problem_of(lengths=None)
    packed = packed_of(problem)

    def refused(match, options=None, **more):
        options = options_of("greedy") if options is None else options
        with pytest.raises(tf.errors.InvalidArgumentError, match=match):
            problem.generate(options, decoder=packed, **more)

    for options in (options_of("beam_search"), options_of("diverse_beam_search", beam_size=2)):
        refused("can be streamed, got a beam of", options, stream=ops.TokenStream().number)
    early = options_of("beam_search", beam_size=1, early_stopping=True)
    refused("got a beam of 1 with early_stopping", early, stream=ops.TokenStream().number)
    for number in (0, -1, 2**40):
        refused(f"there is no token stream {number}", stream=tf.constant(number, tf.int64))
    with ops.TokenStream() as stream:
        problem.generate(options_of("greedy"), decoder=packed, stream=stream.number)
        refused("is closed or belongs to another call", stream=stream.number)
    refused("is closed or belongs to another call", stream=stream.number)
    refused("must|shape", stream=stream.number[tf.newaxis])
    with pytest.raises(ValueError, match="streamed from a PackedDecoder, got a Decoder"):
        problem.generate(options_of("greedy"), stream=ops.TokenStream().number)
    for bad in (0, 2**40):
        stream = ops.TokenStream()
        stream.number = tf.constant(bad, tf.int64)
        for call in (stream.read, stream.close):
            with pytest.raises(tf.errors.InvalidArgumentError, match="there is no token stream"):
                call()
