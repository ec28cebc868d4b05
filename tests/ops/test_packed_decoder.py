"""ops.PackedDecoder generates what its decoder does."""

import dataclasses
import gc
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadInput
from found_hypotheses import found_of
from generation_problem import (
    HIDDEN,
    MEMORY,
    VOCABULARY,
    Problem,
    as_tensors,
    options_of,
    problem_of,
)
from packed_stacks import LOADERS, as_variables, bytes_that_stay, in_a_fresh_process

from tf_ls import ops
from tf_ls.library import library
from tf_ls.ops.decoder import decoder_inputs
from tf_ls.testing import reference

DTYPES = ("float32", "float16", "bfloat16")


def assert_identical(generated, expected):
    for part, expected_part in zip(generated, expected):
        np.testing.assert_array_equal(part.numpy(), expected_part.numpy())


def assert_generates_the_same(problem, decoder, packed, options, **more):
    expected = problem.generate(options, decoder=decoder, **more)
    assert_identical(problem.generate(options, decoder=packed, **more), expected)


# The same numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights_dtype", DTYPES)
def test_every_bit(weights_dtype, dtype):
    problem = problem_of()
    decoder = as_tensors(problem.decoder, weights_dtype)
    packed = ops.PackedDecoder(decoder, dtype)
    for options in (
        options_of("beam_search", num_hypotheses=3),
        options_of("greedy"),
        options_of("sampling", num_hypotheses=2, top_k=5, seed=3),
        options_of("beam_search", coverage_penalty=0.2, repetition_penalty=1.2),
    ):
        assert_generates_the_same(problem, decoder, packed, options, dtype=dtype)


@pytest.mark.parametrize(
    "structure",
    [
        {"pre_norm": False, "norm": None},
        {"embedding_norm": (np.full(HIDDEN, 0.5), np.arange(HIDDEN) / HIDDEN)},
        {"output_weights": None, "output_bias": None, "layers": 1},
        {"positions": None},
        {"positions": np.ones([9, HIDDEN])},
        {"lengths": None},
        {"vocabulary": 700},
    ],
    ids=lambda structure: "-".join(structure),
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_structures(structure, dtype):
    problem = Problem(1, **structure)
    decoder = as_tensors(problem.decoder, dtype)
    options = options_of("beam_search", num_hypotheses=2)
    assert_generates_the_same(problem, decoder, ops.PackedDecoder(decoder), options, dtype=dtype)


def test_hypotheses_longer_than_the_sinusoids_that_are_kept():
    problem = problem_of(lengths=None)
    decoder = as_tensors(problem.decoder)
    prefix = tf.constant(3 + np.arange(3 * 1040).reshape(3, -1) % 7)
    options = options_of("greedy", max_length=1050)
    packed = ops.PackedDecoder(decoder)
    assert_generates_the_same(problem, decoder, packed, options, prefix=prefix)


# Packing again -----------------------------------------------------------------------------------


def test_weights_are_copied_until_they_are_packed_again():
    problem, options = problem_of(), options_of("beam_search", num_hypotheses=2)
    decoder = as_variables(as_tensors(problem.decoder))
    packed = ops.PackedDecoder(decoder)
    before = problem.generate(options, decoder=packed)
    for variable in packed.variables:
        variable.assign(1.1 * variable)
    assert_identical(problem.generate(options, decoder=packed), before)
    packed.pack()
    after = problem.generate(options, decoder=packed)
    assert not np.array_equal(before.scores, after.scores)
    assert_identical(after, problem.generate(options, decoder=decoder))


def test_calls_while_it_is_packed_use_the_old_weights_or_the_new_ones():
    problem = problem_of()
    options = options_of("beam_search", num_hypotheses=2)
    decoder = as_variables(as_tensors(problem.decoder))
    packed = ops.PackedDecoder(decoder)
    bias = decoder.output_bias.numpy()
    seen, errors = [], []
    go_on = threading.Event()

    def generate():
        try:
            while not go_on.is_set():
                seen.append(problem.generate(options, decoder=packed).scores.numpy().tobytes())
        except tf.errors.OpError as error:
            errors.append(error)

    threads = [threading.Thread(target=generate) for _ in range(4)]
    for thread in threads:
        thread.start()
    expected = set()
    for i in range(20):
        decoder.output_bias.assign(bias + [0.3 * (j == i % 5) for j in range(VOCABULARY)])
        packed.pack()
        expected.add(problem.generate(options, decoder=decoder).scores.numpy().tobytes())
    go_on.set()
    for thread in threads:
        thread.join()
    assert not errors
    expected.add(problem.generate(options).scores.numpy().tobytes())
    assert set(seen) <= expected
    assert len(set(seen)) > 1


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_freed():
    rng = np.random.default_rng(0)
    layers = [reference.decoder_weights(rng, 512, 2048, 512)]
    layers = [[tf.constant(weight, tf.float32) for weight in layer] for layer in layers]
    table = tf.constant(rng.normal(size=(40000, 512)), tf.float32)
    decoder = ops.Decoder(layers=layers, table=table, num_heads=8)
    size = 4 * (40000 * 512 + sum(np.prod(weight.shape) for weight in layers[0]))
    assert bytes_that_stay(lambda: ops.PackedDecoder(decoder)) < 0.5 * size


def test_a_function_keeps_the_weights_that_it_uses():
    problem, options = problem_of(), options_of("greedy")

    def function():
        packed = ops.PackedDecoder(as_tensors(problem.decoder))
        handle = packed.resource_handle
        assert handle is not None

        @tf.function
        def generate():
            return problem.generate(options, decoder=packed)

        return generate.get_concrete_function()

    generate = function()
    gc.collect()
    assert_identical(generate(), problem.generate(options))


# SavedModels -------------------------------------------------------------------------------------


class Module(tf.Module):
    def __init__(self, decoder, dtype):
        super().__init__()
        self.decoder = ops.PackedDecoder(decoder, dtype)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, MEMORY], tf.float32, "memory"),
            tf.TensorSpec([None], tf.int64, "lengths"),
            tf.TensorSpec([None], tf.int64, "start"),
        ]
    )
    def generate(self, memory, lengths, start):
        options = ops.SearchOptions(eos=2, max_length=9, num_hypotheses=2)
        memory = tf.cast(memory, self.decoder.dtype)
        generated = ops.generate(self.decoder, memory, lengths, start, options)
        return {"tokens": generated.tokens, "scores": generated.scores}


