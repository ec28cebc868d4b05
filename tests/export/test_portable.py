"""The portable form of tf_ls.export.save: against the operation and the float64 reference search.

One exported model, whose graph is made once, takes all options; what is not among its inputs runs
without a graph.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from found_hypotheses import found_of, perturbed
from hypothesis import given, settings
from hypothesis import strategies as st
from search_options import BAD_OPTIONS, random_options
from small_transformer import INPUTS, ONE_TABLE, SOURCE_LENGTHS, SOURCE_WORDS, TARGET_WORDS, build

import tf_ls.inference as lsi
from tf_ls import export, ops
from tf_ls.export import portable
from tf_ls.export.lstransformer import describe
from tf_ls.export.portable import noise
from tf_ls.export.translation_module import TranslationModule
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.ops.generation import option_tensors
from tf_ls.ops.search_options import METHODS
from tf_ls.testing.comparison import relative_error
from tf_ls.testing.reference_decoder import decoder_model
from tf_ls.testing.reference_encoder import encode
from tf_ls.testing.reference_search import Options, gumbel_noise, philox, score, search

START, EOS = 7, 2
OPTIONS = {"eos": EOS, "beam_size": 3, "num_hypotheses": 3, "max_length": 7}
SOURCE = tf.constant(INPUTS["src"], tf.int64)
SENTENCES = [tuple(row[:length]) for row, length in zip(INPUTS["src"].tolist(), SOURCE_LENGTHS)]


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("portable") / "exported"
    export.save(model, path, options=OPTIONS, start=START, portable=True)
    return path


@pytest.fixture(scope="module")
def signatures(path):
    loaded = tf.saved_model.load(str(path))
    return {**loaded.signatures, "": loaded}  # which keeps its variables


def run(signatures, options, source=SOURCE):
    tensors = option_tensors(options)
    del tensors["eos"]
    return signatures["serving_with_options"](source=source, **tensors)


# Against the reference ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(model):
    """The reference's hypotheses of a sentence."""
    weights = _as_arrays(model.encoder_decoder())
    models = {}

    def hypotheses(sentence, options, row, noise=None):
        if sentence not in models:
            memory = encode(weights.encoder, sentence)
            models[sentence] = decoder_model(weights.decoder, memory, START)
        its_model = models[sentence]
        if noise is not None:
            its_model = perturbed(its_model, noise, row)
        found = search(its_model, options, len(sentence), row=row)
        return [h for h in found if h.tokens or score(h, options) > -np.inf]

    return hypotheses


def _as_arrays(part):
    if dataclasses.is_dataclass(part):
        return type(part)(**{k: _as_arrays(v) for k, v in vars(part).items()})
    if isinstance(part, (list, tuple)):
        return [_as_arrays(element) for element in part]
    return part.numpy() if tf.is_tensor(part) else part


def check(generated, options, expected, sentences=SENTENCES):
    """Compares all that is returned with the reference's."""
    tokens, lengths, scores = (generated[name].numpy() for name in ("tokens", "lengths", "scores"))
    assert tokens.shape[:2] == lengths.shape == (len(sentences), options.num_hypotheses)
    assert tokens.shape[2] == lengths.max(initial=0)
    assert (tokens[np.arange(tokens.shape[2]) >= lengths[..., np.newaxis]] == EOS).all()
    for row, found in enumerate(found_of(generated)):
        wanted = expected(sentences[row], options, row)
        count = len(wanted)
        if found != [hypothesis.tokens for hypothesis in wanted]:  # rounding must explain it
            others = [expected(sentences[row], options, row, noise=i) for i in range(10)]
            assert found in [[h.tokens for h in hypotheses] for hypotheses in others]
            continue
        values = [score(hypothesis, options) for hypothesis in wanted]
        np.testing.assert_allclose(scores[row, :count], values, rtol=1e-5, atol=1e-5)
        assert (lengths[row, count:] == 0).all()
        assert (scores[row, count:] == -np.inf).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"length_penalty_alpha": -1.0},
        {"length_penalty": "lightseq", "length_penalty_alpha": -1.0},
        {"length_penalty": "exponent", "length_penalty_alpha": 1.0, "early_stopping": True},
        {"length_penalty": "none", "early_stopping": True, "patience": 2.0},
        {"diversity": 0.7},
        {"coverage_penalty": 0.3, "early_stopping": True},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2, "repetition_penalty": 0.7},
        {"no_repeat_ngram_size": 2**62},
        {"min_length": 7},
        {"max_length": 1},
        {"max_extra_length": 2, "min_length": 4},
        {"max_extra_length": 2**62},
        {"forbidden_tokens": (EOS, 1, 1, 4)},
        {"forbidden_tokens": tuple(range(4, 11)), "early_stopping": True, "patience": 3.0},
        {"forbidden_tokens": tuple(range(TARGET_WORDS))},
        {"temperature": 0.5, "top_k": 3, "seed": 2**63 - 1},
        {"temperature": 2.0, "top_p": 0.6},
        {"top_k": 4, "top_p": 0.8, "early_stopping": True},
    ],
    ids=str,
)
def test_options(signatures, expected, method, more):
    count = 1 if method == "greedy" else 3
    options = Options(eos=EOS, method=method, num_hypotheses=count, **{"max_length": 7, **more})
    check(run(signatures, options), options, expected)


