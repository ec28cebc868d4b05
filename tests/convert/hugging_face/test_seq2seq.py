"""BART, mBART and Marian of Hugging Face's: the same numbers in a model file, and back."""

import json

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
    torch,
)

import tf_ls.inference as lsi
from tf_ls import convert

SIZES = {
    "vocab_size": 23,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 12,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "forced_eos_token_id": 2,
    "decoder_start_token_id": 2,
}
SOURCES = [[5, 9, 21, 2], [2], [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 2]]
TARGET = [2, 0, 9, 9, 14, 5]
CLASSES = {"bart": "BartForConditionalGeneration", "mbart": "MBartForConditionalGeneration"}
CLASSES["marian"] = "MarianMTModel"
CONFIGS = {"bart": "BartConfig", "mbart": "MBartConfig", "marian": "MarianConfig"}

every_type = pytest.mark.parametrize("model_type", CLASSES)


def build(model_type, **options):
    classes = CLASSES[model_type], CONFIGS[model_type]
    model = hugging_face_models.build(*classes, **{**SIZES, **options})
    if model_type == "marian":
        for stack in (model.model.encoder, model.model.decoder):
            stack.embed_positions._init_weight()
    with torch.no_grad():
        if model_type != "marian":
            for stack in (model.model.encoder, model.model.decoder):
                stack.embed_positions.weight[:2] = 0  # which nothing reads
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(1))
    return model


def assert_same_logits(model, original, target=TARGET):
    for source in SOURCES:
        wanted = logits(original, source, decoder_input_ids=torch.tensor([target])).logits[0]
        mine = numpy_models.transformer_logits(model, source, target)
        np.testing.assert_allclose(mine, wanted, atol=1e-4)


@every_type
@pytest.mark.parametrize("scale_embedding", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_same_logits(tmp_path, model_type, scale_embedding, activation):
    original = build(model_type, scale_embedding=scale_embedding, activation_function=activation)
    model = converted(original, tmp_path / "model")
    assert_same_logits(model, original)
    assert model.setting("is_post_ln") == (model_type != "mbart")
    assert model.setting("trg_start_id") == model.setting("trg_end_id") == 2
    assert model.setting("src_padding_id") == 1


@every_type
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "pytorch"])
def test_other_files(tmp_path, model_type, safe):
    """PyTorch's have shared weights several times."""
    original = build(model_type)
    folder = saved(original, tmp_path / "model", safe_serialization=safe, max_shard_size="9KB")
    assert list(folder.glob("*.index.json"))
    assert_same_logits(convert.read(folder), original)


@every_type
@pytest.mark.parametrize("scale_embedding", [False, True], ids=["plain", "scaled"])
def test_back(tmp_path, model_type, scale_embedding):
    original = build(model_type, scale_embedding=scale_embedding)
    model = converted(original, tmp_path / "model")
    folder = convert.write(model, tmp_path / "again", to="hugging_face", model_type=model_type)
    # Scaling rounds on the way back.
    assert_same_model(convert.read(folder), model, rtol=1.2e-7 if scale_embedding else 0)
    target = torch.tensor([TARGET])
    assert_loads_as(
        original,
        folder,
        SOURCES,
        rtol=1.2e-7 if scale_embedding else 0,
        decoder_input_ids=target,
    )


def test_tables_of_their_own(tmp_path):
    original = build("marian", share_encoder_decoder_embeddings=False)
    model = converted(original, tmp_path / "model")
    assert_same_logits(model, original)
    folder = convert.write(model, tmp_path / "again", to="hugging_face", model_type="marian")
    assert_same_model(convert.read(folder), model)
    assert_loads_as(original, folder, SOURCES, decoder_input_ids=torch.tensor([TARGET]))
    for name, shape in (("token_embedding", [16, 19]), ("shared_bias", [19])):
        model.put(f"trg_embedding/{name}", np.zeros(shape))
    with pytest.raises(convert.ConversionError, match="expected as many words as the source's, 23"):
        convert.write(model, tmp_path / "other", to="hugging_face", model_type="marian")


def test_a_table_of_two_languages_is_one(tmp_path):
    model = converted(build("bart"), tmp_path / "model")
    model.put("trg_embedding/token_embedding", np.zeros([16, 23]))
    with pytest.raises(convert.ConversionError, match=r"too: model\.shared\.weight is both"):
        convert.write(model, tmp_path / "bart", to="hugging_face", model_type="bart")


def test_without_a_bias(tmp_path):
    """The model without its output layer: zeros."""
    original = build("bart")
    original.final_logits_bias.zero_()
    model = converted(original.model, tmp_path / "model")
    assert_same_logits(model, original)


def test_marian_computes_its_positions(tmp_path):
    """Checkpoints need not have them."""
    original = build("marian", d_model=16, max_position_embeddings=12)
    folder = saved(original, tmp_path / "model")
    model = convert.read(folder)
    for part, stack in (("src_embedding", "encoder"), ("trg_embedding", "decoder")):
        wanted = getattr(original.model, stack).embed_positions.weight
        np.testing.assert_allclose(
            model.float32(f"{part}/position_embedding"), wanted.detach(), atol=1e-6
        )


# How it generates ---------------------------------------------------------------------------------


def generated(original, source, **options):
    """Their hypotheses of a source, without the start token and what is behind EOS."""
    outputs = original.generate(torch.tensor([source]), do_sample=False, **options)
    return [until_eos(tokens) for tokens in outputs[:, 1:].tolist()]


