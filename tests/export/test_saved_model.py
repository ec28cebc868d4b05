"""tf_ls.export.save of an LSTransformer, loaded again."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from small_transformer import INPUTS, ONE_TABLE, SETTINGS, SOURCE_WORDS, TARGET_WORDS, build

from tf_ls import export, ops
from tf_ls.export.generation_module import _stores_defaults
from tf_ls.testing.comparison import relative_error

START, EOS = 7, 2
OPTIONS = {"eos": EOS, "beam_size": 3, "num_hypotheses": 3, "max_length": 7}
SOURCE = tf.constant(INPUTS["src"], tf.int64)


def saved(model, folder, **more) -> str:
    path = str(folder / "exported")
    export.save(model, path, **{"options": OPTIONS, "start": START, **more})
    return path


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return saved(model, tmp_path_factory.mktemp("float32"))


@pytest.fixture(scope="module")
def loaded(path):
    return tf.saved_model.load(path)


def assert_same(outputs, wanted):
    wanted = wanted if isinstance(wanted, dict) else wanted._asdict()
    for name in ("tokens", "lengths", "scores"):
        np.testing.assert_array_equal(outputs[name], wanted[name])


# Signatures --------------------------------------------------------------------------------------


def test_serving_default_generates_as_the_model_does(model, loaded):
    wanted = model.generate(SOURCE, ops.SearchOptions(**OPTIONS), START)
    assert_same(loaded.signatures["serving_default"](source=SOURCE), wanted)


def test_options_and_their_exported_defaults(model, loaded):
    options = loaded.signatures["default_options"]()
    function = loaded.signatures["serving_with_options"]
    assert_same(
        function(source=SOURCE, **options), loaded.signatures["serving_default"](source=SOURCE)
    )
    changes = {"method": "sampling", "num_hypotheses": 5, "top_k": 4, "seed": 3, "max_length": 9}
    for name, value in changes.items():
        options[name] = tf.constant(value, options[name].dtype)
    wanted = model.generate(SOURCE, ops.SearchOptions(**{**OPTIONS, **changes}), START)
    assert_same(function(source=SOURCE, **options), wanted)


def test_an_extra_length_of_none(tmp_path, model):
    path = saved(model, tmp_path, options={**OPTIONS, "max_extra_length": None})
    signatures = tf.saved_model.load(path).signatures
    assert signatures["default_options"]()["max_extra_length"] == -1
    wanted = model.generate(SOURCE, ops.SearchOptions(**OPTIONS, max_extra_length=None), START)
    assert_same(signatures["serving_default"](source=SOURCE), wanted)


def with_attention(loaded, **inputs):
    options = loaded.signatures["default_options"]()
    name = "translate" if "sentences" in inputs else "serving"
    return loaded.signatures[f"{name}_with_attention"](**{**options, **inputs})


def test_attention_is_the_models(model, loaded):
    options = ops.SearchOptions(**OPTIONS)
    wanted = model.generate(SOURCE, options, START, return_attention=True)
    outputs = with_attention(loaded, source=SOURCE)
    assert_same(outputs, wanted)
    np.testing.assert_array_equal(outputs["attention"], wanted.attention)


def test_attention_has_a_column_for_each_position_of_the_source(loaded):
    """With padding anywhere, to which nothing attends."""
    apart = with_attention(loaded, source=tf.constant([[0, 4, 0, 0, 5, 6, 0]], tf.int64))
    wanted = with_attention(loaded, source=tf.constant([[0, 4, 0, 0, 5, 6]], tf.int64))
    attention = apart["attention"].numpy()
    assert attention.shape[3] == 7
    assert not attention[..., [0, 2, 3, 6]].any()
    tokens = tf.sequence_mask(apart["lengths"], attention.shape[2]).numpy()
    np.testing.assert_allclose(attention.sum(3), tokens, rtol=1e-6)
    np.testing.assert_array_equal(attention[..., :6], wanted["attention"])


@pytest.mark.skipif(not _stores_defaults(), reason="this TensorFlow stores no defaults")
def test_servers_need_not_give_options(path, loaded):
    from tensorflow.core.protobuf import saved_model_pb2

    content = (Path(path) / "saved_model.pb").read_bytes()
    [graph] = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    stored = graph.signature_def["serving_with_options"].defaults
    wanted = loaded.signatures["default_options"]()
    assert stored.keys() == wanted.keys()
    for name, value in stored.items():
        np.testing.assert_array_equal(tf.make_ndarray(value), wanted[name])


def test_properties(loaded):
    properties = {k: v.numpy() for k, v in loaded.signatures["properties"]().items()}
    assert properties == {
        "source_vocabulary": SOURCE_WORDS,
        "source_positions": -1,
        "target_vocabulary": TARGET_WORDS,
        "padding_id": 0,
        "padding_is_eos": False,
        "start": START,
        "eos": EOS,
    }


def test_bad_inputs_are_refused_where_they_are_read(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"vocabulary of 13, got 13"):
        loaded.signatures["serving_default"](source=tf.constant([[SOURCE_WORDS]], tf.int64))
    options = loaded.signatures["default_options"]()
    options["beam_size"] = tf.constant(65, tf.int64)
    with pytest.raises(tf.errors.InvalidArgumentError, match="beam_size must be from 1 to 64"):
        loaded.signatures["serving_with_options"](source=SOURCE, **options)


def test_a_fresh_process(path, loaded):
    code = f"""
