"""Tokenizers by the files that there are, against those of transformers."""

from __future__ import annotations

import shutil

import pytest
from sample_sentences import SENTENCES

from tf_ls.pipelines import tokenizers

TEXTS = [*SENTENCES, "Zürich, 東京 <mask>", ""]


def test_word_pieces_without_a_tokenizer_json(encoder, tmp_path):
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(encoder / name, tmp_path)
    whole, old = tokenizers.load(encoder), tokenizers.load(tmp_path)
    assert [old.encode(text) for text in TEXTS] == [whole.encode(text) for text in TEXTS]
    assert old.decode(old.encode(SENTENCES[0])) == whole.decode(whole.encode(SENTENCES[0]))
    assert (old.limit, old.mask) == (64, "[MASK]")
    assert tokenizers.load(tmp_path / "vocab.txt").encode("the") == old.encode("the")


@pytest.mark.parametrize("kind", ["GPT2", "Bart"])
def test_byte_pairs_without_a_tokenizer_json(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    library = pytest.importorskip("tokenizers")
    trained = library.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    trained.train_from_iterator(SENTENCES, 300, special_tokens=special, show_progress=False)
    trained.save_model(str(tmp_path))
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind.lower()}"}}')
    theirs = getattr(transformers, f"{kind}Tokenizer").from_pretrained(tmp_path)
    ours = tokenizers.load(tmp_path)
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert ours.decode(ours.encode(SENTENCES[0])) == SENTENCES[0]
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"a tokenizer.json is needed"):
        tokenizers.load(tmp_path)


def test_marian(translator):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.MarianTokenizer.from_pretrained(translator)
    ours = tokenizers.load(translator)
    for text in [*TEXTS, ">>de<< What a day"]:
        ids = theirs.encode(text)
        assert ours.encode(text) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_a_sentencepiece_model(translator):
    model = tokenizers.load(translator / "source.spm")
    ids = model.encode(SENTENCES[0])
    assert model.decode(ids) == SENTENCES[0]
    with pytest.raises(ValueError, match="knows which characters"):
        tokenizers.load_fast(translator / "source.spm")


def test_what_is_no_tokenizer(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer; expected tokenizer.json"):
        tokenizers.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tokenizers.load(tmp_path / "none")
    for name in ("tokenizer.json", "spiece.model"):
        (tmp_path / name).write_text("nonsense")
        with pytest.raises(ValueError, match=name):
            tokenizers.load(tmp_path / name)
    with pytest.raises(ValueError, match="expected a path or a tokenizer, got 3"):
        tokenizers.load(3)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer_config.json: expected an object, got list"):
        tokenizers.load(tmp_path)
