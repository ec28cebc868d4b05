"""NeurST's searches as one operation, against stock: hypotheses, token for token, and scores.

test_fused_models.py runs this file. `stock()` puts NeurST's own methods back for a while, and
`stock(SEARCHES)` only the searches, which then make their steps with fused layers.
"""

import itertools

import neurst  # noqa: F401  fuses; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
from half_precision import float16
from neurst.layers.search.beam_search import BeamSearch
from neurst.layers.search.sampling import Sampling, top_k_logits, top_p_logits
from neurst.models.encoder_decoder_ensemble_model import EncoderDecoderEnsembleModel
from neurst.models.transformer import Transformer
from scipy.stats import chi2
from small_models import (
    BOS,
    EOS,
    MODELS,
    SEARCHES,
    UNK,
    VOCABULARY,
    gpt2_model,
    ids,
    stock,
    translation_model,
)

from tf_ls.neurst import eligibility

# On a GPU products are to be as exact as the CPU's, or hypotheses would differ.
tf.config.experimental.enable_tensor_float_32_execution(False)


def search_layer(cls, model, **options):
    args = {flag.name: flag.default for flag in cls.class_or_method_args()}
    search = cls({**args, **options})
    search.set_model(model)
    return search


def beam_search(model, inputs, **options):
    """Hypotheses and scores; called eagerly, which takes a stock search less time than tracing."""
    options = {"beam_size": 3, "maximum_decode_length": 9, "extra_decode_length": 1, **options}
    return search_layer(BeamSearch, model, **options)(dict(inputs))


def assert_same(actual, expected, rtol=1e-5):
    """Hypotheses and scores are those of stock."""
    for tensor, wanted in zip(actual, expected):
        assert tensor.dtype == wanted.dtype
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_allclose(actual[1], expected[1], rtol=rtol)


def sources(*lengths, width=None):
    """A batch of sources of these lengths, padded to the longest or to `width`."""
    return {
        "src": ids(len(lengths), width or max(lengths, default=0)),
        "src_length": tf.constant(lengths, tf.int32),
        "trg_input": tf.fill([len(lengths)], tf.constant(BOS, tf.int64)),
    }


def sharp_model():
    """A model whose next words are likelier than others, and end sentences at many lengths."""
    model = translation_model(model_args={"modality.share_embedding_and_softmax_weights": False})
    output = model._output_linear_layer
    output.kernel.assign(4.0 * output.kernel)
    output.bias.assign_add(5.0 * tf.one_hot(EOS, VOCABULARY) + 7.0 * tf.one_hot(UNK, VOCABULARY))
    return model


@pytest.fixture(scope="module")
def model():
    return sharp_model()


@pytest.fixture
def log(monkeypatch, caplog):
    """What is logged, also if it has been logged before."""
    monkeypatch.setattr(eligibility, "_reported", set())
    caplog.set_level("INFO")
    return caplog


def searched_by_operation(log):
    return "BeamSearch runs fused, the whole search as one operation" in log.text


# Models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_hypotheses(name, log):
    make_model, make_inputs = MODELS[name]
    model = make_model()
    inputs = {key: make_inputs()[key] for key in ("src", "src_length")}
    inputs["trg_input"] = tf.fill([4], tf.constant(BOS, tf.int64))
    fused = tf.function(lambda: beam_search(model, inputs))()
    with stock(SEARCHES):
        stepwise = beam_search(model, inputs)
    with stock():
        expected = beam_search(model, inputs)
    assert searched_by_operation(log) == (name != "wait-k")
    assert_same(fused, expected)
    assert_same(stepwise, expected)


TIMINGS = {
    "none": None,
    "learned": {"timing": "emb", "max_positions": 9},
    "sines as variable": {
        "timing": "sinusoids",
        "max_positions": 9,
        "sinusoids_as_variable": True,
    },
}


@pytest.mark.parametrize("name", TIMINGS)
def test_positions(name, log):
    model = translation_model(model_args={"modality.timing": TIMINGS[name]})
    inputs = sources(7, 3, 8)
    fused = beam_search(model, inputs)
    with stock():
        expected = beam_search(model, inputs)
    assert searched_by_operation(log)
    assert_same(fused, expected)


