"""Small random models of Hugging Face's, with tokenizers for a few sentences.

Training word pieces or byte pairs breaks ties in another way in each process, so these are listed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
sys.path.insert(0, str(Path(__file__).parent))

from sample_sentences import SENTENCES

# Transformers would import TensorFlow for models that nobody asks it for.
os.environ.setdefault("USE_TF", "0")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def word_pieces() -> dict[str, int]:
    """Ids of special tokens, of letters, and of every third word."""
    text = " ".join(SENTENCES).lower()
    letters = sorted(set(text) - {" "})
    continued = [f"##{letter}" for letter in letters if letter.isalpha()]
    words = [word for word in sorted(set(text.split())) if word.isalpha()][::3]
    tokens = dict.fromkeys([*SPECIAL, *letters, *continued, *words])
    return {token: i for i, token in enumerate(tokens)}


@pytest.fixture(scope="session")
def save_bert(tmp_path_factory):
    """Returns a function that saves a BERT of a class of transformers, and its tokenizer."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")

    def save(architecture: str, labels: list[str], **config) -> Path:
        tokenizer = tokenizers.BertWordPieceTokenizer(word_pieces(), lowercase=True)
        vocabulary = tokenizer.get_vocab_size()
        torch.manual_seed(3)
        model = getattr(transformers, architecture)(
            transformers.BertConfig(
                vocab_size=vocabulary,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=64,
                id2label=dict(enumerate(labels)),
                label2id={label: i for i, label in enumerate(labels)},
                initializer_range=0.4,
                **config,
            )
        )
        folder = tmp_path_factory.mktemp(architecture)
        model.save_pretrained(folder)
        transformers.BertTokenizerFast(
            tokenizer_object=tokenizer, model_max_length=64
        ).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def classifier(save_bert) -> Path:
    return save_bert("BertForSequenceClassification", ["bad", "middling", "good"])


@pytest.fixture(scope="session")
def tagger(save_bert) -> Path:
    return save_bert("BertForTokenClassification", LABELS)


@pytest.fixture(scope="session")
def masked(save_bert) -> Path:
    return save_bert("BertForMaskedLM", ["a"])


@pytest.fixture(scope="session")
def encoder(save_bert) -> Path:
    return save_bert("BertModel", ["a"])


@pytest.fixture(scope="session")
def original():
    """Returns transformers' pipeline of a task and a folder."""
    transformers = pytest.importorskip("transformers")

    def build(task: str, folder: Path, **options):
        return transformers.pipeline(task, model=str(folder), device="cpu", **options)

    return build


@pytest.fixture(scope="session")
def language_model(tmp_path_factory) -> Path:
    """A GPT-2, with a tokenizer of bytes."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    end = "<|endoftext|>"
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("e", "r"), ("i", "n"), ("Ġ", "in")]
    tokens = [*letters, *(left + right for left, right in merges), end]
    tokenizer = tokenizers.ByteLevelBPETokenizer(
        {token: i for i, token in enumerate(tokens)}, merges
    )
    tokenizer.add_special_tokens([end])
    torch.manual_seed(5)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=tokenizer.get_vocab_size(),
            n_positions=48,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=tokenizer.token_to_id(end),
            eos_token_id=tokenizer.token_to_id(end),
            initializer_range=0.3,
        )
    )
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    transformers.GPT2TokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def translator(tmp_path_factory) -> Path:
    """A model of Marian's, with a SentencePiece model for each side and one vocabulary."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("marian")
    pieces = []
    for name, sentences in (("source", SENTENCES), ("target", SENTENCES[::-1])):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_prefix=str(folder / name),
            vocab_size=70 if name == "source" else 75,
            minloglevel=2,
        )
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        (folder / f"{name}.vocab").unlink()
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        pieces += [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    vocabulary = ["</s>", "<unk>", ">>de<<", *dict.fromkeys(pieces), "<pad>"]
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    transformers.MarianTokenizer(
        *(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")),
        model_max_length=100,
    ).save_pretrained(folder)
    torch.manual_seed(1)
    transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=len(ids),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=128,
            pad_token_id=ids["<pad>"],
            eos_token_id=0,
            forced_eos_token_id=None,
            decoder_start_token_id=ids["<pad>"],
            bad_words_ids=[[ids["<pad>"]]],
            scale_embedding=True,
            num_beams=3,
            max_length=20,
            init_std=0.3,
        )
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pieces(tmp_path_factory) -> Path:
    """A SentencePiece model of 330 pieces, bytes among them; 3 is its padding."""
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path_factory.mktemp("pieces") / "pieces"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_prefix=str(prefix),
        vocab_size=330,
        byte_fallback=True,
        pad_id=3,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")