def inputs_of(problem):
    return {
        "memory": tf.constant(problem.memory),
        "lengths": tf.constant(problem.lengths, tf.int64),
        "start": tf.constant(problem.starts, tf.int64),
    }


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def saved(request, tmp_path_factory):
    """The path of a SavedModel, and what it generates."""
    path = str(tmp_path_factory.mktemp("saved"))
    module = Module(as_variables(as_tensors(problem_of().decoder, request.param)), request.param)
    tf.saved_model.save(module, path, signatures={"generate": module.generate})
    return path, module.generate(**inputs_of(problem_of()))


def test_a_saved_model_packs_when_it_is_loaded(saved):
    path, expected = saved
    loaded = tf.saved_model.load(path)
    assert len(loaded.decoder._weights) == 45
    for generate in (loaded.generate, loaded.signatures["generate"]):
        generated = generate(**inputs_of(problem_of()))
        np.testing.assert_array_equal(generated["tokens"], expected["tokens"])
        np.testing.assert_array_equal(generated["scores"], expected["scores"])


def test_signatures_without_the_rest_of_the_model(saved):
    path, expected = saved
    generate = tf.saved_model.load(path).signatures["generate"]
    gc.collect()
    generated = generate(**inputs_of(problem_of()))
    np.testing.assert_array_equal(generated["tokens"], expected["tokens"])


def test_two_loads_have_their_own_weights(saved):
    path, expected = saved
    first, second = tf.saved_model.load(path), tf.saved_model.load(path)
    for variable in second.decoder._weights:
        variable.assign(tf.zeros_like(variable))
    second.decoder._packed._initialize()
    generated = first.generate(**inputs_of(problem_of()))
    np.testing.assert_array_equal(generated["scores"], expected["scores"])
    assert not np.array_equal(
        second.generate(**inputs_of(problem_of()))["scores"], expected["scores"]
    )


@pytest.mark.parametrize("loader", LOADERS)
def test_a_fresh_process(saved, loader):
    path, expected = saved
    printed = in_a_fresh_process(
        loader, path, "decoder", "generate", "scores", inputs_of(problem_of())
    )
    assert printed == str(expected["scores"].numpy().tolist())


# Bad input ---------------------------------------------------------------------------------------


def bad_decoder(match=None, error=BadInput, **changed):
    decoder = dataclasses.replace(as_tensors(problem_of().decoder), **changed)
    with pytest.raises(error, match=match):
        ops.PackedDecoder(decoder)