def test_decoder_only_model(log):
    """NeurST's own searches refuse it; its whole forward pass says which words are best."""
    model = gpt2_model()
    starts = tf.constant([[BOS], [3], [5]], tf.int64)
    hypotheses, _ = beam_search(model, {"trg_input": starts[:, 0]}, beam_size=1)
    assert searched_by_operation(log)
    for start, hypothesis in zip(starts.numpy(), hypotheses.numpy()):
        tokens = list(start)
        while len(tokens) < 10 and (len(tokens) == 1 or tokens[-1] != EOS):
            with stock():
                logits = model({"trg_input": [tokens]}, is_training=False)[0, -1].numpy()
            logits[UNK] = -np.inf
            tokens.append(np.argmax(logits))
        assert list(hypothesis) == tokens[1:] + [EOS] * (10 - len(tokens))


# Options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam_size", [1, 4, 8])
@pytest.mark.parametrize("alpha", [0.6, 0.0, 2.5, -1.0, None])
def test_beam_sizes_and_length_penalties(model, beam_size, alpha):
    inputs = sources(7, 3, 1, 5)
    options = {"beam_size": beam_size, "length_penalty": alpha, "maximum_decode_length": 12}
    for top_k in {1, beam_size}:
        fused = beam_search(model, inputs, extra_decode_length=9, top_k=top_k, **options)
        with stock():
            expected = beam_search(model, inputs, extra_decode_length=9, top_k=top_k, **options)
        assert_same(fused, expected)
        assert fused[0].shape == (4 * top_k, 12)


LENGTHS = [  # minimum, maximum, extra
    (0, 1, 50),
    (0, 30, 0),  # ends at the longest source
    (0, 30, 3),
    (6, 30, 3),
    (None, 6, 50),
    (12, 13, 0),  # the minimum is behind the end that the source sets
]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("enable_unk", [False, True])
def test_lengths_and_the_unknown_token(model, lengths, enable_unk):
    options = dict(
        zip(("minimum_decode_length", "maximum_decode_length", "extra_decode_length"), lengths)
    )
    inputs = sources(4, 7, 1)
    fused = beam_search(model, inputs, enable_unk=enable_unk, top_k=3, **options)
    with stock():
        expected = beam_search(model, inputs, enable_unk=enable_unk, top_k=3, **options)
    assert_same(fused, expected)


def test_the_options_matter(model):
    """The tests above would see if an option did nothing."""

    def lengths(**options):
        options = {"beam_size": 4, "top_k": 4, "maximum_decode_length": 12, **options}
        hypotheses, _ = beam_search(model, sources(7, 3, 1, 5), extra_decode_length=9, **options)
        return np.sum(hypotheses.numpy() != EOS, axis=1)

    assert len(set(lengths())) > 4
    assert lengths(length_penalty=2.5).sum() > lengths(length_penalty=0.0).sum()
    assert min(lengths(minimum_decode_length=6)) == 5
    with_unk, _ = beam_search(model, sources(7, 3, 1, 5), top_k=3, enable_unk=True)
    without, _ = beam_search(model, sources(7, 3, 1, 5), top_k=3)
    assert UNK in with_unk.numpy()
    assert UNK not in without.numpy()


def test_length_by_the_longest_source_of_the_data(model):
    inputs = sources(3, 5)
    layer = search_layer(BeamSearch, model, extra_decode_length=4)
    fused = layer.call(dict(inputs), max_data_len=8)
    with stock():
        expected = layer.call(dict(inputs), max_data_len=8)
    assert fused[0].shape == (2, 12)
    assert_same(fused, expected)


# Sources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(1,), (1, 1), (9,), (2, 9, 1, 4, 3)])
@pytest.mark.parametrize("width", [None, 11])
def test_sources_of_any_length_and_padding(model, lengths, width):
    inputs = sources(*lengths, width=width)
    fused = beam_search(model, inputs, maximum_decode_length=20, extra_decode_length=2)
    with stock():
        expected = beam_search(model, inputs, maximum_decode_length=20, extra_decode_length=2)
    assert_same(fused, expected)


