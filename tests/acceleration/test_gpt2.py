"""GPT-2 computes what it computed, trains as it did and goes on generating."""

import numpy as np
import pytest
import tensorflow as tf
import transformers_models
from transformers_models import encode, fused_operations

import tf_ls
from tf_ls.acceleration import restore


def logits(inputs):
    mask = tf.cast(inputs["attention_mask"], tf.float32)[..., None]
    return lambda output: [(output.logits, mask)]


@pytest.mark.parametrize("padding", ["none", "right", "left"])
def test_outputs_and_gradients(padding):
    model, inputs = transformers_models.gpt2(), transformers_models.batch(padding)
    expected = transformers_models.at_tokens(model(**inputs).logits, inputs)
    expected_gradients = transformers_models.gradients(model, inputs, logits(inputs))
    tf_ls.accelerate(model)
    assert len(fused_operations(encode(model, inputs))) == 2
    np.testing.assert_allclose(
        transformers_models.at_tokens(model(**inputs).logits, inputs), expected, atol=1e-4
    )
    actual_gradients = transformers_models.gradients(model, inputs, logits(inputs))
    assert actual_gradients.keys() == expected_gradients.keys()
    for variable, gradient in expected_gradients.items():
        np.testing.assert_allclose(
            actual_gradients[variable], gradient, atol=2e-4, rtol=1e-3, err_msg=variable
        )


def test_without_a_mask_nothing_is_packed():
    model = tf_ls.accelerate(transformers_models.gpt2())
    ids = transformers_models.batch()["input_ids"]
    assert len(fused_operations(encode(model, {"input_ids": ids}))) == 2
    assert not fused_operations(encode(model, {"input_ids": ids}), "LSPack")


def test_keys_and_values_are_as_before():
    model, inputs = transformers_models.gpt2(), transformers_models.batch("none")
    expected = model(**inputs, use_cache=True).past_key_values
    actual = tf_ls.accelerate(model)(**inputs, use_cache=True).past_key_values
    for layer, value in zip(actual, expected):
        np.testing.assert_allclose(layer, value, atol=1e-4)


def test_generation_is_as_before():
    model, prompts = transformers_models.gpt2(), transformers_models.batch("left")
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    actual = tf_ls.accelerate(model).generate(**prompts, **options)
    np.testing.assert_array_equal(actual, restore(model).generate(**prompts, **options))


def test_dropout_is_the_blocks_own():
    model = tf_ls.accelerate(transformers_models.gpt2(resid_pdrop=0.25, attn_pdrop=0.125))
    for operation in fused_operations(encode(model, transformers_models.batch(), training=True)):
        assert operation.get_attr("attention_dropout") == 0.125
        assert operation.get_attr("residual_dropout") == 0.25
        assert operation.get_attr("causal")


def test_an_inner_width_of_its_own():
    model, inputs = transformers_models.gpt2(n_inner=40), transformers_models.batch("none")
    expected = model(**inputs).logits
    np.testing.assert_allclose(tf_ls.accelerate(model)(**inputs).logits, expected, atol=1e-4)


def test_saved_models_are_the_librarys_own(tmp_path):
    model, inputs = tf_ls.accelerate(transformers_models.gpt2()), transformers_models.batch("none")
    model(**inputs)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    np.testing.assert_allclose(again(**inputs).logits, model(**inputs).logits, atol=1e-4)