@settings(max_examples=60, deadline=None)
@given(
    options=random_options(TARGET_WORDS, EOS),
    sentences=st.lists(
        st.lists(st.integers(1, SOURCE_WORDS - 1), max_size=7).map(tuple), min_size=1, max_size=4
    ),
)
def test_random_options(signatures, expected, model, options, sentences):
    source = tf.ragged.constant(sentences, tf.int64, ragged_rank=1).to_tensor()
    check(run(signatures, options, source), options, expected, sentences)
    of_operation = model.generate(source, options, START)
    check(of_operation._asdict(), options, expected, sentences)


@pytest.mark.parametrize("beam_size", [1, 2, 5, 64])
def test_beams_of_any_size(signatures, expected, beam_size):
    for max_length in (1, 3):
        options = Options(
            eos=EOS, beam_size=beam_size, num_hypotheses=beam_size, max_length=max_length
        )
        check(run(signatures, options), options, expected)


@pytest.mark.parametrize("method", ["beam_search", "diverse_beam_search", "sampling"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ties(model, method, early_stopping):
    """All tokens are as probable: the earlier hypothesis comes first, then the lower token."""
    weights = model.encoder_decoder()
    output = {"output_weights": tf.zeros([TARGET_WORDS, 12]), "output_bias": None}
    weights = dataclasses.replace(weights, decoder=dataclasses.replace(weights.decoder, **output))
    more = {"early_stopping": early_stopping, "max_length": 3, "top_k": 4, "diversity": 0.1}
    options = Options(**{**OPTIONS, "method": method, **more})
    found = portable.generate(weights, SOURCE, SOURCE == 0, START, options, dtype="float32")
    for row, hypotheses in enumerate(found_of(found)):
        wanted = search(lambda prefixes: np.zeros([len(prefixes), TARGET_WORDS]), options, row=row)
        assert hypotheses == [hypothesis.tokens for hypothesis in wanted]


def test_empty_sources(signatures, expected):
    options = Options(**{**OPTIONS, "max_extra_length": 3, "coverage_penalty": 0.1})
    for sentences in ([(), (1, 2, 3)], [(), ()]):
        source = tf.ragged.constant(sentences, tf.int64, ragged_rank=1).to_tensor()
        check(run(signatures, options, source), options, expected, sentences)
    found = run(signatures, options, tf.zeros([0, 5], tf.int64))
    assert [found[name].shape for name in ("tokens", "lengths")] == [(0, 3, 0), (0, 3)]


# What it depends on ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_and_padding_do_not_matter(signatures, method):
    count = 1 if method == "greedy" else 3
    options = Options(eos=EOS, method=method, num_hypotheses=count, max_length=9, top_k=5)
    together = run(signatures, options)
    for rows, padding in ([slice(0, 1), 0], [slice(0, 3), 2]):
        alone = run(signatures, options, tf.pad(SOURCE[rows], [[0, 0], [0, padding]]))
        assert found_of(alone) == found_of(together)[rows]
        np.testing.assert_allclose(alone["scores"], together["scores"][rows], atol=1e-5)


def test_padding_may_be_anywhere(signatures, model):
    rows = [[0, *row[:2], 0, 0, *row[2:], 0] for row in INPUTS["src"].tolist()]
    source, options = tf.constant(rows, tf.int64), ops.SearchOptions(**OPTIONS)
    found, wanted = run(signatures, options, source), model.generate(source, options, START)
    assert found_of(found) == found_of(wanted)
    np.testing.assert_allclose(found["scores"], wanted.scores, atol=1e-5)


def test_noise_is_that_of_the_reference():
    draw = noise.Draw(
        *(tf.constant(x, tf.int64) for x in (2**63 - 5, 11, [0, 3, 2**31], [0, 2**32 - 1, 5]))
    )
    of_all = noise.noise_of_vocabulary(draw, tf.constant(9, tf.int64)).numpy()
    tokens = np.array([[8, 0, 3], [1, 1, 6], [2, 7, 4]])
    of_some = noise.noise_of_tokens(draw, tf.constant(tokens, tf.int64)).numpy()
    for i, (sample, row) in enumerate([(0, 0), (3, 2**32 - 1), (2**31, 5)]):
        wanted = gumbel_noise(2**63 - 5, row, sample, 11, np.arange(9))
        np.testing.assert_allclose(of_all[i], wanted, rtol=1e-13)
        np.testing.assert_allclose(of_some[i], wanted[tokens[i]], rtol=1e-13)


def test_philox_is_that_of_the_reference():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, [4, 100], np.int64)
    words[:, 0] = 2**32 - 1
    for key in (0, 0x299F31D0A4093822):
        found = noise.philox(tf.constant(key, tf.int64), tf.unstack(tf.constant(words)))
        np.testing.assert_array_equal(found, philox(key, words.astype(np.uint64)))


# Models ------------------------------------------------------------------------------------------


def assert_as_the_operation(weights: EncoderDecoder, **more):
    options = ops.SearchOptions(**{**OPTIONS, **more})
    arguments = (SOURCE, SOURCE == 0, START, options)
    found = portable.generate(weights, *arguments, dtype="float32")
    wanted = weights.generate(*arguments, dtype="float32")
    assert found_of(found) == found_of(wanted)
    np.testing.assert_array_equal(found["tokens"], wanted.tokens)
    np.testing.assert_allclose(found["scores"], wanted.scores, rtol=1e-5, atol=1e-5)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_layer_norm": False},
        {"activation_fn": "gelu", **ONE_TABLE},
        {"activation_fn": "gelu_nonapprox", "share_embedding_and_softmax_weights": False},
        {"activation_fn": "tanh", "hidden_size": 15, "nhead": 5},
        {"activation_fn": "silu"},
    ],
    ids=str,
)
def test_structures(changes):
    assert_as_the_operation(build(**changes).encoder_decoder(), coverage_penalty=0.1)