def test_padding_within_a_source(model):
    padding = tf.constant([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]], tf.float32)
    inputs = {"src": ids(3, 5), "src_padding": padding, "trg_input": sources(1, 1, 1)["trg_input"]}
    fused = beam_search(model, inputs)
    with stock():
        expected = beam_search(model, inputs)
    assert_same(fused, expected)


def test_empty_batch(model):
    """As the last batch may be for some replicas."""
    hypotheses, scores = beam_search(model, sources(width=4), top_k=2)
    assert hypotheses.shape == (0, 9)
    assert scores.shape == (0,)


# Current weights ---------------------------------------------------------------------------------

STRATEGIES = {
    "no strategy": tf.distribute.get_strategy,
    "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_searches_with_the_weights_of_the_moment(name):
    inputs = {key: tensor.numpy() for key, tensor in sources(7, 3, 1, 5).items()}
    with STRATEGIES[name]().scope():
        model = sharp_model()
        symbolic = {
            key: tf.keras.Input(array.shape[1:], dtype=array.dtype) for key, array in inputs.items()
        }
        outputs = search_layer(BeamSearch, model, maximum_decode_length=9)(symbolic)
        searching = tf.keras.Model(symbolic, outputs)

    before = searching.predict(inputs, verbose=0)
    for variable in model.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3, seed=5))
    after = searching.predict(inputs, verbose=0)
    with stock():
        expected = beam_search(
            model, inputs, beam_size=4, maximum_decode_length=9, extra_decode_length=50
        )
    assert_same([tf.constant(output) for output in after], expected)
    assert not np.array_equal(before[0], after[0])


# Dtypes ------------------------------------------------------------------------------------------


def test_float16(model):
    inputs = sources(7, 3, 1, 5)
    exact = beam_search(model, inputs)
    with float16():
        half = sharp_model()
        fused = tf.function(lambda: beam_search(half, inputs))()
        with stock(SEARCHES):
            stepwise = beam_search(half, inputs)
    assert [tensor.dtype for tensor in fused] == [tensor.dtype for tensor in stepwise]
    assert fused[0].shape == stepwise[0].shape
    # Scores change by rounding; where one hypothesis takes another's place, they are close.
    np.testing.assert_allclose(fused[1], exact[1], rtol=2e-2)


def test_bfloat16_on_request(model, monkeypatch, log):
    inputs = sources(7, 3, 1, 5)
    exact = beam_search(model, inputs)
    monkeypatch.setenv("TF_LS_COMPUTE_DTYPE", "bfloat16")
    fused = beam_search(model, inputs)
    assert "the whole search as one operation, in bfloat16" in log.text
    assert fused[1].dtype == tf.float32
    np.testing.assert_allclose(fused[1], exact[1], rtol=5e-2)
    assert not np.array_equal(fused[1], exact[1])


# Sampling ----------------------------------------------------------------------------------------

SAMPLINGS = {
    "all": {},
    "top-k": {"top_k": 5},
    "top-p": {"top_p": 0.98},
    "no EOS at first": {"minimum_decode_length": 2, "top_p": 0.98},
}


def sampling(model, inputs, **options):
    options = {"maximum_decode_length": 6, **options}
    (hypotheses,) = search_layer(Sampling, model, **options)(dict(inputs))
    return hypotheses.numpy()


def first_probabilities(model, inputs, top_k=0, top_p=1.0, minimum_decode_length=0):
    """What NeurST draws the first token by, [B, V]."""
    target = {"trg_input": inputs["trg_input"][:, None], "trg": inputs["trg_input"][:, None]}
    with stock():
        logits = model({**inputs, **target, "trg_length": 1}, is_training=False)[:, 0]
    excluded = [UNK] + [EOS] * (minimum_decode_length > 1)
    logits = tf.tensor_scatter_nd_update(
        tf.transpose(logits), [[i] for i in excluded], tf.fill([len(excluded), len(logits)], -1e9)
    )
    logits = tf.transpose(logits)
    logits = top_p_logits(logits, top_p) if top_p < 1 else top_k_logits(logits, top_k)
    return tf.nn.softmax(logits).numpy()