def test_bad_decoders():
    layers = as_tensors(problem_of().decoder).layers
    bad_decoder("at least one layer", layers=[], error=ValueError)
    bad_decoder("sinusoids", positions="sines", error=ValueError)
    bad_decoder(
        "expected 20 weights of each of 2 layers, got 39", layers=[layers[0], layers[1][:-1]]
    )
    bad_decoder("expected 20 weights of each of 1 layers, got 3", layers=[layers[0][:3]])
    bad_decoder("layer 1 ", layers=[layers[0], [tf.zeros([3])] * 20])
    bad_decoder("heads", num_heads=5)
    bad_decoder("table must have rank 2", table=tf.zeros([VOCABULARY]))
    bad_decoder("output_weights", output_weights=tf.zeros([VOCABULARY + 1, HIDDEN]))
    bad_decoder("output_bias", output_bias=tf.zeros([VOCABULARY + 1]))
    bad_decoder("norm", norm=(tf.zeros([HIDDEN]), tf.zeros([HIDDEN + 1])))
    bad_decoder("gamma and beta", norm=(tf.zeros([HIDDEN]),))
    bad_decoder(
        r"embedding_norm must have shape \[12\], got \[13\]",
        embedding_norm=(tf.zeros([HIDDEN]), tf.zeros([HIDDEN + 1])),
    )
    bad_decoder("positions", positions=tf.zeros([9, HIDDEN + 1]))
    kernel = [tf.zeros([0, 2 * HIDDEN]) if i == 10 else w for i, w in enumerate(layers[0])]
    bad_decoder("kv kernel must have rows", layers=[kernel, layers[1]])
    kernel = [tf.zeros([9, 2 * HIDDEN]) if i == 10 else w for i, w in enumerate(layers[1])]
    bad_decoder("layer 1 cross-attention kv kernel", layers=[layers[0], kernel])


def test_bad_calls():
    problem, options = problem_of(), options_of("greedy")
    packed = ops.PackedDecoder(as_tensors(problem.decoder))
    alone = problem_of(lengths=None)
    alone_packed = ops.PackedDecoder(as_tensors(alone.decoder))
    for match, call in {
        "was packed for float, not for bfloat16": lambda: problem.generate(
            options, decoder=packed, dtype="bfloat16"
        ),
        "attends to a memory of 10 columns, got none": lambda: alone.generate(
            options, decoder=packed
        ),
        "attends to no memory, got one": lambda: problem.generate(options, decoder=alone_packed),
        r"memory must have shape \[3,8,10\], got \[3,8,11\]": lambda: ops.generate(
            packed,
            tf.zeros([3, 8, MEMORY + 1]),
            tf.constant(problem.lengths),
            tf.constant(problem.starts),
            ops.SearchOptions(eos=2),
        ),
        "must have at least 9 rows": lambda: problem.generate(
            options,
            decoder=ops.PackedDecoder(
                dataclasses.replace(packed.decoder, positions=tf.zeros([8, HIDDEN]))
            ),
        ),
    }.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=match):
            call()


class Unpacked(ops.PackedDecoder):
    """One whose handle was made, and never filled."""

    def __init__(self, decoder, handle):
        tf.Module.__init__(self)
        self.decoder, self.dtype, self.handle = decoder, tf.float32, handle

    @property
    def resource_handle(self):
        return self.handle


def test_a_handle_that_was_never_filled():
    problem, options = problem_of(), options_of("greedy")
    decoder = as_tensors(problem.decoder)
    handles = (
        library.ops.ls_anonymous_packed_decoder(),
        library.ops.ls_packed_decoder_handle(shared_name="nothing"),
        tf.Variable(1.0).handle,
    )
    for handle in handles:
        with pytest.raises(tf.errors.InvalidArgumentError, match="has no packed decoder"):
            problem.generate(options, decoder=Unpacked(decoder, handle))
    with pytest.raises(tf.errors.InvalidArgumentError):
        library.ops.ls_pack_decoder(handle=handles[2], T=tf.float32, **decoder_inputs(decoder))


def test_it_has_no_gradient():
    problem = problem_of()
    packed = ops.PackedDecoder(as_variables(as_tensors(problem.decoder)))
    with tf.GradientTape() as tape:
        generated = problem.generate(options_of("greedy"), decoder=packed)
    assert tape.gradient(generated.scores, packed.variables[0]) is None
    assert found_of(generated) == found_of(problem.generate(options_of("greedy")))
