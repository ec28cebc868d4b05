"""A model file in tf_ls.inference: the tokens of the model that it was made of."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from exported_transformer import EOS, START, TARGET_POSITIONS, exported
from small_transformer import HIDDEN, INPUTS, ONE_TABLE, SOURCE_LENGTHS, build

import tf_ls.inference as lsi
from tf_ls import export, files, ops
from tf_ls.export import transformer_file
from tf_ls.files.lightseq_export import sinusoids
from tf_ls.models.encoder_decoder import EncoderDecoder

SENTENCES = [row[:length].tolist() for row, length in zip(INPUTS["src"], SOURCE_LENGTHS)]
OPTIONS = {"beam_size": 3, "length_penalty": "lightseq", "max_length": TARGET_POSITIONS}


@pytest.fixture(scope="module")
def model():
    return build()


def written(model, folder, ending=".pb", precision=None, **settings):
    file = exported(files.state_dict(model), **settings)
    return files.write(file, folder / f"model{ending}", precision)


def assert_generates(path, model, **options):
    """The same tokens as the model itself."""
    transformer = lsi.Transformer(path, 8)
    own = {name: transformer.options[name] for name in ("method", "num_hypotheses")}
    options = ops.SearchOptions(**{**OPTIONS, **own, **options, "eos": EOS})
    wanted = model.generate(INPUTS["src"], options, START)
    tokens, scores = transformer.infer(SENTENCES)
    np.testing.assert_array_equal(tokens, wanted.tokens)
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-5)


@pytest.mark.parametrize("ending", [".pb", ".hdf5"])
def test_the_tokens_of_its_direct_export(tmp_path, model, ending):
    options = {**OPTIONS, "eos": EOS}
    export.save(model, tmp_path / "direct", options=options, start=START)
    direct = lsi.Transformer(tmp_path / "direct", 8)
    transformer = lsi.Transformer(written(model, tmp_path, ending), 8)
    floats = ("length_penalty_alpha",)  # that of the file is float32
    for name, value in direct.options.items():
        wanted = pytest.approx(value) if name in floats else value
        assert transformer.options[name] == wanted, name
    tokens, scores = transformer.infer(SENTENCES)
    np.testing.assert_array_equal(tokens, direct.infer(SENTENCES).tokens)
    np.testing.assert_allclose(scores, direct.infer(SENTENCES).scores, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [ONE_TABLE, {"activation_fn": "gelu"}, {"pre_layer_norm": False}],
    ids=["one table", "gelu", "post-norm"],
)
def test_structures(tmp_path, changes):
    model = build(**changes)
    settings = {
        "use_gelu": changes.get("activation_fn") == "gelu",
        "is_post_ln": not changes.get("pre_layer_norm", True),
    }
    assert_generates(written(model, tmp_path, **settings), model)


@pytest.mark.parametrize(
    ("precision", "rtol"), [("float32", 1e-5), ("bfloat16", 3e-2), ("int8", 5e-2)]
)
@pytest.mark.parametrize(
    ("is_post_norm", "field"), [(True, "norm"), (False, "embedding_norm")], ids=["bart", "mbart"]
)
def test_norms_behind_embeddings(tmp_path, is_post_norm, field, precision, rtol):
    model = build(pre_layer_norm=not is_post_norm)
    file = exported(files.state_dict(model), is_post_ln=is_post_norm)
    rng = np.random.default_rng(0)
    norms = []
    for part in ("src_embedding", "trg_embedding"):
        norms.append(np.float32([1.0, 0.0] + 0.3 * rng.normal(size=(HIDDEN, 2))).T)
        for half, numbers in zip(("scale", "bias"), norms[-1]):
            file.put(f"{part}/{field}_{half}", numbers)
    weights = model.encoder_decoder()
    encoder, decoder = (
        dataclasses.replace(stack, embedding_norm=tuple(tf.constant(norm)))
        for stack, norm in zip((weights.encoder, weights.decoder), norms)
    )
    path = files.write(file, tmp_path / "model.pb")
    transformer = lsi.Transformer(path, 8, precision=precision)
    count = transformer.options["num_hypotheses"]
    options = ops.SearchOptions(**{**OPTIONS, "eos": EOS, "num_hypotheses": count})
    arguments = (INPUTS["src"], INPUTS["src"] == 0, START, options)
    wanted = EncoderDecoder(encoder, decoder).generate(*arguments, dtype="float32")
    tokens, scores = transformer.infer(SENTENCES)
    np.testing.assert_allclose(scores[:, 0], wanted.scores[:, 0], rtol=rtol)
    if precision == "float32":
        np.testing.assert_array_equal(tokens, wanted.tokens)
        assert np.unique(wanted.tokens[:, 0]).size > 1


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"length_penalty": -1.0}, {"length_penalty_alpha": -1.0}),
        ({"extra_decode_length": 2}, {"max_extra_length": 2}),
        (
            {"diverse_lambda": 0.5},
            {"method": "diverse_beam_search", "diversity": 0.5},
        ),
        ({"sampling_method": "topk", "topk": 3}, {"method": "sampling", "top_k": 3}),
        ({"sampling_method": "topp", "topp": 0.5}, {"method": "sampling", "top_p": 0.5}),
    ],
    ids=str,
)
def test_settings_are_options(tmp_path, model, settings, options):
    assert_generates(written(model, tmp_path, **settings), model, **options)


def test_options_that_lightseq_has_no_settings_for(tmp_path, model):
    file = exported(files.state_dict(model))
    file.settings["search_options"] = '{"length_penalty": "exponent", "forbidden_tokens": [3]}'
    path = files.write(file, tmp_path / "model.pb")
    assert_generates(path, model, length_penalty="exponent", forbidden_tokens=(3,))


def test_a_prefix(tmp_path, model):
    file = exported(files.state_dict(model))
    file.settings["prefix"] = "[5, 1]"
    path = files.write(file, tmp_path / "model.pb")
    options = ops.SearchOptions(**OPTIONS, eos=EOS, num_hypotheses=3)
    prefix = tf.constant([[5, 1]] * len(SENTENCES))
    wanted = model.generate(INPUTS["src"], options, START, prefix=prefix)
    tokens, scores = lsi.Transformer(path, 8).infer(SENTENCES)
    np.testing.assert_array_equal(tokens, wanted.tokens)
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-5)
    with pytest.raises(ValueError, match="a portable model cannot begin with a prefix"):
        export.save(file, tmp_path / "portable", portable=True)
    assert not (tmp_path / "portable").exists()


@pytest.mark.parametrize("no_scale", [False, True])
def test_the_output_layer_is_without_the_embeddings_factor(model, no_scale):
    file = exported(files.state_dict(model))
    file.settings["no_scale_embedding"] = no_scale
    decoder = transformer_file.describe(file).weights.decoder
    assert decoder.scale == (1.0 if no_scale else pytest.approx(np.sqrt(HIDDEN)))
    embedded = file.float32("trg_embedding/token_embedding").T
    np.testing.assert_allclose(decoder.table * np.float32(decoder.scale), embedded, rtol=1e-6)
    assert decoder.output_weights is None  # it is the table


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_files_compute_in_what_they_are_told(tmp_path, model, precision):
    """In the precision of the file they are its direct export in that precision."""
    path = written(model, tmp_path, precision=precision)
    rounded = build()
    rounded.set_weights(
        [tf.cast(tf.cast(w, precision), tf.float32).numpy() for w in model.get_weights()]
    )
    tokens, scores = lsi.Transformer(path, 8).infer(SENTENCES)
    wanted = lsi.Transformer(written(rounded, tmp_path, ".hdf5"), 8).infer(SENTENCES)
    np.testing.assert_allclose(scores, wanted.scores, rtol=5e-3 if precision == "float16" else 3e-2)
    assert tokens.shape[:2] == wanted.tokens.shape[:2]


def test_int8_files_are_near(tmp_path, model):
    exact = lsi.Transformer(written(model, tmp_path, ".hdf5"), 8).infer(SENTENCES)
    near = lsi.Transformer(written(model, tmp_path, precision="int8"), 8).infer(SENTENCES)
    np.testing.assert_allclose(near.scores, exact.scores, rtol=5e-2)


@pytest.mark.parametrize("stored_as", ["float32", "int8"])
def test_a_file_may_compute_in_int8(tmp_path, model, stored_as):
    options = {**OPTIONS, "eos": EOS}
    export.save(model, tmp_path / "direct", precision="int8", options=options, start=START)
    direct = lsi.Transformer(tmp_path / "direct", 8).infer(SENTENCES)
    path = written(model, tmp_path, precision=stored_as)
    tokens, scores = lsi.Transformer(path, 8, precision="int8").infer(SENTENCES)
    np.testing.assert_array_equal(tokens, direct.tokens)
    np.testing.assert_allclose(scores, direct.scores, rtol=1e-4)


def test_sentences_longer_than_the_positions(tmp_path, model):
    transformer = lsi.Transformer(written(model, tmp_path), 8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="30"):
        transformer.infer([[1] * 31])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multilg_type": 1}, "model_conf/multilg_type: expected 0"),
        ({"sampling_method": "topk_greedy"}, "model_conf/sampling_method: topk_greedy is not"),
        ({"beam_size": 65}, "model_conf: beam_size: expected 1 to 64, got 65"),
        ({"search_options": '{"beams": 3}'}, "model_conf: .* unexpected keyword argument 'beams'"),
    ],
    ids=str,
)
def test_what_cannot_be_computed(tmp_path, model, change, message):
    file = exported(files.state_dict(model))
    file.settings.update(change)
    path = files.write(file, tmp_path / "model.pb")
    with pytest.raises(files.InvalidModelFile, match=f"{path}: {message}"):
        lsi.Transformer(path, 8)


def test_damaged_files(tmp_path, model):
    path = written(model, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(files.InvalidModelFile, match=f"{path}: transformer: field 5"):
        lsi.Transformer(path, 8)
    with pytest.raises(FileNotFoundError):
        lsi.Transformer(tmp_path / "none.pb", 8)


def test_tables_are_the_operations_own():
    """A table of positions gives what the operations make themselves."""
    ids = tf.zeros([1, 9], tf.int64)
    table = tf.zeros([1, 13])
    np.testing.assert_allclose(
        ops.embedding(ids, table, positions=tf.constant(sinusoids(9, 13))),
        ops.embedding(ids, table, positions=ops.SINUSOIDS),
        atol=1e-6,
    )