@pytest.mark.parametrize("name", SAMPLINGS)
def test_samples_are_distributed_as_those_of_stock(model, name, log):
    inputs, count = sources(7, 3), 10000
    tf.random.set_seed(3)
    drawn = sampling(model, inputs, sample_num=count, **SAMPLINGS[name])[:, 0]
    assert "Sampling runs fused, the whole search as one operation" in log.text
    for tokens, probabilities in zip(
        drawn.reshape([2, count]), first_probabilities(model, inputs, **SAMPLINGS[name])
    ):
        counts = np.bincount(tokens, minlength=VOCABULARY)
        assert not counts[probabilities < 1e-12].any()
        often = count * probabilities >= 5.0
        expected = count * probabilities[often]
        chi_square = np.sum((counts[often] - expected) ** 2 / expected)
        assert often.sum() > 1
        assert chi2.sf(chi_square, often.sum() - 1) > 1e-4


def test_samples_have_the_shape_of_those_of_stock(model):
    inputs, options = sources(7, 3, 1), {"sample_num": 4, "extra_decode_length": 2}
    hypotheses = sampling(model, inputs, maximum_decode_length=12, **options)
    with stock():
        expected = sampling(model, inputs, maximum_decode_length=12, **options)
    assert hypotheses.shape == expected.shape == (12, 12)
    assert hypotheses.dtype == expected.dtype
    assert (hypotheses[:, 9:] == EOS).all()  # 7 + 2 tokens at most
    for row in hypotheses:
        behind = itertools.dropwhile(lambda token: token != EOS, row)
        assert set(behind) <= {EOS}


def test_samples_differ_from_call_to_call_and_repeat_with_the_seed(model):
    inputs = sources(7, 3, 1, 5)
    layer = search_layer(Sampling, model, maximum_decode_length=9)
    draw = tf.function(lambda: layer(dict(inputs))[0])
    tf.random.set_seed(1)
    first, second = draw().numpy(), draw().numpy()
    assert not np.array_equal(first, second)
    tf.random.set_seed(1)
    again = tf.function(lambda: layer(dict(inputs))[0])().numpy()
    np.testing.assert_array_equal(first, again)


# What runs as NeurST's own -----------------------------------------------------------------------


class ModelOfItsOwn(Transformer):
    def get_decoder_output(self, *args, **kwargs):
        return -super().get_decoder_output(*args, **kwargs)


LEFT_TO_STOCK = {
    "the model is an ensemble": (
        lambda: EncoderDecoderEnsembleModel.new(
            [translation_model(), translation_model(model_args={"encoder.filter_size": 12})]
        ),
        {},
    ),
    "ModelOfItsOwn has a get_decoder_output of its own": (
        lambda: translation_model(ModelOfItsOwn),
        {},
    ),
    "its cache is padded (padded_decode)": (translation_model, {"padded_decode": True}),
    "beam_size is 39 in a vocabulary of 38 words": (
        translation_model,
        {"beam_size": 39, "maximum_decode_length": 3},
    ),
    "length_penalty is 11.0": (translation_model, {"length_penalty": 11.0}),
    "there are 8 positions, and maximum_decode_length is 9": (
        lambda: translation_model(
            model_args={"modality.timing": {"timing": "emb", "max_positions": 8}}
        ),
        {"extra_decode_length": 0, "maximum_decode_length": 9},
    ),
}


@pytest.mark.parametrize("reason", LEFT_TO_STOCK)
def test_what_is_left_to_stock_says_why(reason, log):
    make_model, options = LEFT_TO_STOCK[reason]
    model, inputs = make_model(), sources(7, 3)
    hypotheses, _ = beam_search(model, inputs, **options)
    with stock():
        expected, _ = beam_search(model, inputs, **options)
    assert log.text.count(f"tf_ls: BeamSearch runs as NeurST's own: {reason}.") == 1
    assert not searched_by_operation(log)
    np.testing.assert_array_equal(hypotheses, expected)


def test_what_stock_refuses_stays_refused(model):
    with pytest.raises(ValueError, match="must be less than maximum decode length"):
        beam_search(model, sources(3), minimum_decode_length=9)
    with pytest.raises(AssertionError, match="must be provided"):
        beam_search(model, sources(3), maximum_decode_length=None)
    with pytest.raises(NotImplementedError):
        search_layer(Sampling, model, top_k=3, top_p=0.5)
