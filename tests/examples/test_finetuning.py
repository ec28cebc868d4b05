"""The fine-tuning examples: what they make of data, on sentences written here."""

import io
import itertools
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "finetuning"
sys.path.insert(0, str(EXAMPLE))

import archives  # noqa: E402
import brown  # noqa: E402
import entities  # noqa: E402
import reviews  # noqa: E402

REVIEWS = [
    ("A warm and funny film that earns every laugh .", 1),
    ("The story drags and the jokes are old .", 0),
    ("Great songs , great cast , a great evening .", 1),
    ("I was bored and left before the end .", 0),
]

NEWS = """\
-DOCSTART- -X- -X- O

Anna NNP B-NP B-PER
Berg NNP I-NP I-PER
lives VBZ B-VP O
in IN B-PP O
Lund NNP B-NP B-LOC
. . O O

The DT B-NP O
Blue NNP I-NP B-ORG
Bank NNP I-NP I-ORG
opened VBD B-VP O
. . O O
"""


def tag(*names):
    return [entities.TAGS.index(name) for name in names]


# Data ---------------------------------------------------------------------------------------------


def test_reviews_have_the_sign_of_their_mean_rating():
    lines = ["1\t2.3\tA fine film .", "2\t-0.6\tToo tepid .", "3\t0.0\tA film ."]
    assert list(reviews.parse(lines)) == [
        reviews.Review("A fine film .", 1),
        reviews.Review("Too tepid .", 0),
    ]


def test_sentences_with_entities():
    first, second = entities.parse(NEWS.splitlines())
    assert first.words == ["Anna", "Berg", "lives", "in", "Lund", "."]
    assert first.tags == tag("B-PER", "I-PER", "O", "O", "B-LOC", "O")
    assert second.words == ["The", "Blue", "Bank", "opened", "."]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O", "O"], set()),
        (["B-PER", "I-PER", "O"], {(0, 2, "PER")}),
        (["B-PER", "B-PER"], {(0, 1, "PER"), (1, 2, "PER")}),
        (["B-LOC", "I-ORG", "I-ORG"], {(0, 1, "LOC"), (1, 3, "ORG")}),
        (["O", "I-MISC"], {(1, 2, "MISC")}),
    ],
)
def test_entities_of_tags(tags, expected):
    assert entities.entities(tag(*tags)) == expected


def test_f1_counts_exact_matches():
    expected = [tag("B-PER", "I-PER", "O", "B-LOC")]
    assert entities.f1(expected, expected) == 1
    assert entities.f1(expected, [tag("B-PER", "O", "O", "B-LOC")]) == 0.5
    assert entities.f1(expected, [tag("O", "O", "O", "O")]) == 0


def test_prose_without_tags():
    lines = ["", "\tThe/at mayor/nn said/vbd ``/`` no/rb ''/'' (/( twice/rb )/) ;/. ;/."]
    assert brown.plain(lines) == 'The mayor said "no" (twice);'


# Downloads ----------------------------------------------------------------------------------------


def copying(source, sha256):
    """An archive that is downloaded by copying a file."""
    script = f"import shutil; shutil.copy({str(source)!r}, '.')"
    return archives.Archive(source.name, sha256, [sys.executable, "-c", script])


def sha256(text):
    return archives.hashlib.sha256(text.encode()).hexdigest()


def test_downloads_happen_once(tmp_path):
    source = tmp_path / "data.txt"
    source.write_text("words")
    archive = copying(source, sha256("words"))
    path = archives.fetch(archive, tmp_path / "cache")
    source.unlink()
    assert archives.fetch(archive, tmp_path / "cache") == path
    assert path.read_text() == "words"