import tf_ls
import tensorflow as tf
loaded = tf.saved_model.load({path!r})
source = tf.constant({INPUTS["src"].tolist()}, tf.int64)
print(loaded.signatures["serving_default"](source=source)["tokens"].numpy().tolist())
"""
    output = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert output.returncode == 0, output.stderr
    tokens = loaded.signatures["serving_default"](source=SOURCE)["tokens"]
    assert output.stdout.strip() == str(tokens.numpy().tolist())


# Weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision(tmp_path, precision, model, loaded):
    path = saved(model, tmp_path, precision=precision)
    half = tf.saved_model.load(path)
    assert {v.dtype.name for v in half._weights} == {precision}
    outputs, exact = (m.signatures["serving_default"](source=SOURCE) for m in (half, loaded))
    best = outputs["scores"][:, 0]
    assert relative_error(best, exact["scores"][:, 0]) < 5e-2


@pytest.mark.parametrize("changes", [{}, ONE_TABLE], ids=["two_tables", "one_table"])
def test_weights_are_stored_once(tmp_path, changes):
    model = build(**changes)
    saved(model, tmp_path, precision="float16")
    variables = tf.train.list_variables(str(tmp_path / "exported/variables/variables"))
    sizes = [np.prod(shape) for name, shape in variables if name.startswith("_weights")]
    assert sum(sizes) == sum(np.prod(w.shape) for w in model.weights)


def test_an_output_layer_of_its_own(tmp_path):
    model = build(share_embedding_and_softmax_weights=False)
    signatures = tf.saved_model.load(saved(model, tmp_path)).signatures
    wanted = model.generate(SOURCE, ops.SearchOptions(**OPTIONS), START)
    assert_same(signatures["serving_default"](source=SOURCE), wanted)


def test_what_is_exported_does_not_change_with_the_model(tmp_path):
    model = build()
    signatures = tf.saved_model.load(saved(model, tmp_path)).signatures
    before = signatures["serving_default"](source=SOURCE)
    model.set_weights([w + 1.0 for w in model.get_weights()])
    np.testing.assert_array_equal(
        signatures["serving_default"](source=SOURCE)["scores"], before["scores"]
    )


# Text --------------------------------------------------------------------------------------------

SENTENCES = ["Padding is removed.", "layers", "one operation a layer"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> str:
    documents = Path(__file__).resolve().parents[2] / "docs"
    prefix = str(tmp_path_factory.mktemp("pieces") / "model")
    sentencepiece.SentencePieceTrainer.train(
        input=str(documents / "architecture.md"),
        model_prefix=prefix,
        vocab_size=200,
        pad_id=3,
        minloglevel=2,
    )
    return f"{prefix}.model"


@pytest.fixture(scope="module")
def texts(pieces, tmp_path_factory):
    """A model from pieces to pieces, and the folder that it is exported to."""
    model = build(vocab_size=200, trg_vocab_size=200, padding_idx=3)
    folder = tmp_path_factory.mktemp("texts")
    options = {**OPTIONS, "num_hypotheses": 1}
    return model, saved(model, folder, sentencepiece=pieces, options=options)


def test_translate(texts, pieces):
    model, path = texts
    loaded = tf.saved_model.load(path)
    outputs = loaded.signatures["translate"](sentences=tf.constant(SENTENCES))
    processor = sentencepiece.SentencePieceProcessor(pieces)
    for i, sentence in enumerate(SENTENCES):
        source = [processor.encode(sentence, add_eos=True)]
        generated = model.generate(np.array(source), ops.SearchOptions(**OPTIONS), START)
        tokens = generated.tokens[0, 0, : generated.lengths[0, 0]].numpy().tolist()
        wanted = processor.decode([token for token in tokens if token != EOS])
        assert outputs["translations"][i].numpy().decode() == wanted


def test_translate_with_options(texts):
    loaded = tf.saved_model.load(texts[1])
    options = loaded.signatures["default_options"]()
    function = loaded.signatures["translate_with_options"]
    both = (
        function(sentences=tf.constant(SENTENCES), **options),
        loaded.signatures["translate"](sentences=tf.constant(SENTENCES)),
    )
    np.testing.assert_array_equal(*[outputs["translations"] for outputs in both])
    options["max_length"] = tf.constant(1, tf.int64)
    short = function(sentences=tf.constant(SENTENCES), **options)["translations"].numpy()
    assert all(len(text.split()) <= 1 for text in short)
    assert loaded.signatures["translate"](sentences=tf.constant([], tf.string))[
        "translations"
    ].shape == (0,)


def test_encode_and_decode_are_the_two_ends_of_translate(texts):
    loaded = tf.saved_model.load(texts[1])
    signatures = loaded.signatures
    source = signatures["encode"](sentences=tf.constant(SENTENCES))["source"]
    found = signatures["serving_default"](source=source)
    decoded = signatures["decode"](tokens=found["tokens"][:, 0], lengths=found["lengths"][:, 0])
    wanted = signatures["translate"](sentences=tf.constant(SENTENCES))
    np.testing.assert_array_equal(decoded["sentences"], wanted["translations"])
    np.testing.assert_array_equal(found["scores"][:, 0], wanted["scores"])


def test_translate_with_attention(texts, pieces):
    """All hypotheses, and the pieces that attention goes between, a sentence's end included."""
    loaded = tf.saved_model.load(texts[1])
    outputs = with_attention(
        loaded, sentences=tf.constant(SENTENCES), num_hypotheses=tf.constant(2, tf.int64)
    )
    processor = sentencepiece.SentencePieceProcessor(pieces)
    source = [[*processor.encode(sentence, out_type=str), "</s>"] for sentence in SENTENCES]
    longest = max(map(len, source))
    assert [[piece.decode() for piece in row] for row in outputs["source_pieces"].numpy()] == [
        row + [""] * (longest - len(row)) for row in source
    ]
    ids = loaded.signatures["encode"](sentences=tf.constant(SENTENCES))["source"]
    generated = with_attention(loaded, source=ids, num_hypotheses=tf.constant(2, tf.int64))
    np.testing.assert_array_equal(outputs["scores"], generated["scores"])
    np.testing.assert_array_equal(outputs["attention"], generated["attention"])
    for i in range(len(SENTENCES)):
        for n in range(2):
            tokens = generated["tokens"][i, n, : generated["lengths"][i, n]].numpy().tolist()
            words = [processor.id_to_piece(token) for token in tokens]
            target = [piece.decode() for piece in outputs["target_pieces"][i, n].numpy()]
            assert target == words + [""] * (len(target) - len(words))
            wanted = processor.decode([token for token in tokens if token != EOS])
            assert outputs["translations"][i, n].numpy().decode() == wanted


