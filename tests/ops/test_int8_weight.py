"""Encoders and decoders with matrices in int8, against the reference of the same arithmetic."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadInput
from generation_problem import (
    EOS,
    HIDDEN,
    VOCABULARY,
    Problem,
    as_float32,
    options_of,
    problem_of,
)
from int8_matrix import in_int8

from tf_ls import ops
from tf_ls.library import library
from tf_ls.ops.decoder import decoder_inputs
from tf_ls.testing import reference, reference_encoder
from tf_ls.testing.reference_decoder import decoder_model

LENGTH = 8
LAYERS = "layers"


def quantized(stack, parts):
    """An encoder or a decoder with the matrices of some parts in int8.

    Returns:
        As the reference and as operations take it.
    """

    def convert(name, weight):
        if not isinstance(weight, np.ndarray):
            return weight, weight
        if name in parts and weight.ndim == 2:
            return in_int8(weight, outputs_are_rows=name != LAYERS)
        return weight, tf.constant(weight)

    def both(name, value):
        if isinstance(value, (list, tuple)):
            return tuple(map(list, zip(*(both(name, part) for part in value))))
        return convert(name, value)

    fields = {f.name: both(f.name, getattr(stack, f.name)) for f in dataclasses.fields(stack)}
    return tuple(
        dataclasses.replace(stack, **{name: pair[i] for name, pair in fields.items()})
        for i in range(2)
    )


def forced(problem):
    """Some tokens that each sentence has to begin with."""
    tokens = np.random.default_rng(3).integers(3, problem.decoder.table.shape[0], [9, LENGTH])
    return tokens[: problem.batch].tolist()


def expected_log_probs(problem, decoder):
    """[B, LENGTH] of the forced tokens."""
    values = []
    for i, tokens in enumerate(forced(problem)):
        model = decoder_model(decoder, problem.memory_of(i), problem.starts[i])
        made = model([tuple(tokens[:n]) for n in range(LENGTH)])
        logits = made[0] if isinstance(made, tuple) else made
        sums = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        values.append(logits[np.arange(LENGTH), tokens] - sums)
    return np.array(values)


def found_log_probs(problem, decoder, dtype="float32"):
    options = options_of("greedy", max_length=LENGTH + 1)
    generated = problem.generate(options, forced(problem), dtype, decoder=decoder)
    return generated.log_probs.numpy()[:, 0, :LENGTH]


def unrounded(decoder):
    """The reference where rows are not rounded: the GPU multiplies by what int8 stands for."""
    return dataclasses.replace(
        decoder,
        layers=[[np.asarray(weight) for weight in layer] for layer in decoder.layers],
        output_weights=np.asarray(decoder.output_weights),
    )


# Numbers -----------------------------------------------------------------------------------------

ALL = ("layers", "table", "output_weights")


@pytest.mark.parametrize("parts", [ALL, ("layers",), ("output_weights",)], ids="-".join)
@pytest.mark.parametrize("structure", [{}, {"lengths": None}, {"vocabulary": 700}], ids=str)
def test_products_are_exact_sums_of_rounded_rows(device, structure, parts):
    problem = Problem(2, **structure)
    expected, decoder = quantized(problem.decoder, parts)
    if device == "GPU":
        expected = unrounded(expected)
    wanted = expected_log_probs(problem, expected)
    errors = np.abs(found_log_probs(problem, decoder) - wanted)
    # A number in the middle between two may be rounded either way, which is seen behind it.
    assert np.quantile(errors, 0.75) < 1e-5
    assert errors.max() < 0.02
    # It is not what a decoder in float32 finds.
    exact = expected_log_probs(problem, problem.decoder)
    assert np.abs(exact - wanted).mean() > 1e-3


def test_words_are_looked_up_exactly(device):
    problem = problem_of()
    expected, decoder = quantized(problem.decoder, ("table",))
    wanted = expected_log_probs(problem, expected)
    np.testing.assert_allclose(found_log_probs(problem, decoder), wanted, atol=1e-5)


def test_one_table_for_all(device):
    problem = Problem(1, output_weights=None, output_bias=None)
    expected, decoder = quantized(problem.decoder, ALL)
    if device == "GPU":
        expected = dataclasses.replace(unrounded(expected), output_weights=None)
        expected = dataclasses.replace(expected, table=np.asarray(expected.table))
    errors = np.abs(found_log_probs(problem, decoder) - expected_log_probs(problem, expected))
    assert np.quantile(errors, 0.75) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rows_of_half_precision(device, dtype):
    problem = problem_of()
    expected, decoder = quantized(problem.decoder, ALL)
    wanted = expected_log_probs(problem, expected)
    found = found_log_probs(problem, decoder, dtype)
    assert np.linalg.norm(found - wanted) < 2e-2 * np.linalg.norm(wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_once_or_in_each_call(device, dtype):
    problem = problem_of()
    _, decoder = quantized(problem.decoder, ALL)
    packed = ops.PackedDecoder(decoder, dtype)
    options = options_of("beam_search", num_hypotheses=3)
    both = (problem.generate(options, decoder=d, dtype=dtype) for d in (decoder, packed))
    for one, other in zip(*both):
        np.testing.assert_array_equal(one, other)


def test_a_packed_decoder_computes_in_float32_unless_told():
    _, decoder = quantized(problem_of().decoder, ALL)
    assert ops.PackedDecoder(decoder).dtype == tf.float32


def test_nothing_that_is_no_number_comes_out():
    problem = problem_of()
    _, decoder = quantized(problem.decoder, ALL)
    scales = tf.fill(decoder.table.scales.shape, float("nan"))
    decoder = dataclasses.replace(decoder, table=decoder.table._replace(scales=scales))
    with pytest.raises(tf.errors.InvalidArgumentError, match="logits must be numbers"):
        found_log_probs(problem, decoder)


# Encoders ----------------------------------------------------------------------------------------


def encoder_of(seed=4):
    rng = np.random.default_rng(seed)
    return as_float32(
        ops.Encoder(
            layers=[reference.encoder_weights(rng, HIDDEN, 20) for _ in range(2)],
            table=rng.normal(size=(VOCABULARY, HIDDEN)),
            num_heads=3,
            scale=2.0,
            positions="sinusoids",
            norm=(1.0 + 0.1 * rng.normal(size=HIDDEN), 0.1 * rng.normal(size=HIDDEN)),
            embedding_norm=(1.0 + 0.1 * rng.normal(size=HIDDEN), 0.1 * rng.normal(size=HIDDEN)),
        )
    )


SENTENCES = [[3, 1, 4, 1, 5, 9, 2], [6, 5], [], [8]]
IDS = np.array([sentence + [0] * (7 - len(sentence)) for sentence in SENTENCES])
PADDING = np.arange(7) >= np.array([[len(sentence)] for sentence in SENTENCES])


def encode(encoder, **more):
    return ops.encode(encoder, tf.constant(IDS), tf.constant(PADDING), **more).memory.numpy()


def expected_memory(encoder):
    memory = np.zeros([*IDS.shape, HIDDEN])
    for row, sentence in zip(memory, SENTENCES):
        row[: len(sentence)] = reference_encoder.encode(encoder, sentence)
    return memory


@pytest.mark.parametrize("parts", [ALL, ("table",)], ids="-".join)
def test_an_encoder(device, parts):
    expected, encoder = quantized(encoder_of(), parts)
    if device == "GPU":
        layers = [[np.asarray(weight) for weight in layer] for layer in expected.layers]
        expected = dataclasses.replace(expected, layers=layers)
    wanted = expected_memory(expected)
    errors = np.abs(encode(ops.PackedEncoder(encoder)) - wanted)
    assert np.quantile(errors, 0.75) < 1e-5
    assert errors.max() < 0.05
    assert np.abs(expected_memory(encoder_of()) - wanted).mean() > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_encoder_of_half_precision(device, dtype):
    expected, encoder = quantized(encoder_of(), ALL)
    found, wanted = encode(ops.PackedEncoder(encoder, dtype)), expected_memory(expected)
    assert np.linalg.norm(found - wanted) < 2e-2 * np.linalg.norm(wanted)


def test_an_encoder_must_be_packed():
    _, encoder = quantized(encoder_of(), ("layers",))
    with pytest.raises(ValueError, match="in int8 encodes when it is packed"):
        encode(encoder)


# Bad input ---------------------------------------------------------------------------------------


def with_kernel(decoder, weight, place=2):
    layers = [list(layer) for layer in decoder.layers]
    layers[1][place] = weight
    return dataclasses.replace(decoder, layers=layers)


def test_bad_weights():
    _, decoder = quantized(problem_of().decoder, ALL)
    kernel = decoder.layers[1][2]
    for match, bad in {
        r"scales of weight 2 of layer 1 must have shape \[36\], got \[35\]": with_kernel(
            decoder, kernel._replace(scales=kernel.scales[1:])
        ),
        "layer 1 self-attention qkv kernel": with_kernel(
            decoder, kernel._replace(numbers=kernel.numbers[1:])
        ),
        "weight 3 of layer 1 is int8, which matrices alone may be": with_kernel(
            decoder, tf.zeros([3 * HIDDEN], tf.int8), place=3
        ),
        r"scales of table must have shape \[11\], got \[12\]": dataclasses.replace(
            decoder, table=decoder.table._replace(scales=tf.ones([VOCABULARY + 1]))
        ),
    }.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=match):
            ops.PackedDecoder(bad)
    one_row = Problem(1, vocabulary=1 + EOS).decoder
    _, one_row = quantized(dataclasses.replace(one_row, positions=None), ALL)
    short = one_row.table.numbers[:1], one_row.table.scales[:1]
    short = dataclasses.replace(
        one_row, table=ops.Int8Weight(*short), output_weights=None, output_bias=None
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have two rows or more"):
        ops.PackedDecoder(short)


def test_scales_are_as_many_as_int8_matrices():
    _, decoder = quantized(problem_of().decoder, ALL)
    inputs = decoder_inputs(decoder)
    scales = inputs.pop("scales")
    handle = library.ops.ls_anonymous_packed_decoder()
    for wrong, match in (
        (scales[:-1], "a vector for each int8 matrix, got 15, and none for output_weights"),
        ([*scales, scales[0]], "a vector for each of 16 int8 matrices, got 17"),
    ):
        with pytest.raises(BadInput, match=match):
            library.ops.ls_pack_decoder(handle=handle, T=tf.float32, scales=wrong, **inputs)
