"""GPT-2 of Hugging Face's: the same numbers in a model file, and back."""

import hugging_face_models
import numpy as np
import numpy_models
import pytest
from hugging_face_models import (
    assert_loads_as,
    assert_refused,
    assert_same_model,
    converted,
    logits,
    saved,
)

from tf_ls import convert

SIZES = {
    "vocab_size": 29,
    "n_positions": 12,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 28,
    "eos_token_id": 28,
}
PROMPTS = [[3, 9, 27, 4, 4], [28], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]


def build(architecture="GPT2LMHeadModel", **options):
    return hugging_face_models.build(architecture, "GPT2Config", **{**SIZES, **options})


def assert_same_logits(model, original):
    for ids in PROMPTS:
        wanted = logits(original, ids).logits[0]
        np.testing.assert_allclose(numpy_models.gpt_logits(model, ids), wanted, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"n_inner": 24}, {"activation_function": "relu"}], ids=str)
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "pytorch"])
def test_the_same_logits(tmp_path, options, safe):
    original = build(**options)
    model = converted(original, tmp_path / "gpt2", safe_serialization=safe)
    assert_same_logits(model, original)
    assert model.setting("eos_id") == 28
    assert model.setting("src_padding_id") == 29  # no token


def test_back(tmp_path):
    original = build(pad_token_id=3)
    model = converted(original, tmp_path / "gpt2")
    assert model.setting("src_padding_id") == 3
    folder = convert.write(model, tmp_path / "again", to="hugging_face")
    assert_same_model(convert.read(folder), model)
    assert_loads_as(original, folder, PROMPTS)


def test_the_model_without_its_output_layer(tmp_path):
    """As GPT-2 was first published: names have no prefix."""
    original = build()
    model = converted(original.transformer, tmp_path / "gpt2")
    assert_same_logits(model, original)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architectures": ["GPT2ForSequenceClassification"]}, "architectures: expected one of G"),
        ({"scale_attn_weights": False}, "scale_attn_weights: expected True, got False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx: expected F"),
        ({"add_cross_attention": True}, "add_cross_attention: expected False, got True"),
        ({"n_head": None}, "config.json/n_head is missing"),
        ({"n_inner": 32}, "config.json/n_inner: says 32, but the weights have 64"),
        ({"eos_token_id": [28, 3]}, r"eos_token_id: expected one token, got \[28, 3\]"),
    ],
    ids=str,
)
def test_options_that_are_not_carried(tmp_path, options, message):
    folder = saved(build(), tmp_path / "gpt2")
    (folder / "generation_config.json").unlink()
    assert_refused(folder, options, message)