def test_vocabularies(texts, pieces):
    loaded = tf.saved_model.load(texts[1])
    vocabularies = loaded.signatures["vocabularies"]()
    processor = sentencepiece.SentencePieceProcessor(pieces)
    wanted = [processor.id_to_piece(i).encode() for i in range(200)]
    for side in ("source_pieces", "target_pieces"):
        assert vocabularies[side].numpy().tolist() == wanted


def test_the_model_file_is_an_asset(texts, pieces):
    contents = [asset.read_bytes() for asset in Path(texts[1], "assets").iterdir()]
    assert contents == [Path(pieces).read_bytes()]


def test_no_text_without_a_model_file(loaded):
    of_text = {"translate", "translate_with_options", "encode", "decode", "vocabularies"}
    of_text.add("translate_with_attention")
    assert not of_text & set(loaded.signatures)


# What is not right says so -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int4"}, "precision must be one of float32, float16, .*; got 'int4'"),
        ({"start": None}, "start, the token in front of each hypothesis, must be given"),
        ({"start": TARGET_WORDS}, "start must be in the vocabulary of 11, got 11"),
        ({"options": {"beam_size": 3}}, "options must have eos"),
        ({"options": {"eos": -1}}, "eos: expected"),
        ({"options": {"eos": 11}}, "eos must be in the vocabulary of 11, got 11"),
        ({"options": {"eos": 2, "beams": 3}}, "unknown option beams; the options are eos"),
        ({"options": {"eos": 2, "beam_size": 0}}, "beam_size: expected 1 to 64"),
    ],
    ids=str,
)
def test_bad_arguments(tmp_path, model, changes, message):
    with pytest.raises(ValueError, match=message):
        saved(model, tmp_path, **changes)
    assert not (tmp_path / "exported").exists()


def test_models_that_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="has no padding_idx"):
        saved(build(**{**SETTINGS, "padding_idx": None}), tmp_path)
    with pytest.raises(ValueError, match=r"expected an LSTransformer.*, got a Sequential"):
        saved(tf.keras.Sequential(), tmp_path)
    with pytest.raises(ValueError, match=r"expected a model file .* model_configs\.yml"):
        export.save(tmp_path, tmp_path / "exported")
    (tmp_path / "no.model").write_text("nothing")
    with pytest.raises(tf.errors.InvalidArgumentError):
        saved(build(), tmp_path, sentencepiece=tmp_path / "no.model")