def test_downloads_are_checked(tmp_path):
    source = tmp_path / "data.txt"
    source.write_text("other words")
    with pytest.raises(RuntimeError, match="has the SHA-256"):
        archives.fetch(copying(source, sha256("words")), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_downloads_that_fail_say_why(tmp_path):
    script = "import sys; sys.exit('no such package')"
    archive = archives.Archive("data.txt", "", [sys.executable, "-c", script])
    with pytest.raises(RuntimeError, match="no such package"):
        archives.fetch(archive, tmp_path)
    with pytest.raises(RuntimeError, match="nowhere is missing"):
        archives.fetch(archives.Archive("data.txt", "", ["nowhere"]), tmp_path)


def test_reviews_are_read_from_the_package(tmp_path, monkeypatch):
    def packed(name, content, path=None):
        buffer = io.BytesIO()
        with tarfile.open(path, "w:gz", fileobj=None if path else buffer) as archive:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    inner = packed(reviews._TABLE, b"1\t1.5\tA fine film .\r\n2\t-3\tA waste of time .\n")
    path = tmp_path / "package.tar.gz"
    packed(reviews._INNER, inner, path)
    monkeypatch.setattr(archives, "fetch", lambda archive, folder: path)
    assert [review.label for review in reviews.load(tmp_path)] == [1, 0]


# Training -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library():
    """transformers, with TensorFlow models."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "TFBertModel"):
        pytest.skip("transformers 5 has no TensorFlow models")
    return transformers


@pytest.fixture(scope="module")
def tokenizer(library, tmp_path_factory):
    """A tokenizer that knows the words above, in pieces where they are long."""
    words = {word.lower() for text, _ in REVIEWS for word in text.split()}
    words |= {line.split()[0].lower() for line in NEWS.splitlines()[2:] if line}
    words -= {"opened"}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "open", "##ed", *sorted(words)]
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(pieces))
    return library.BertTokenizerFast(str(path))


def small_bert(library, name, tokenizer, **settings):
    import tensorflow as tf

    tf.random.set_seed(1)
    return getattr(library, name)(
        library.BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **settings,
        )
    )


def test_batches_are_padded(library):
    import finetune

    batch = finetune.make_batch(
        [finetune.Example([5, 6, 7], [1, 2, 3]), finetune.Example([8], [4])]
    )
    np.testing.assert_array_equal(batch.ids, [[5, 6, 7], [8, 0, 0]])
    np.testing.assert_array_equal(batch.mask, [[1, 1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(batch.labels, [[1, 2, 3], [4, -100, -100]])


def test_an_epoch_has_each_sentence_once(library):
    import finetune

    examples = [finetune.Example([number], [number]) for number in range(7)]
    batches = itertools.islice(finetune.shuffled_batches(examples, 3), 6)
    ids = [batch.ids[:, 0].tolist() for batch in batches]
    for epoch in (ids[:3], ids[3:]):
        assert sorted(itertools.chain(*epoch)) == list(range(7))
    assert ids[:3] != ids[3:]


def test_classification_learns(library, tokenizer, capsys):
    import classify
    import finetune

    import tf_ls

    examples = classify.make_examples(tokenizer, [reviews.Review(*pair) for pair in REVIEWS])
    model = tf_ls.accelerate(small_bert(library, "TFBertForSequenceClassification", tokenizer))
    finetune.fit(model, examples, steps=20, batch_size=4, learning_rate=0.01)
    assert "step 20 of 20: loss" in capsys.readouterr().out
    assert classify.accuracy(model, examples, batch_size=3) == 1


def test_tagging_learns_and_reads_first_pieces(library, tokenizer):
    import finetune
    import tag as tag_example

    import tf_ls

    sentences = list(entities.parse(NEWS.splitlines()))
    examples = tag_example.make_examples(tokenizer, sentences)
    assert list(examples[1].labels) == [-100, *sentences[1].tags[:4], -100, 0, -100]
    model = tf_ls.accelerate(
        small_bert(
            library, "TFBertForTokenClassification", tokenizer, num_labels=len(entities.TAGS)
        )
    )
    finetune.fit(model, examples, steps=40, batch_size=2, learning_rate=0.01)
    assert tag_example.predicted_tags(model, examples) == [s.tags for s in sentences]


def test_language_model_learns(library):
    import finetune
    import language_model

    import tf_ls

    text = "the cat sat on the mat and the dog sat on the cat . " * 30
    tokenizer = language_model.make_tokenizer([text], 280)
    examples = language_model.make_examples(tokenizer, [text], 16)
    assert all(list(e.ids[1:]) == list(e.labels[:-1]) for e in examples)
    model = tf_ls.accelerate(
        library.TFGPT2LMHeadModel(
            library.GPT2Config(
                vocab_size=tokenizer.get_vocab_size(),
                n_positions=16,
                n_embd=32,
                n_layer=1,
                n_head=2,
            )
        )
    )
    before = finetune.mean_loss(model, examples, 8)
    finetune.fit(model, examples, steps=40, batch_size=8, learning_rate=0.02)
    assert finetune.mean_loss(model, examples, 8) < before / 2


def test_comparison_prints_both(library, tokenizer, capsys):
    import classify
    import finetune

    examples = classify.make_examples(tokenizer, [reviews.Review(*pair) for pair in REVIEWS] * 9)
    finetune.compare(
        lambda: small_bert(library, "TFBertForSequenceClassification", tokenizer), examples, 2
    )
    assert "with transformers' layers" in capsys.readouterr().out
