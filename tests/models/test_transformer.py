"""LSTransformer against a padded float64 model, and what Keras does with it."""

import numpy as np
import pytest
import tensorflow as tf
from small_transformer import (
    HIDDEN,
    INPUTS,
    ONE_TABLE,
    REAL,
    SETTINGS,
    SOURCE_LENGTHS,
    TARGET_LENGTHS,
    TARGET_WORDS,
    build,
    padded_model,
    variables,
)

from tf_ls import ops
from tf_ls.layers import LSTransformerEncoderLayer
from tf_ls.models import LSTransformer
from tf_ls.testing.comparison import relative_error

# Numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pre_layer_norm": False, "activation_fn": "gelu"},
        {"share_embedding_and_softmax_weights": False},
        ONE_TABLE,
        {**ONE_TABLE, "share_embedding_and_softmax_weights": False},
    ],
    ids=["pre_norm", "post_norm", "softmax_linear", "one_table", "one_table_softmax_linear"],
)
def test_logits_and_gradients(changes):
    model = build(**changes)
    names, values = zip(*variables(model).items())
    cotangent = np.random.default_rng(2).normal(
        size=[*REAL.shape, model.settings.target_vocab_size]
    )
    cotangent *= REAL[..., None]

    with tf.GradientTape() as tape:
        logits = model(INPUTS, training=True)  # without dropout
        loss = tf.reduce_sum(logits * cotangent.astype(np.float32))
    gradients = tape.gradient(loss, values)
    exact = {name: tf.constant(v.numpy(), tf.float64) for name, v in zip(names, values)}
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected = padded_model(exact, {**SETTINGS, **changes})
        loss = tf.reduce_sum(expected * cotangent)
    wanted = tape.gradient(loss, exact)

    assert logits.dtype == tf.float32
    assert relative_error(logits, tf.where(REAL[..., None], expected, 0.0)) < 1e-5
    for name, gradient in zip(names, gradients):
        dense = [tf.convert_to_tensor(g) for g in (gradient, wanted[name])]
        error = relative_error(*dense)
        assert error < 1e-4, name


def test_padding_can_be_told_in_three_ways():
    model, unpadded = build(), build(padding_idx=None)
    expected = model(INPUTS)
    lengths = {"src_length": np.array(SOURCE_LENGTHS), "trg_length": np.array(TARGET_LENGTHS)}
    np.testing.assert_array_equal(unpadded({**INPUTS, **lengths}), expected)
    paddings = {
        "src_padding": (INPUTS["src"] == 0).astype(np.float32),
        "trg_padding": (INPUTS["trg_input"] == 0).astype(np.float32),
    }
    np.testing.assert_array_equal(unpadded({**INPUTS, **paddings}), expected)
    np.testing.assert_array_equal(np.any(expected, axis=-1), REAL)
    assert np.any(unpadded(INPUTS), axis=-1).all()


def test_hidden_states_are_what_is_projected():
    model = build()
    hidden = model.hidden_states(INPUTS)
    assert hidden.values.shape == (64, HIDDEN)
    states = ops.unpack(hidden.values, hidden.layout, hidden.batch_and_length)
    logits = tf.matmul(states, hidden.table.weights, transpose_b=True) + hidden.table.bias
    expected = np.where(REAL[..., None], logits, 0.0)
    np.testing.assert_allclose(model(INPUTS), expected, rtol=1e-4, atol=1e-5)


def test_dropout_happens_in_training_only():
    model = build(hidden_dropout_ratio=0.2)
    np.testing.assert_array_equal(model(INPUTS), model(INPUTS, training=False))
    first, second = (np.array(model(INPUTS, training=True)) for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    exact = build()
    model = LSTransformer(**SETTINGS, dtype=policy)
    model.set_weights(exact.get_weights())
    logits = model(INPUTS)
    assert logits.dtype == policy.replace("mixed_", "")
    assert {tf.as_dtype(w.dtype) for w in model.weights} == {tf.float32}
    tolerance = 5e-2 if policy == "mixed_bfloat16" else 1e-2
    assert relative_error(logits, exact(INPUTS)) < tolerance


def test_kinds_of_gradients():
    model = build()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(INPUTS))
    gradients = tape.gradient(loss, variables(model))
    kinds = {name: type(g) for name, g in gradients.items()}
    sparse = [name for name, kind in kinds.items() if kind is tf.IndexedSlices]
    assert sparse == ["input_symbol_modality_posenc_wrapper/input_symbol_modality/emb/weights"]


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "sizes", "pre_layer_norm"),
    [("transformer-base", (512, 2048, 8), True), ("bert-base", (768, 3072, 12), False)],
)
def test_presets(preset, sizes, pre_layer_norm):
    config = LSTransformer.get_config(
        model=preset, vocab_size=20, max_batch_tokens=4096, max_seq_len=256, num_decoder_layer=3
    )
    assert (config.hidden_size, config.intermediate_size, config.nhead) == sizes
    assert (config.num_encoder_layer, config.num_decoder_layer) == (6, 3)
    assert config.hidden_dropout_ratio == 0.1
    assert config.pre_layer_norm is pre_layer_norm


