"""accelerate(): which layers it finds, what it says, what it leaves as it was."""

import numpy as np
import pytest
import tensorflow as tf
import transformers_models
from transformers_models import encode, fused_operations, keras

import tf_ls
from tf_ls.acceleration import restore


def test_returns_the_model_with_its_layers_fused():
    model, inputs = transformers_models.encoder(), transformers_models.batch()
    assert tf_ls.accelerate(model) is model
    assert len(fused_operations(encode(model, inputs))) == 3


def test_padding_is_removed_once_for_all_layers():
    model, inputs = tf_ls.accelerate(transformers_models.encoder()), transformers_models.batch()
    assert len(fused_operations(encode(model, inputs), "LSPack")) == 1
    assert len(fused_operations(encode(model, inputs), "LSUnpack")) == 1


def test_a_second_time_changes_nothing():
    model, inputs = transformers_models.encoder(), transformers_models.batch()
    once = tf_ls.accelerate(model)(**inputs)[0]
    np.testing.assert_array_equal(tf_ls.accelerate(model)(**inputs)[0], once)
    assert len(fused_operations(encode(model, inputs))) == 3


def test_restore_undoes_it():
    model, inputs = transformers_models.encoder(), transformers_models.batch()
    before = model(**inputs)[0]
    assert restore(tf_ls.accelerate(model)) is model
    np.testing.assert_array_equal(model(**inputs)[0], before)
    assert not fused_operations(encode(model, inputs))


def test_variables_stay_as_they_are():
    model = transformers_models.encoder()
    model(**transformers_models.batch())
    before = [(variable.name, id(variable)) for variable in model.variables]
    tf_ls.accelerate(model)
    assert [(variable.name, id(variable)) for variable in model.variables] == before


def test_layers_inside_of_other_models():
    inputs = transformers_models.batch()
    inner = transformers_models.encoder()
    ids, mask = (
        keras.Input([None], dtype=tf.int32, name=name) for name in ("input_ids", "attention_mask")
    )
    states = inner.bert(input_ids=ids, attention_mask=mask)[0]
    functional = keras.Model([ids, mask], keras.layers.Dense(2)(states[:, 0]))

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = {"encoder": [inner]}

        def call(self, inputs):
            return self.parts["encoder"][0](inputs)[0][:, 0]

    subclassed = Subclassed()
    batch = [inputs["input_ids"], inputs["attention_mask"]]
    expected = functional(batch), subclassed(inputs)
    tf_ls.accelerate(functional)
    np.testing.assert_allclose(functional(batch), expected[0], atol=1e-4)
    restore(functional)
    tf_ls.accelerate(subclassed)
    np.testing.assert_allclose(subclassed(inputs), expected[1], atol=1e-4)
    assert len(fused_operations(lambda: subclassed(inputs))) == 3


def test_what_is_no_keras_model_is_refused():
    with pytest.raises(ValueError, match="expected a Keras model or layer, got a dict"):
        tf_ls.accelerate({})


def test_a_model_without_known_layers_is_named(warnings_of_tf_ls):
    model = keras.Sequential([keras.layers.Dense(2)], name="plain")
    tf_ls.accelerate(model)
    assert warnings_of_tf_ls == ["tf_ls: plain: no layer that accelerate() knows"]


# Layers that operations cannot compute ------------------------------------------------------------


def assert_untouched(model, reason, warnings):
    inputs = transformers_models.batch()
    before = model(**inputs)[0]
    tf_ls.accelerate(model)
    assert warnings == [
        f"tf_ls: {model.name}: 1 {type(model.bert.encoder).__name__} is as before, because {reason}"
    ]
    np.testing.assert_array_equal(model(**inputs)[0], before)
    assert not fused_operations(encode(model, inputs))


def test_decoders(warnings_of_tf_ls):
    model = transformers_models.encoder(is_decoder=True)
    assert_untouched(model, "it is a decoder", warnings_of_tf_ls)


def test_activations_that_operations_do_not_have(warnings_of_tf_ls):
    model = transformers_models.encoder(hidden_act="gelu_10")
    assert_untouched(model, "its activation is gelu_10", warnings_of_tf_ls)


