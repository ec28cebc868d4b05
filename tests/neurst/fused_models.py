"""NeurST's models, fused against stock: logits and gradients.

test_fused_models.py runs this file. Both run in one process on the same variables: fusing keeps
NeurST's own methods, which `stock()` puts back for a while.
"""

import neurst  # noqa: F401  fuses; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
from half_precision import float16
from neurst.layers.quantization.quant_layers import QuantLayer
from neurst.models.bert import Bert
from neurst.models.transformer import Transformer
from neurst.utils.hparams_sets import get_hyper_parameters
from small_models import (
    MODELS,
    TARGET_MASK,
    VOCABULARY,
    build,
    gpt2_model,
    ids,
    meta,
    relative_error,
    stock,
    translation_inputs,
    translation_model,
)

from tf_ls import ops
from tf_ls.neurst.embeddings import embed_rows


@pytest.fixture(scope="module", params=MODELS)
def model_and_inputs(request):
    make_model, make_inputs = MODELS[request.param]
    return make_model(), make_inputs()


def forward_and_gradients(model, inputs, is_training=True):
    """Logits of real tokens, and gradients of all variables."""

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            output = model(dict(inputs), is_training=is_training)
            logits = output["logits"] if isinstance(output, dict) else output
            logits = tf.boolean_mask(tf.cast(logits, tf.float32), TARGET_MASK)
            loss = tf.reduce_sum(logits * tf.sin(tf.range(VOCABULARY, dtype=tf.float32)))
        return logits, tape.gradient(loss, model.trainable_variables)

    return run()


@pytest.mark.parametrize("is_training", [True, False])
def test_logits_and_gradients(model_and_inputs, is_training):
    model, inputs = model_and_inputs
    logits, gradients = forward_and_gradients(model, inputs, is_training)
    with stock():
        expected, expected_gradients = forward_and_gradients(model, inputs, is_training)
    assert relative_error(logits, expected) < 1e-5
    for variable, gradient, wanted in zip(model.trainable_variables, gradients, expected_gradients):
        if wanted is None:
            assert gradient is None, variable.name
        else:
            assert relative_error(gradient, wanted) < 1e-4, variable.name