def test_settings_beside_a_config_override_it():
    config = LSTransformer.get_config(**SETTINGS, fp16=True)
    model = LSTransformer(config, num_encoder_layer=1)
    assert (len(model.encoder_layers), len(model.decoder_layers)) == (1, 2)
    assert model.compute_dtype == "float16"
    assert LSTransformer(config, dtype="float32").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nhead": 5}, "multiple.*hidden_size=12 and 5 heads"),
        ({"vocab_size": 0}, "vocab_size must be a positive integer"),
        ({"num_decoder_layer": 0}, "num_decoder_layer must be a positive integer"),
        ({"trg_vocab_size": -3}, "trg_vocab_size must be a positive integer"),
        ({"share_source_target_embedding": True}, "one vocabulary.*13 and trg_vocab_size=11"),
        ({"hidden_dropout_ratio": 1.0}, "hidden_dropout_ratio must be in"),
        ({"layers": 3}, "unknown setting layers"),
        ({"dtype": "float64"}, "float32, bfloat16, float16.*float64"),
    ],
    ids=str,
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        LSTransformer(**{**SETTINGS, **changes})


def test_config_of_a_layer():
    with pytest.raises(ValueError, match=r"expected a TransformerConfig.*EncoderLayerConfig"):
        LSTransformer(LSTransformerEncoderLayer.get_config(model="transformer-base"))


# What Keras does with it -------------------------------------------------------------------------


def test_names_of_variables_are_neursts():
    names = list(variables(LSTransformer(**SETTINGS)))
    assert len(names) == len(set(names)) == 71
    for name in (
        "input_symbol_modality_posenc_wrapper/input_symbol_modality/emb/weights",
        "target_symbol_modality_posenc_wrapper/target_symbol_modality/shared/weights",
        "target_symbol_modality_posenc_wrapper/target_symbol_modality/shared/bias",
        "TransformerEncoder/layer_1/ffn_prepost_wrapper/ffn/dense1/kernel",
        "TransformerEncoder/output_ln/gamma",
        "TransformerDecoder/layer_0/encdec_attention_prepost_wrapper/encdec_attention"
        "/kv_transform/kernel",
    ):
        assert name in names
    assert "softmax_linear/kernel" in variables(
        LSTransformer(**SETTINGS, share_embedding_and_softmax_weights=False)
    )


def fit(model, epochs=10):
    model.compile(
        "adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), weighted_metrics=[]
    )
    labels = np.roll(INPUTS["trg_input"], -1, axis=1)
    history = model.fit(
        INPUTS, labels, sample_weight=REAL.astype(np.float32), epochs=epochs, verbose=0
    )
    return history.history["loss"]


def test_fit_evaluate_predict():
    model = LSTransformer(**SETTINGS, hidden_dropout_ratio=0.1)
    losses = fit(model)
    assert losses[-1] < losses[0]
    assert model.predict(INPUTS, verbose=0).shape == (*REAL.shape, TARGET_WORDS)


def test_save_and_load_weights(tmp_path):
    model, other = build(), LSTransformer(**SETTINGS)
    model.save_weights(str(tmp_path / "model.weights.h5"))
    other.load_weights(str(tmp_path / "model.weights.h5"))
    np.testing.assert_array_equal(other(INPUTS), model(INPUTS))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_save_and_load(tmp_path, policy):
    model = build(dtype=policy, **ONE_TABLE)
    fit(model, epochs=1)
    # TensorFlow 2.12 takes a .keras file for HDF5, which holds no subclassed models, unless told.
    options = {"save_format": "keras_v3"} if tf.__version__.startswith("2.12.") else {}
    model.save(str(tmp_path / "model.keras"), **options)
    loaded = tf.keras.models.load_model(str(tmp_path / "model.keras"))
    assert loaded.compute_dtype == model.compute_dtype
    np.testing.assert_array_equal(loaded(INPUTS), model(INPUTS))


def test_checkpoint(tmp_path):
    model, other = build(), LSTransformer(**SETTINGS)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).restore(path).expect_partial()
    np.testing.assert_array_equal(other(INPUTS), model(INPUTS))


def test_get_config_and_from_config():
    model = LSTransformer(**SETTINGS, name="translator", activation_fn="gelu", trainable=False)
    again = LSTransformer.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert (again.name, again.settings) == ("translator", model.settings)
    assert not again.trainable_weights


def test_tf_function_of_any_shape():
    model = build()
    spec = {name: tf.TensorSpec([None, None], tf.int64) for name in INPUTS}
    function = tf.function(lambda inputs: model(inputs), input_signature=[spec])
    for count in (1, 4, 0):
        inputs = {name: tf.constant(values[:count]) for name, values in INPUTS.items()}
        np.testing.assert_allclose(function(inputs), model(INPUTS)[:count], rtol=1e-4, atol=1e-5)


# What is not right says so -----------------------------------------------------------------------


def test_word_outside_the_vocabulary():
    inputs = {**INPUTS, "trg_input": np.array([[1, TARGET_WORDS]] * 4)}
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"vocabulary of 11, got 11 at \[0, 1\]"
    ):
        build()(inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"src": INPUTS["src"][0]}, r"expected ids \[batch, length\]"),
        ({"src_padding": np.zeros([4, 9])}, r"expected src_padding of its ids' shape \(4, 5\)"),
        ({"trg_input": INPUTS["trg_input"].astype(np.float32)}, "expected ids, integers"),
    ],
    ids=str,
)
def test_bad_inputs(changes, message):
    with pytest.raises(ValueError, match=message):
        build()({**INPUTS, **changes})


def test_batches_that_differ():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        build()({**INPUTS, "src": INPUTS["src"][:2]})
