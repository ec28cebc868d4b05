"""Presets, overrides, and get_config on the class and on an instance."""

import pytest

from tf_ls.layers import (
    PRESETS,
    LSTransformerDecoderLayer,
    LSTransformerEmbeddingLayer,
    LSTransformerEncoderLayer,
)

LAYERS = (LSTransformerEncoderLayer, LSTransformerDecoderLayer)


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize(
    ("preset", "sizes", "dropouts", "pre_layer_norm", "activation_fn"),
    [
        ("transformer-base", (512, 2048, 8), (0.0, 0.0, 0.1), True, "relu"),
        ("transformer-big", (1024, 4096, 16), (0.1, 0.1, 0.1), True, "relu"),
        ("bert-base", (768, 3072, 12), (0.1, 0.1, 0.1), False, "gelu"),
        ("bert-big", (1024, 4096, 16), (0.1, 0.1, 0.1), False, "gelu"),
    ],
)
def test_presets(layer_class, preset, sizes, dropouts, pre_layer_norm, activation_fn):
    layer = layer_class(layer_class.get_config(model=preset, max_batch_tokens=4096))
    assert (layer.hidden_size, layer.intermediate_size, layer.num_heads) == sizes
    assert (
        layer.attn_prob_dropout_ratio,
        layer.activation_dropout_ratio,
        layer.hidden_dropout_ratio,
    ) == dropouts
    assert layer.pre_layer_norm is pre_layer_norm
    assert layer.activation_fn == activation_fn
    assert layer.epsilon == 1e-6


def test_all_presets_are_tested():
    assert set(PRESETS) == {"transformer-base", "transformer-big", "bert-base", "bert-big"}


@pytest.mark.parametrize("layer_class", LAYERS)
def test_lightseqs_arguments(layer_class):
    config = layer_class.get_config(
        model="transformer-base",
        max_batch_tokens=4096,
        max_seq_len=256,
        fp16=True,
        local_rank=0,
        activation_fn="gelu",
        hidden_dropout_ratio=0.3,
    )
    layer = layer_class(config, name="named")
    assert layer.name == "named"
    assert layer.activation_fn == "gelu"
    assert layer.hidden_dropout_ratio == 0.3
    assert layer.compute_dtype == "float16"
    assert layer_class(config, dtype="float32").compute_dtype == "float32"


def test_lightseqs_arguments_of_the_decoder():
    config = LSTransformerDecoderLayer.get_config(
        model="transformer-base", nlayer=6, has_cross_attn=False
    )
    assert config.nlayer == 6
    assert LSTransformerDecoderLayer(config).has_cross_attn is False


def test_settings_without_a_preset():
    config = LSTransformerEncoderLayer.get_config(hidden_size=8, intermediate_size=16, nhead=2)
    assert LSTransformerEncoderLayer(config).num_heads == 2


def test_arguments_beside_a_config_override_it():
    config = LSTransformerEncoderLayer.get_config(model="bert-base")
    layer = LSTransformerEncoderLayer(config, activation_fn="relu", hidden_dropout_ratio=0.0)
    assert layer.activation_fn == "relu"
    assert layer.hidden_dropout_ratio == 0.0
    assert layer.attn_prob_dropout_ratio == 0.1


@pytest.mark.parametrize("layer_class", LAYERS)
def test_unknown_preset(layer_class):
    with pytest.raises(ValueError, match=r"transformer-huge.*transformer-base, transformer-big"):
        layer_class.get_config(model="transformer-huge")


@pytest.mark.parametrize("layer_class", LAYERS)
def test_unknown_setting(layer_class):
    with pytest.raises(ValueError, match=r"hiden_size.*hidden_size, intermediate_size, nhead"):
        layer_class.get_config(model="transformer-base", hiden_size=8)


def test_missing_sizes():
    with pytest.raises(ValueError, match="intermediate_size, nhead missing"):
        LSTransformerEncoderLayer.get_config(hidden_size=8)
    with pytest.raises(ValueError, match="intermediate_size, nhead missing"):
        LSTransformerEncoderLayer(8)


def test_config_of_the_other_layer():
    config = LSTransformerEncoderLayer.get_config(model="bert-base")
    with pytest.raises(ValueError, match="DecoderLayerConfig"):
        LSTransformerDecoderLayer(config)


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "multiple.*hidden_size=8 and 3 heads"),
        ({"num_heads": 0}, "positive integer, got 0"),
        ({"hidden_size": 8.0}, "positive integer, got 8.0"),
        ({"intermediate_size": -1}, "positive integer, got -1"),
        ({"activation_fn": "mish"}, "relu, tanh, gelu.*got 'mish'"),
        ({"hidden_dropout_ratio": 1.0}, r"hidden_dropout_ratio must be in \[0, 1\), got 1.0"),
        ({"attn_prob_dropout_ratio": -0.1}, "attn_prob_dropout_ratio"),
        ({"activation_dropout_ratio": float("nan")}, "activation_dropout_ratio"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"dtype": "float64"}, "float32, bfloat16, float16.*float64"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(layer_class, changes, message):
    arguments = {"hidden_size": 8, "intermediate_size": 16, "num_heads": 2, **changes}
    with pytest.raises(ValueError, match=message):
        layer_class(**arguments)


