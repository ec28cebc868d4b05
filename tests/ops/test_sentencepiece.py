"""ops.SentencePiece against SentencePiece's own Python package, and as part of a SavedModel."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from bad_input import BadDtype, BadInput

from tf_ls import ops

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"

SENTENCES = [
    "Padding is removed instead of being computed and masked.",
    "layers",
    "",
    "   spaces  at both ends   ",
    "Grüße, 你好, привет, ﬁne ½ — 🙂",
    "line\nbreaks\tand\ttabs",
    "x" * 500,
]
NOT_UTF8 = [b"broken \xff here", b"\xc3", b"\xed\xa0\x80 a lone surrogate", b"cut \xe4\xbd"]

MODELS = {
    "unigram": dict(model_type="unigram", vocab_size=300),
    "bpe": dict(model_type="bpe", vocab_size=500, byte_fallback=True, pad_id=3),
    "char": dict(model_type="char", vocab_size=100),
    "word": dict(model_type="word", vocab_size=200),
}


def train(folder, name, **options) -> str:
    text = (line for path in sorted(DOCUMENTS.glob("*.md")) for line in path.open())
    with (folder / f"{name}.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=text, model_writer=file, minloglevel=2, num_threads=1, **options
        )
    return file.name


@pytest.fixture(scope="module", params=MODELS)
def path(request, tmp_path_factory) -> str:
    return train(tmp_path_factory.mktemp("models"), request.param, **MODELS[request.param])


@pytest.fixture(scope="module")
def bpe_path(tmp_path_factory) -> str:
    return train(tmp_path_factory.mktemp("models"), "bpe", **MODELS["bpe"])


@pytest.fixture(scope="module")
def model(path) -> ops.SentencePiece:
    return ops.SentencePiece(path)


@pytest.fixture(scope="module")
def bpe(bpe_path) -> ops.SentencePiece:
    return ops.SentencePiece(bpe_path)


@pytest.fixture(scope="module")
def reference(path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=path)


def rows(encoded: ops.EncodedSentences) -> list[list[int]]:
    return [row[:n].tolist() for row, n in zip(encoded.ids.numpy(), encoded.lengths.numpy())]


def test_pieces(model, reference):
    pieces = [piece.decode() for piece in model.pieces().numpy()]
    assert pieces == [reference.id_to_piece(i) for i in range(reference.get_piece_size())]


def test_encode(model, reference):
    encoded = model.encode(SENTENCES, append_eos=False)
    assert rows(encoded) == reference.encode(SENTENCES)
    assert encoded.ids.dtype == tf.int64
    assert encoded.lengths.dtype == tf.int32


def test_encode_with_end_of_sentence(model, reference):
    assert rows(model.encode(SENTENCES)) == reference.encode(SENTENCES, add_eos=True)


@pytest.mark.parametrize("padding_id", [0, 3, -1])
def test_padding(bpe, padding_id):
    ids, lengths = bpe.encode(SENTENCES, padding_id=padding_id)
    assert ids.shape == [len(SENTENCES), max(lengths.numpy())]
    for row, length in zip(ids.numpy(), lengths.numpy()):
        assert (row[length:] == padding_id).all()


def test_decode(model, reference):
    encoded = model.encode(SENTENCES)
    decoded = [sentence.decode() for sentence in model.decode(*encoded).numpy()]
    assert decoded == reference.decode(rows(encoded))


def test_decode_of_any_ids(model, reference):
    """Control symbols, unknown and byte pieces, and cut characters among them."""
    ids = np.random.default_rng(0).integers(0, reference.get_piece_size(), [50, 20])
    decoded = [sentence.decode() for sentence in model.decode(ids, np.full(50, 20)).numpy()]
    assert decoded == reference.decode(ids.tolist())


@pytest.mark.parametrize("ids_dtype", ["int32", "int64"])
@pytest.mark.parametrize("lengths_dtype", ["int32", "int64"])
def test_decode_reads_what_lengths_say(bpe, ids_dtype, lengths_dtype):
    ids, lengths = bpe.encode(["layer norm", "layer"], padding_id=-1)
    decoded = bpe.decode(tf.cast(ids, ids_dtype), tf.cast(lengths, lengths_dtype))
    assert decoded.numpy().tolist() == [b"layer norm", b"layer"]
    assert bpe.decode(ids, [0, 0]).numpy().tolist() == [b"", b""]


def test_text_comes_back(bpe):
    """With byte fallback nothing is unknown; these are normalized already."""
    sentences = ["Grüße, 你好, привет", "🙂", "a b c"]
    assert [s.decode() for s in bpe.decode(*bpe.encode(sentences)).numpy()] == sentences


def test_what_is_no_utf8_becomes_the_replacement_character(bpe, bpe_path):
    reference = sentencepiece.SentencePieceProcessor(model_file=bpe_path)
    encoded = bpe.encode(NOT_UTF8)
    assert rows(encoded) == reference.encode(NOT_UTF8, add_eos=True)
    replaced = [
        "broken \ufffd here",
        "\ufffd",
        "\ufffd" * 3 + " a lone surrogate",
        "cut \ufffd\ufffd",
    ]
    assert [s.decode() for s in bpe.decode(*encoded).numpy()] == replaced


@pytest.mark.parametrize("append_eos", [False, True])
def test_no_sentence(bpe, append_eos):
    encoded = bpe.encode(tf.constant([], tf.string), append_eos=append_eos)
    assert encoded.ids.shape == [0, 0]
    assert encoded.lengths.shape == [0]
    assert bpe.decode(*encoded).shape == [0]


def test_nothing_but_empty_sentences(bpe):
    encoded = bpe.encode(["", ""], append_eos=False)
    assert encoded.ids.shape == [2, 0]
    assert bpe.decode(*encoded).numpy().tolist() == [b"", b""]


def test_a_large_batch_is_shared_out_in_order(bpe, bpe_path):
    sentences = [f"row {i} of a batch" for i in range(5000)]
    reference = sentencepiece.SentencePieceProcessor(model_file=bpe_path)
    encoded = bpe.encode(sentences)
    assert rows(encoded) == reference.encode(sentences, add_eos=True)
    assert [s.decode() for s in bpe.decode(*encoded).numpy()] == sentences


def test_in_a_function_and_a_dataset(bpe):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def there_and_back(sentences):
        ids, lengths = bpe.encode(sentences)
        assert ids.shape.as_list() == [None, None]
        return bpe.decode(ids, lengths)

    assert there_and_back(["two words", "one"]).numpy().tolist() == [b"two words", b"one"]
    dataset = tf.data.Dataset.from_tensor_slices(["a", "b c", "d"]).batch(2)
    batches = list(dataset.map(lambda x: bpe.decode(*bpe.encode(x))))
    assert [s for batch in batches for s in batch.numpy()] == [b"a", b"b c", b"d"]


def test_shapes_are_known(bpe):
    @tf.function
    def function(sentences):
        ids, lengths = bpe.encode(sentences)
        assert ids.shape.as_list() == [3, None]
        assert lengths.shape.as_list() == [3]
        assert bpe.decode(ids, lengths).shape.as_list() == [3]

    function(tf.constant(["a", "b", "c"]))


def test_two_models_do_not_share(bpe, tmp_path):
    other = ops.SentencePiece(train(tmp_path, "char", **MODELS["char"]))
    assert other.pieces().shape != bpe.pieces().shape
    del other
    assert bpe.decode(*bpe.encode(["still here"])).numpy().tolist() == [b"still here"]


# SavedModel --------------------------------------------------------------------------------------


class Exported(tf.Module):
    def __init__(self, path: str):
        super().__init__()
        self.model = ops.SentencePiece(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def translate(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        ids, lengths = self.model.encode(sentences)
        return {"ids": ids, "lengths": lengths, "sentences": self.model.decode(ids, lengths)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    """A SavedModel whose model file is gone from where it was saved from."""
    folder = tmp_path_factory.mktemp("saved")
    module = Exported(train(folder, "bpe", **MODELS["bpe"]))
    tf.saved_model.save(module, folder / "model", signatures={"translate": module.translate})
    (folder / "model").rename(folder / "moved")
    (folder / "bpe.model").unlink()
    return str(folder / "moved")


def in_a_fresh_process(code: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd="/",  # where no source tree is found
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_the_model_file_is_an_asset(exported):
    assert [path.name for path in Path(exported, "assets").iterdir()] == ["bpe.model"]


def test_loads_in_a_fresh_process(exported, bpe):
    output = in_a_fresh_process(
        "import sys, tf_ls, tensorflow as tf\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "outputs = loaded.signatures['translate'](tf.constant(['saved and loaded']))\n"
        "print(outputs['sentences'].numpy()[0].decode(), outputs['ids'].numpy().tolist())\n",
        exported,
    )
    assert output.strip() == f"saved and loaded {rows(bpe.encode(['saved and loaded']))}"


def test_loads_in_a_session(exported):
    """As TensorFlow Serving and the C API do."""
    output = in_a_fresh_process(
        "import sys, tf_ls, tensorflow.compat.v1 as tf\n"
        "with tf.Session(graph=tf.Graph()) as session:\n"
        "    graph = tf.saved_model.loader.load(session, ['serve'], sys.argv[1])\n"
        "    signature = graph.signature_def['translate']\n"
        "    feed = {signature.inputs['sentences'].name: ['in a session']}\n"
        "    for run in range(2):\n"
        "        print(session.run(signature.outputs['sentences'].name, feed)[0].decode())\n",
        exported,
    )
    assert output.splitlines() == ["in a session"] * 2


def test_loads_twice_and_outlives_the_other(exported):
    first, second = tf.saved_model.load(exported), tf.saved_model.load(exported)
    del first
    outputs = second.signatures["translate"](tf.constant(["second"]))
    assert outputs["sentences"].numpy().tolist() == [b"second"]


def test_a_loaded_model_can_be_saved_again(exported, tmp_path):
    loaded = tf.saved_model.load(exported)
    tf.saved_model.save(loaded, tmp_path / "again", signatures=loaded.signatures)
    again = tf.saved_model.load(tmp_path / "again")
    outputs = again.signatures["translate"](tf.constant(["again"]))
    assert outputs["sentences"].numpy().tolist() == [b"again"]


# Bad input ---------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"nothing\.model cannot be read"):
        ops.SentencePiece(tmp_path / "nothing.model")


@pytest.mark.parametrize("content", [b"", b"no model\n" * 100, b"\x00" * 64], ids=len)
def test_file_that_is_no_model(tmp_path, content):
    (tmp_path / "bad.model").write_bytes(content)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a SentencePiece model"):
        ops.SentencePiece(tmp_path / "bad.model")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_file_that_was_cut(tmp_path, bpe_path, part):
    content = Path(bpe_path).read_bytes()
    (tmp_path / "cut.model").write_bytes(content[: int(part * len(content))])
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a SentencePiece model"):
        ops.SentencePiece(tmp_path / "cut.model")


@pytest.mark.parametrize("bad", [-1, 500, 2**31, 2**40, -(2**40)])
def test_id_out_of_range(bpe, bad):
    ids = tf.constant([[4, 5, 6], [4, bad, 6]], tf.int64)
    with pytest.raises(BadInput, match=f"from 0 to 499, got {bad} at position 1 of row 1"):
        bpe.decode(ids, [3, 3])
    assert bpe.decode(ids, [3, 1]).shape == [2]


@pytest.mark.parametrize("length", [-1, 4])
def test_length_out_of_range(bpe, length):
    with pytest.raises(BadInput, match=f"lengths must be from 0 to 3, got {length} for row 1"):
        bpe.decode(tf.zeros([2, 3], tf.int64), [3, length])


@pytest.mark.parametrize("shape", [[], [2, 2]], ids=str)
def test_bad_rank_of_sentences(bpe, shape):
    with pytest.raises(BadInput):
        bpe.encode(tf.fill(shape, "a"))


@pytest.mark.parametrize(
    ("ids", "lengths"), [([3], [1]), ([2, 3], []), ([2, 3], [3]), ([2, 3, 1], [2])], ids=str
)
def test_bad_shapes_to_decode(bpe, ids, lengths):
    with pytest.raises(BadInput):
        bpe.decode(tf.zeros(ids, tf.int64), tf.zeros(lengths, tf.int32))


def test_bad_dtypes(bpe):
    with pytest.raises(BadDtype):
        bpe.encode(tf.constant([1, 2]))


def test_end_of_sentence_that_the_model_has_not(tmp_path):
    model = ops.SentencePiece(train(tmp_path, "no_eos", **MODELS["unigram"], eos_id=-1))
    assert model.encode(["a"], append_eos=False).ids.shape[0] == 1
    with pytest.raises(BadInput, match="this one has none"):
        model.encode(["a"])


def test_handle_without_a_model():
    from tf_ls.library import library

    handle = library.ops.ls_sentence_piece_handle(shared_name="never initialized")
    with pytest.raises(BadInput, match="the handle has no SentencePiece model"):
        library.ops.ls_sentence_piece_pieces(handle=handle)


def test_handle_that_has_another_model(bpe_path, tmp_path):
    from tf_ls.library import library

    other = train(tmp_path, "char", **MODELS["char"])
    handle = library.ops.ls_sentence_piece_handle(shared_name="initialized twice")
    for _ in range(2):
        library.ops.ls_sentence_piece_initialize(handle=handle, path=bpe_path)
    with pytest.raises(BadInput, match="cannot get that of"):
        library.ops.ls_sentence_piece_initialize(handle=handle, path=other)