EMBEDDINGS = {
    "no positions": {"modality.timing": None},
    "positions learned": {"modality.timing": {"timing": "emb", "max_positions": 9}},
    "sines as variable": {
        "modality.timing": {
            "timing": "sinusoids",
            "max_positions": 9,
            "sinusoids_as_variable": True,
        }
    },
    "one table for all": {"modality.share_source_target_embedding": True},
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings(name):
    inputs = translation_inputs()
    model = translation_model(model_args=EMBEDDINGS[name])
    logits, gradients = forward_and_gradients(model, inputs)
    with stock():
        expected, expected_gradients = forward_and_gradients(model, inputs)
    assert relative_error(logits, expected) < 1e-5
    for variable, gradient, wanted in zip(model.trainable_variables, gradients, expected_gradients):
        assert relative_error(gradient, wanted) < 1e-4, variable.name


def operations(function):
    """The types of all operations in a graph of the function."""
    graph = tf.function(function).get_concrete_function().graph
    return [operation.type for operation in graph.get_operations()]


def test_tokens_are_looked_up_without_padding():
    model, inputs = translation_model(), translation_inputs()
    types = operations(lambda: model(dict(inputs), is_training=True))
    assert types.count("LSEmbedding") == 2
    assert not {"LSPack", "LSDropout", "ResourceGather"} & set(types)


def test_reading_the_tables_copies_nothing():
    model = translation_model()
    inputs = translation_inputs()
    model(dict(inputs), is_training=True)

    def address(tensor):
        return np.asarray(memoryview(tensor)).ctypes.data

    for variable in model.trainable_variables:
        read = variable.read_value()
        assert address(variable.read_value()) == address(read), variable.name


def test_what_a_model_embeds_itself_is_packed():
    make_model, make_inputs = MODELS["speech"]
    model, inputs = make_model(), make_inputs()
    types = operations(lambda: model(dict(inputs), is_training=True))
    assert types.count("LSEmbedding") == 1  # the target's words
    assert types.count("LSPack") == 1


def test_gradient_is_sparse_for_the_source_and_dense_for_the_tied_target():
    model, inputs = translation_model(), translation_inputs()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(dict(inputs), is_training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    kinds = {v.name: type(g) for v, g in zip(model.trainable_variables, gradients)}
    (source,) = (kind for name, kind in kinds.items() if "emb/weights" in name)
    (target,) = (kind for name, kind in kinds.items() if "shared/weights" in name)
    assert source is tf.IndexedSlices
    assert issubclass(target, tf.Tensor)


def test_dropout_of_embedded_words():
    model = translation_model()
    ids = tf.zeros([50, 40], tf.int64)
    (layout,) = ops.pack_layouts([tf.zeros(ids.shape)])
    rows = embed_rows(model._src_modality, ids, layout, dropout=0.1)[:2000]
    kept = np.array(rows) != 0.0
    assert abs(kept.mean() - 0.9) < 5 * (0.1 * 0.9 / kept.size) ** 0.5
    exact = embed_rows(model._src_modality, ids, layout, dropout=0.0)[:2000]
    np.testing.assert_allclose(rows, np.where(kept, exact / 0.9, 0.0), rtol=1e-5)


def test_bert():
    model = build(Bert, "bert_toy", meta())
    inputs = {"tokens": ids(3, 7), "padding": 1.0 - tf.sequence_mask([7, 2, 4], 7, tf.float32)}
    outputs = model(inputs, is_training=True)
    with stock():
        expected = model(inputs, is_training=True)
    for name, output in outputs.items():  # of padding, too
        assert relative_error(output, expected[name]) < 1e-5


def test_gpt2():
    model, inputs = gpt2_model(), translation_inputs()
    logits, gradients = forward_and_gradients(model, inputs)
    with stock():
        expected, expected_gradients = forward_and_gradients(model, inputs)
    assert relative_error(logits, expected) < 1e-5
    for gradient, wanted in zip(gradients, expected_gradients):
        assert relative_error(gradient, wanted) < 1e-4


def test_encoder_that_is_called_directly_computes_padding_as_stock():
    model = translation_model()
    padding = 1.0 - tf.sequence_mask([5, 2, 4], 5, tf.float32)
    inputs = tf.random.normal([3, 5, 8])
    output = model._encoder(inputs, padding, is_training=False)
    with stock():
        expected = model._encoder(inputs, padding, is_training=False)
    assert output.dtype == expected.dtype
    assert relative_error(output, expected) < 1e-5


def test_logits_of_padding_are_zero():
    logits = translation_model()(translation_inputs(), is_training=False)
    assert not np.any(tf.boolean_mask(logits, ~TARGET_MASK))
    assert np.all(np.any(tf.boolean_mask(logits, TARGET_MASK), axis=-1))


def test_without_padding_told_all_positions_count():
    model = translation_model()
    inputs = {"src": ids(2, 3), "src_padding": tf.zeros([2, 3]), "trg_input": ids(2, 4)}
    logits = model(inputs, is_training=False)
    with stock():
        expected = model(inputs, is_training=False)
    assert relative_error(logits, expected) < 1e-5


def test_dropout_changes_training_only():
    args = {flag.name: flag.default for flag in Transformer.class_or_method_args()}
    args.update(get_hyper_parameters("transformer_toy")["model.params"])
    model = Transformer.new(args, meta(), meta(), name="model")
    inputs = translation_inputs()
    training = [np.array(model(inputs, is_training=True)) for _ in range(2)]
    evaluation = [np.array(model(inputs, is_training=False)) for _ in range(2)]
    assert not np.array_equal(*training)
    np.testing.assert_array_equal(*evaluation)


@pytest.mark.parametrize("name", ["pre-norm", "post-norm"])
def test_float16(name):
    make_model, make_inputs = MODELS[name]
    model, inputs = make_model(), make_inputs()
    with stock():
        expected, expected_gradients = forward_and_gradients(model, inputs)
    with float16():
        half = make_model()
        for variable, value in zip(half.trainable_variables, model.trainable_variables):
            variable.assign(value)
        logits, gradients = forward_and_gradients(half, inputs)
        assert half(inputs, is_training=False).dtype == tf.float16
        with stock():
            _, stock_gradients = forward_and_gradients(half, inputs)
    assert relative_error(logits, expected) < 5e-3
    for variable, gradient, wanted, stocks in zip(
        half.trainable_variables, gradients, expected_gradients, stock_gradients
    ):
        assert tf.convert_to_tensor(gradient).dtype == tf.convert_to_tensor(stocks).dtype
        # Where rounding turns a relu on or off, stock is as far from float32 as we are.
        bound = max(2e-2, 2 * relative_error(stocks, wanted))
        assert relative_error(gradient, wanted) < bound, variable.name


def test_bfloat16_on_request(monkeypatch):
    make_model, make_inputs = MODELS["gelu"]  # where rounding turns no gradient on or off
    model, inputs = make_model(), make_inputs()
    expected, expected_gradients = forward_and_gradients(model, inputs)
    monkeypatch.setenv("TF_LS_COMPUTE_DTYPE", "bfloat16")
    logits, gradients = forward_and_gradients(model, inputs)
    assert 1e-4 < relative_error(logits, expected) < 2e-2
    wanted = np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in expected_gradients])
    actual = np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in gradients])
    assert relative_error(actual, wanted) < 5e-2  # of the whole model; tests/ops has each layer's


def test_other_compute_dtypes_are_refused(monkeypatch):
    monkeypatch.setenv("TF_LS_COMPUTE_DTYPE", "float8")
    with pytest.raises(ValueError, match="TF_LS_COMPUTE_DTYPE must be bfloat16"):
        translation_model()(translation_inputs())


def test_what_cannot_be_fused_says_so_and_runs_as_stock(monkeypatch, caplog):
    model, inputs = translation_model(), translation_inputs()
    monkeypatch.setattr(QuantLayer, "enable_quant", True)
    monkeypatch.setattr(QuantLayer, "quant", lambda self, x, name: x)
    monkeypatch.setattr(QuantLayer, "quant_weight", lambda self, weight: weight)
    with caplog.at_level("INFO"):
        logits = model(inputs, is_training=False)
    with stock():
        expected = model(inputs, is_training=False)
    np.testing.assert_array_equal(logits, expected)
    assert "runs as NeurST's own: quantization-aware training is enabled" in caplog.text
