"""BERT and the models that share its layers compute what they computed, trained or not."""

import numpy as np
import pytest
import tensorflow as tf
import transformers_models
from transformers_models import encode, fused_operations, keras

import tf_ls

CLASSES = [
    "TFBertModel",
    "TFCamembertModel",
    "TFElectraModel",
    "TFLayoutLMModel",
    "TFRobertaModel",
    "TFXLMRobertaModel",
]
HEADS = [
    "TFBertForMaskedLM",
    "TFBertForPreTraining",
    "TFBertForQuestionAnswering",
    "TFBertForSequenceClassification",
    "TFBertForTokenClassification",
    "TFRobertaForSequenceClassification",
]


def states(inputs):
    """What to differentiate: states of tokens alone, in different proportions."""
    mask = tf.cast(inputs["attention_mask"], tf.float32)[..., None]
    return lambda output: [(output.last_hidden_state, mask)]


@pytest.mark.parametrize(
    ("name", "padding"),
    [("TFBertModel", "none"), ("TFBertModel", "left"), *((name, "right") for name in CLASSES)],
)
def test_outputs_and_gradients(name, padding):
    model, inputs = transformers_models.encoder(name), transformers_models.batch(padding)
    expected = transformers_models.at_tokens(model(**inputs)[0], inputs)
    expected_gradients = transformers_models.gradients(model, inputs, states(inputs))
    tf_ls.accelerate(model)
    assert len(fused_operations(encode(model, inputs))) == 3
    np.testing.assert_allclose(
        transformers_models.at_tokens(model(**inputs)[0], inputs), expected, atol=1e-4
    )
    actual_gradients = transformers_models.gradients(model, inputs, states(inputs))
    assert actual_gradients.keys() == expected_gradients.keys()
    for variable, gradient in expected_gradients.items():
        np.testing.assert_allclose(
            actual_gradients[variable], gradient, atol=1e-4, rtol=1e-4, err_msg=variable
        )


@pytest.mark.parametrize("name", HEADS)
def test_models_with_heads(name):
    model, inputs = transformers_models.encoder(name), transformers_models.batch("none")
    expected = model(**inputs)
    tf_ls.accelerate(model)
    for key, value in model(**inputs).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-4, err_msg=key)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_fast", "relu", "tanh"])
def test_activations(activation):
    model, inputs = (
        transformers_models.encoder(hidden_act=activation),
        transformers_models.batch("none"),
    )
    expected = model(**inputs)[0]
    np.testing.assert_allclose(tf_ls.accelerate(model)(**inputs)[0], expected, atol=1e-4)
    assert fused_operations(encode(model, inputs))


def test_padding_comes_out_as_zeros():
    model, inputs = tf_ls.accelerate(transformers_models.encoder()), transformers_models.batch()
    padding = np.asarray(inputs["attention_mask"]) == 0
    assert not np.asarray(model(**inputs)[0])[padding].any()


def test_padding_may_be_computed_as_before():
    model, inputs = transformers_models.encoder(), transformers_models.batch("right")
    expected = model(**inputs)[0]
    tf_ls.accelerate(model, remove_padding=False)
    np.testing.assert_allclose(model(**inputs)[0], expected, atol=1e-4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="padding must come last"):
        model(**transformers_models.batch("left"))


@pytest.mark.parametrize("return_dict", [True, False])
def test_states_between_layers(return_dict):
    model, inputs = transformers_models.encoder(), transformers_models.batch()
    options = {"output_hidden_states": True, "return_dict": return_dict}
    expected = model(**inputs, **options)
    actual = tf_ls.accelerate(model)(**inputs, **options)
    assert type(actual) is type(expected)
    assert len(actual[2]) == len(expected[2]) == 4
    for layer, value in zip(actual[2], expected[2]):
        np.testing.assert_allclose(
            transformers_models.at_tokens(layer, inputs),
            transformers_models.at_tokens(value, inputs),
            atol=1e-4,
        )


def test_dropout_is_the_layers_own():
    model = transformers_models.encoder(
        hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.125
    )
    tf_ls.accelerate(model)
    for training, rates in ((True, (0.125, 0.0, 0.25)), (False, (0.0, 0.0, 0.0))):
        for operation in fused_operations(
            encode(model, transformers_models.batch(), training=training)
        ):
            names = ("attention_dropout", "activation_dropout", "residual_dropout")
            assert tuple(operation.get_attr(name) for name in names) == rates


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    inputs = transformers_models.batch()
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = transformers_models.encoder(initializer_range=0.1)
        expected = transformers_models.at_tokens(model(**inputs)[0], inputs)
        tf_ls.accelerate(model)
        output = model(**inputs)[0]
        assert output.dtype == keras.mixed_precision.global_policy().compute_dtype
        tolerance = 0.02 if policy == "mixed_float16" else 0.12
        np.testing.assert_allclose(
            transformers_models.at_tokens(output, inputs).astype(np.float32),
            expected.astype(np.float32),
            atol=tolerance,
        )
        found = transformers_models.gradients(model, inputs, states(inputs))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {gradient.dtype for gradient in found.values()} == {np.dtype(np.float32)}


def test_fitted_models_are_the_same():
    inputs, labels = transformers_models.batch(), tf.constant([0, 2, 1])
    fitted = []
    weights = None
    for accelerated in (False, True):
        model = transformers_models.encoder("TFBertForSequenceClassification", num_labels=3)
        model(**inputs)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        if accelerated:
            tf_ls.accelerate(model)
        model.compile(
            keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        history = model.fit(inputs, labels, batch_size=3, epochs=3, verbose=0)
        fitted.append((history.history["loss"], model.get_weights()))
    (losses, trained), (fused_losses, fused_trained) = fitted
    np.testing.assert_allclose(fused_losses, losses, rtol=1e-4)
    for expected, actual in zip(trained, fused_trained):
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_saved_models_are_the_librarys_own(tmp_path):
    inputs = transformers_models.batch()
    model = tf_ls.accelerate(transformers_models.encoder())
    expected = transformers_models.at_tokens(model(**inputs)[0], inputs)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert not fused_operations(encode(again, inputs))
    np.testing.assert_allclose(
        transformers_models.at_tokens(again(**inputs)[0], inputs), expected, atol=1e-4
    )


def test_weights_and_checkpoints_go_into_models_that_are_not_accelerated(tmp_path):
    inputs = transformers_models.batch()
    model = tf_ls.accelerate(transformers_models.encoder())
    expected = transformers_models.at_tokens(model(**inputs)[0], inputs)
    model.save_weights(tmp_path / "weights.h5")
    tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    for load in (
        lambda other: other.load_weights(tmp_path / "weights.h5"),
        lambda other: (
            tf.train.Checkpoint(model=other)
            .read(str(tmp_path / "checkpoint"))
            .assert_existing_objects_matched()
        ),
    ):
        other = transformers_models.encoder()
        other(**inputs)
        load(other)
        np.testing.assert_allclose(
            transformers_models.at_tokens(other(**inputs)[0], inputs), expected, atol=1e-4
        )


def test_exported_functions_run_fused(tmp_path):
    inputs = transformers_models.batch()
    model = tf_ls.accelerate(transformers_models.encoder())
    module = tf.Module()
    module.model = model
    signature = [tf.TensorSpec([None, None], tf.int32, name=name) for name in inputs]
    module.encode = tf.function(
        lambda ids, mask: model(input_ids=ids, attention_mask=mask)[0], input_signature=signature
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.encode(*inputs.values()), model(**inputs)[0], atol=1e-5)