def until_eos(tokens):
    return tokens[: tokens.index(2) + 1] if 2 in tokens else tokens


@every_type
@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 1},
        {"num_beams": 1, "no_repeat_ngram_size": 2, "bad_words_ids": [[9], [21]]},
        {"num_beams": 1, "forced_bos_token_id": 5},
        {"num_beams": 3, "early_stopping": True, "length_penalty": 1.5},
        {"num_beams": 3, "early_stopping": True, "length_penalty": 0.0, "forced_bos_token_id": 5},
        {"num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 2, "min_length": 4},
    ],
    ids=str,
)
def test_the_same_tokens(tmp_path, model_type, options):
    """Of beam search with early_stopping, which is theirs and ours alike."""
    activation = "silu" if model_type == "marian" else "gelu"
    original = build(model_type, activation_function=activation, forced_eos_token_id=None)
    original.generation_config.update(**options, max_length=11)
    folder = saved(original, tmp_path / "model")
    path = convert.convert(folder, tmp_path / "model.pb")
    transformer = lsi.Transformer(path, 8)
    beams = options["num_beams"]
    for source in SOURCES:
        wanted = generated(original, source, num_return_sequences=beams)
        tokens, _ = transformer.infer([source])
        assert [until_eos(hypothesis.tolist()) for hypothesis in tokens[0]] == wanted


def test_options_of_generation(tmp_path):
    original = build("bart")
    original.generation_config.update(
        num_beams=4,
        length_penalty=2.0,
        early_stopping=True,
        no_repeat_ngram_size=3,
        min_length=5,
        max_length=11,
        forced_bos_token_id=0,
        bad_words_ids=[[7], [1]],
    )
    model = converted(original, tmp_path / "model")
    assert model.setting("beam_size") == 4
    assert model.setting("length_penalty") == 2.0
    assert model.prefix() == [0]
    assert model.search_options() == {
        "length_penalty": "exponent",
        "early_stopping": True,
        "no_repeat_ngram_size": 3,
        "min_length": 5,
        "max_length": 10,
        "max_extra_length": None,
        "forbidden_tokens": [1, 7],
    }
    folder = convert.write(model, tmp_path / "again", to="hugging_face", model_type="bart")
    assert_same_model(convert.read(folder), model)
    written = json.loads((folder / "generation_config.json").read_text())
    own = json.loads((tmp_path / "model/generation_config.json").read_text())
    own["bad_words_ids"] = sorted(own["bad_words_ids"])
    assert written.items() <= own.items()


def test_options_that_are_left_out_are_named(tmp_path, caplog, monkeypatch):
    from absl import logging as absl_logging

    monkeypatch.setattr(absl_logging.get_absl_logger(), "propagate", True)
    original = build("marian")
    original.generation_config.update(
        repetition_penalty=1.5, no_repeat_ngram_size=1, bad_words_ids=[[3, 4]]
    )
    model = converted(original, tmp_path / "model")
    assert "no_repeat_ngram_size" not in model.search_options()
    assert "left out of how to generate: repetition_penalty, no_repeat_ngram_size" in caplog.text
    assert "left out of how to generate: bad_words_ids [[3, 4]]" in caplog.text


# Refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architectures": ["BartForSequenceClassification"]}, "architectures: expected one of B"),
        ({"decoder_attention_heads": 2}, "decoder_attention_heads: expected encoder_attention_h"),
        ({"decoder_ffn_dim": 32}, "decoder_ffn_dim: expected encoder_ffn_dim's 24, got 32"),
        ({"encoder_layers": 1}, r"there is no field for model\.encoder\.layers\.1"),
        ({"max_position_embeddings": 14}, "max_position_embeddings: says 14, but the weights have"),
        ({"activation_function": "gelu_fast"}, "activation_function: expected one of gelu"),
        ({"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings: expected"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings: expected True, got False"),
    ],
    ids=str,
)
def test_options_that_are_not_carried(tmp_path, options, message):
    assert_refused(saved(build("bart"), tmp_path / "model"), options, message)


def test_stacks_of_different_sizes(tmp_path):
    folder = saved(build("bart", decoder_ffn_dim=32), tmp_path / "model")
    with pytest.raises(convert.ConversionError, match="decoder_ffn_dim: expected encoder_ffn_dim"):
        convert.read(folder)


@pytest.mark.parametrize(
    ("settings", "model_type", "message"),
    [
        ({}, None, "model_type must be one of bart, mbart, marian"),
        ({}, "bert", "model_type must be one of bart, mbart, marian; got 'bert'"),
        ({}, "mbart", "model_conf/is_post_ln: mbart has False, the model True"),
        ({"epsilon": 1e-6}, "bart", "model_conf/epsilon: bart has .*, the model 1e-06"),
        ({}, "marian", "there is no weight for src_embedding/norm_scale"),
        ({"prefix": "[3, 4]"}, "bart", "model_conf/prefix: expected one token"),
    ],
    ids=str,
)
def test_models_that_are_something_else(tmp_path, settings, model_type, message):
    model = converted(build("bart"), tmp_path / "model")
    model.settings.update(settings)
    with pytest.raises(ValueError, match=message):
        convert.write(model, tmp_path / "again", to="hugging_face", model_type=model_type)
    assert not (tmp_path / "again").exists()