def test_norms_of_embeddings_and_token_types(model):
    weights = model.encoder_decoder()
    norms = tf.unstack(tf.random.stateless_normal([4, 12], [1, 2]))
    positions = tf.random.stateless_normal([2 * SOURCE.shape[1], 12], [1, 3])
    encoder = dataclasses.replace(
        weights.encoder, embedding_norm=norms[:2], positions=positions, token_types=2
    )
    decoder = dataclasses.replace(weights.decoder, embedding_norm=norms[2:])
    assert_as_the_operation(EncoderDecoder(encoder, decoder))
    short = dataclasses.replace(encoder, positions=positions[:8])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"has 4 rows.* token at \[0, 4\]"):
        assert_as_the_operation(EncoderDecoder(short, decoder))


def test_tables_of_positions_and_causal_encoders(model):
    weights = model.encoder_decoder()
    table = tf.random.stateless_normal([7, 12], [1, 2])
    structure = {"epsilon": 1e-2, "norm": None}
    encoder = dataclasses.replace(
        weights.encoder, positions=table[: SOURCE.shape[1]], causal=True, **structure
    )
    decoder = dataclasses.replace(
        weights.decoder, positions=tf.Variable(table), output_bias=None, **structure
    )
    assert_as_the_operation(EncoderDecoder(encoder, decoder))
    none = (dataclasses.replace(part, positions=None) for part in (encoder, decoder))
    assert_as_the_operation(EncoderDecoder(*none))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have at least 8 rows, as many"):
        assert_as_the_operation(EncoderDecoder(encoder, decoder), max_length=8)
    short = dataclasses.replace(encoder, positions=table[:4])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"there is a token at \[0, 4\]"):
        assert_as_the_operation(EncoderDecoder(short, decoder))


def with_output_bias(model, token, bias):
    weights = model.encoder_decoder()
    biases = tf.tensor_scatter_nd_add(weights.decoder.output_bias, [[token]], [bias])
    return dataclasses.replace(
        weights, decoder=dataclasses.replace(weights.decoder, output_bias=biases)
    )


def test_everything_finishes_at_the_first_step(model):
    found = assert_as_the_operation(
        with_output_bias(model, EOS, 100.0), method="greedy", num_hypotheses=1
    )
    np.testing.assert_array_equal(found["tokens"], np.full([4, 1, 1], EOS))