ARGUMENTS = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_heads": 2,
    "attn_prob_dropout_ratio": 0.1,
    "activation_dropout_ratio": 0.2,
    "hidden_dropout_ratio": 0.3,
    "pre_layer_norm": False,
    "activation_fn": "tanh",
    "epsilon": 1e-5,
    "name": "a_layer",
    "trainable": False,
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize(
    ("layer_class", "more"),
    [
        (LSTransformerEncoderLayer, {}),
        (LSTransformerDecoderLayer, {"has_cross_attn": True, "encoder_hidden_size": 6}),
        (LSTransformerDecoderLayer, {"has_cross_attn": False}),
    ],
)
def test_kerass_get_config_and_from_config(layer_class, more, policy):
    arguments = {**ARGUMENTS, **more}
    layer = layer_class(**arguments, dtype=policy)
    config = layer.get_config()
    assert {name: config[name] for name in arguments} == arguments
    again = layer_class.from_config(config)
    assert again.get_config() == config
    assert again.compute_dtype == layer.compute_dtype


# The embedding layer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "width", "dropout", "of_bert"),
    [
        ("transformer-base", 512, 0.1, False),
        ("transformer-big", 1024, 0.1, False),
        ("bert-base", 768, 0.1, True),
        ("bert-big", 1024, 0.1, True),
    ],
)
def test_presets_of_the_embedding(preset, width, dropout, of_bert):
    config = LSTransformerEmbeddingLayer.get_config(model=preset, vocab_size=100, padding_idx=3)
    layer = LSTransformerEmbeddingLayer(config)
    assert (layer.vocab_size, layer.padding_idx) == (100, 3)
    assert (layer.embedding_dim, layer.dropout) == (width, dropout)
    assert layer.trainable_pos is of_bert
    assert layer.no_scale_embedding is of_bert
    assert layer.layernorm_embedding is of_bert


def test_lightseqs_arguments_of_the_embedding():
    config = LSTransformerEmbeddingLayer.get_config(
        vocab_size=100,
        embedding_dim=8,
        max_batch_tokens=4096,
        max_seq_len=256,
        padding_idx=0,
        dropout=0.2,
        fp16=True,
        local_rank=0,
        trainable_pos=True,
    )
    layer = LSTransformerEmbeddingLayer(config, dropout=0.3)
    assert (layer.compute_dtype, layer.dropout) == ("float16", 0.3)
    assert (layer.trainable_pos, layer.max_seq_len) == (True, 256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be a positive integer, got 0"),
        ({"embedding_dim": 2.5}, "embedding_dim must be a positive integer, got 2.5"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"trainable_pos": True}, "max_seq_len must be a positive integer, got None"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"dtype": "float64"}, "float32, bfloat16, float16.*float64"),
    ],
    ids=str,
)
def test_bad_arguments_of_the_embedding(changes, message):
    with pytest.raises(ValueError, match=message):
        LSTransformerEmbeddingLayer(**{"vocab_size": 9, "embedding_dim": 8, **changes})


def test_missing_settings_of_the_embedding():
    with pytest.raises(ValueError, match="vocab_size missing"):
        LSTransformerEmbeddingLayer.get_config(model="transformer-base")


def test_config_of_an_encoder_for_an_embedding():
    config = LSTransformerEncoderLayer.get_config(model="bert-base")
    with pytest.raises(ValueError, match="expected a EmbeddingLayerConfig"):
        LSTransformerEmbeddingLayer(config)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_get_config_and_from_config_of_the_embedding(policy):
    arguments = {
        "vocab_size": 9,
        "embedding_dim": 8,
        "padding_idx": 1,
        "dropout": 0.1,
        "trainable_pos": True,
        "no_scale_embedding": True,
        "layernorm_embedding": True,
        "share_softmax_weights": True,
        "epsilon": 1e-5,
        "max_seq_len": 12,
        "name": "words",
    }
    layer = LSTransformerEmbeddingLayer(**arguments, dtype=policy)
    config = layer.get_config()
    assert {name: config[name] for name in arguments} == arguments
    again = LSTransformerEmbeddingLayer.from_config(config)
    assert again.get_config() == config