def test_layers_with_a_part_of_another_kind(warnings_of_tf_ls):
    class Adapter(keras.layers.Dense):
        """As parameter-efficient fine-tuning puts into a layer."""

    model = transformers_models.encoder()
    attention = model.bert.encoder.layer[1].attention.self_attention
    attention.query = Adapter(32, name="low_rank")
    assert_untouched(model, "its low_rank is a Adapter", warnings_of_tf_ls)


def test_layers_whose_call_somebody_replaced(warnings_of_tf_ls):
    model = transformers_models.encoder()
    dense = model.bert.encoder.layer[0].intermediate.dense
    dense.call = lambda inputs: tf.zeros([*inputs.shape[:-1], 48])
    assert_untouched(model, "the call of its dense was replaced", warnings_of_tf_ls)


def test_classes_derived_from_a_known_one_are_not_known():
    model = transformers_models.encoder()
    encoder = type(model.bert.encoder)
    model.bert.encoder.__class__ = type("Own", (encoder,), {"call": encoder.call})
    tf_ls.accelerate(model)
    assert not fused_operations(encode(model, transformers_models.batch()))


# Calls that operations cannot compute -------------------------------------------------------------


def test_attention_weights_come_from_the_layer_as_it_was(warnings_of_tf_ls):
    model, inputs = transformers_models.encoder(), transformers_models.batch()
    before = model(**inputs, output_attentions=True)
    tf_ls.accelerate(model)
    for _ in range(2):
        after = model(**inputs, output_attentions=True)
        for expected, actual in zip(before.attentions, after.attentions):
            np.testing.assert_array_equal(actual, expected)
    assert warnings_of_tf_ls == [
        "tf_ls: a call of TFBertEncoder runs as before, because output_attentions is given"
    ]


def test_masks_that_are_not_about_padding(warnings_of_tf_ls):
    model, inputs = transformers_models.encoder(), transformers_models.batch()
    encoder = model.bert.encoder
    arguments = dict.fromkeys(
        ("encoder_hidden_states", "encoder_attention_mask", "past_key_values", "use_cache")
    )
    arguments.update(
        hidden_states=model.bert.embeddings(inputs["input_ids"]),
        attention_mask=tf.linalg.band_part(tf.ones([9, 9]), -1, 0)[None, None] * 1e4 - 1e4,
        head_mask=[None] * 3,
        output_attentions=False,
        output_hidden_states=False,
        return_dict=True,
    )
    before = encoder(**arguments)[0]
    tf_ls.accelerate(model)
    np.testing.assert_array_equal(encoder(**arguments)[0], before)
    assert warnings_of_tf_ls == [
        "tf_ls: a call of TFBertEncoder runs as before, because its attention_mask has the shape"
        " (1, 1, 9, 9)"
    ]


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, np.nan])
def test_masks_that_weigh_positions_are_refused(value):
    model, inputs = tf_ls.accelerate(transformers_models.encoder()), transformers_models.batch()
    weighing = tf.cast(inputs["attention_mask"], tf.float32) * value
    with pytest.raises(tf.errors.InvalidArgumentError, match="attention_mask of zeros and ones"):
        tf.function(lambda: model(input_ids=inputs["input_ids"], attention_mask=weighing)[0])()


def test_different_dropout_rates_in_one_layer(warnings_of_tf_ls):
    model = tf_ls.accelerate(transformers_models.encoder())
    model.bert.encoder.layer[2].bert_output.dropout.rate = 0.4
    assert not fused_operations(encode(model, transformers_models.batch()))
    assert "dropout rates" in warnings_of_tf_ls[-1]


def test_double_precision(warnings_of_tf_ls):
    keras.backend.set_floatx("float64")
    keras.mixed_precision.set_global_policy("float64")
    try:
        model = tf_ls.accelerate(transformers_models.encoder())
        assert not fused_operations(encode(model, transformers_models.batch()))
    finally:
        keras.backend.set_floatx("float32")
        keras.mixed_precision.set_global_policy("float32")
    assert warnings_of_tf_ls[-1].endswith("because it computes in float64")


def test_xla_is_refused_by_name():
    model, inputs = tf_ls.accelerate(transformers_models.encoder()), transformers_models.batch()
    with pytest.raises(NotImplementedError, match="XLA cannot compile the operations of tf_ls"):
        tf.function(encode(model, inputs), jit_compile=True)()