def test_tokens_without_probability_are_never_chosen(model):
    weights = with_output_bias(model, 4, -np.inf)
    assert_as_the_operation(weights, beam_size=20, num_hypotheses=20, max_length=1)


@pytest.mark.parametrize("bias", [np.nan, np.inf])
def test_logits_that_are_no_numbers(model, bias):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"for sentence 0 at position 0"):
        assert_as_the_operation(with_output_bias(model, 3, bias))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision(model, signatures, precision):
    described = describe(model, OPTIONS, START, None)
    module = TranslationModule(described, precision, is_portable=True)
    assert {variable.dtype.name for variable in module.variables} == {precision}
    scores = module.generate(SOURCE, {})["scores"]
    exact = signatures["serving_default"](source=SOURCE)["scores"]
    limit = {"float16": 5e-3, "bfloat16": 2e-2}[precision]
    assert relative_error(scores[:, 0], exact[:, 0]) < limit


# The SavedModel ----------------------------------------------------------------------------------


def test_default_options_and_properties(signatures, model):
    found = signatures["serving_default"](source=SOURCE)
    wanted = model.generate(SOURCE, ops.SearchOptions(**OPTIONS), START)
    assert found_of(found) == found_of(wanted)
    defaults = signatures["default_options"]()
    again = signatures["serving_with_options"](source=SOURCE, **defaults)
    for name, values in found.items():
        np.testing.assert_array_equal(values, again[name])
    assert signatures["properties"]()["source_vocabulary"] == SOURCE_WORDS
    assert "translate" not in signatures


def test_all_operations_are_tensorflows_own(path):
    from tensorflow.core.protobuf import saved_model_pb2

    content = (path / "saved_model.pb").read_bytes()
    [graph] = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    nodes = [*graph.graph_def.node]
    for function in graph.graph_def.library.function:
        nodes += function.node_def
    operations = {node.op for node in nodes}
    assert "MatMul" in operations
    assert not [name for name in operations if name.startswith("LS")]


def test_a_process_without_tf_ls(path, signatures):
    code = f"""
import sys
sys.path.append({str(Path(tf.__file__).parents[1])!r})
import tensorflow as tf
loaded = tf.saved_model.load({str(path)!r})
source = tf.constant({INPUTS["src"].tolist()}, tf.int64)
options = loaded.signatures["default_options"]()
options["method"] = tf.constant("sampling")
found = loaded.signatures["serving_with_options"](source=source, **options)
print(found["tokens"].numpy().tolist())
from tensorflow.python.framework import op_def_registry
assert op_def_registry.get("LSGenerate") is None
assert not [name for name in sys.modules if name.split(".")[0] in ("tf_ls", "neurst")]
"""
    # Without what site-packages' .pth files import.
    output = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert output.returncode == 0, output.stderr
    sampled = run(signatures, ops.SearchOptions(**OPTIONS, method="sampling"))
    assert output.stdout.strip() == str(sampled["tokens"].numpy().tolist())


def test_three_lines(path, signatures):
    tokens, scores = lsi.Transformer(path, 8).infer(SENTENCES)
    wanted = signatures["serving_default"](source=SOURCE)
    np.testing.assert_array_equal(tokens, wanted["tokens"])
    np.testing.assert_array_equal(scores, wanted["scores"])


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options(signatures, name):
    for value in BAD_OPTIONS[name]:
        dtype = {float: tf.float64, str: tf.string}.get(type(value), tf.int64)
        options = ops.SearchOptions(eos=EOS, **{name: tf.constant(value, dtype)})
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{name} must be .*, got "):
            run(signatures, options)


def test_options_that_do_not_fit_each_other(signatures):
    for more, message in (
        ({"length_penalty": "none", "length_penalty_alpha": -1.0}, "length_penalty_alpha must be"),
        ({"method": "greedy", "num_hypotheses": 2}, "num_hypotheses must be from 1 to 1, got 2"),
    ):
        tensors = {name: tf.constant(value) for name, value in more.items()}
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            run(signatures, ops.SearchOptions(eos=EOS, **tensors))


@pytest.mark.parametrize("bad", [SOURCE_WORDS, -1])
def test_bad_ids(signatures, bad):
    source = tf.constant([[1, 2], [3, bad]], tf.int64)
    message = rf"ids must be from 0 to 12 in a vocabulary of 13, got {bad} at \[1, 1\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["serving_default"](source=source)


def test_text_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="a portable model cannot have text: TensorFlow itself"):
        export.save(
            model, tmp_path, options=OPTIONS, start=START, portable=True, sentencepiece="a.model"
        )
