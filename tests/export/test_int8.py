"""tf_ls.export.save in int8, loaded again."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small_transformer import INPUTS, ONE_TABLE, SOURCE_WORDS, build

import tf_ls.inference as lsi
from tf_ls import export, ops
from tf_ls.export import int8
from tf_ls.export.calibration import Calibration
from tf_ls.export.lstransformer import describe
from tf_ls.export.translation_module import TranslationModule
from tf_ls.export.weights import matrices_of
from tf_ls.files.quantization import quantize

START, EOS = 7, 2
OPTIONS = {"eos": EOS, "beam_size": 3, "num_hypotheses": 3, "max_length": 7}
SOURCE = tf.constant(INPUTS["src"], tf.int64)
SENTENCES = [[3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5, 8, 9, 7], [9]]
# Enough for a file to be about its matrices.
LARGER = {"hidden_size": 96, "intermediate_size": 384, "vocab_size": 500, "trg_vocab_size": 500}


def saved(model, folder, precision="int8", **more) -> str:
    path = str(folder / precision)
    export.save(model, path, precision=precision, options=OPTIONS, start=START, **more)
    return path


def described(model):
    return describe(model, OPTIONS, START, None)


def generated(path):
    return tf.saved_model.load(path).signatures["serving_default"](source=SOURCE)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return saved(model, tmp_path_factory.mktemp("int8"))


# Rounding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs_are_rows", [False, True])
def test_each_output_has_its_scale(outputs_are_rows):
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(5, 9)) * 10.0 ** rng.integers(-9, 9, (5, 9))).astype(np.float32)
    numbers, scales, error = quantize(matrix, outputs_are_rows=outputs_are_rows)
    axis = 1 if outputs_are_rows else 0
    assert (numbers.dtype, scales.dtype) == (np.int8, np.float32)
    np.testing.assert_allclose(scales, np.abs(matrix).max(axis=axis) / 127, rtol=1e-6)
    np.testing.assert_array_equal(np.abs(numbers).max(axis=axis), 127)
    wide = numbers * np.expand_dims(scales, axis)
    assert (np.abs(wide - matrix) <= np.expand_dims(scales, axis) * 0.50001).all()
    np.testing.assert_allclose(
        error, np.linalg.norm(wide - matrix) / np.linalg.norm(matrix), rtol=1e-4
    )


def test_outputs_of_zeros():
    numbers, scales, error = quantize(np.zeros([3, 4]), outputs_are_rows=True)
    assert not numbers.any()
    assert np.isfinite(scales).all()
    assert error == 0


def test_a_number_that_is_none():
    with pytest.raises(ValueError, match="has an infinity or a NaN"):
        quantize(np.array([[1.0, np.nan]]), outputs_are_rows=True)


# Weights -----------------------------------------------------------------------------------------


def test_names_of_matrices(model):
    names = [matrix.name for matrix in matrices_of(described(model).weights)]
    assert len(names) == 2 * 4 + 2 * 7 + 2
    assert names[:2] == ["source embeddings", "encoder layer 0 self-attention qkv"]
    assert names[-2:] == ["decoder layer 1 ffn dense2", "target embeddings"]
    shared = matrices_of(described(build(**ONE_TABLE)).weights)
    assert shared[0].name == "source embeddings, target embeddings"
    own = matrices_of(described(build(share_embedding_and_softmax_weights=False)).weights)
    assert own[-1].name == "output weights"


@pytest.mark.parametrize("changes", [{}, ONE_TABLE], ids=["two_tables", "one_table"])
def test_what_is_stored(tmp_path, changes):
    model = build(**changes)
    saved(model, tmp_path)
    variables = tf.train.load_checkpoint(str(tmp_path / "int8/variables/variables"))
    types = variables.get_variable_to_dtype_map()
    shapes = variables.get_variable_to_shape_map()
    names = [name for name in types if name.startswith("_weights")]
    matrices = matrices_of(described(model).weights)
    in_int8 = sorted(shapes[name] for name in names if types[name] == tf.int8)
    assert in_int8 == sorted(m.weight.shape.as_list() for m in matrices)
    # Vectors, and a scale for each output.
    outputs = sum(m.weight.shape[0 if m.outputs_are_rows else 1] for m in matrices)
    numbers = sum(np.prod(w.shape) for w in model.weights)
    others = numbers - sum(np.prod(m.weight.shape) for m in matrices)
    rest = [name for name in names if types[name] != tf.int8]
    assert {types[name] for name in rest} == {tf.float32}
    assert sum(np.prod(shapes[name]) for name in rest) == others + outputs


def test_a_file_is_a_quarter(tmp_path):
    model = build(**LARGER)
    sizes = [
        sum(file.stat().st_size for file in Path(saved(model, tmp_path, p), "variables").iterdir())
        for p in ("float32", "int8")
    ]
    assert sizes[1] < 0.28 * sizes[0]


def test_weights_that_are_no_numbers(tmp_path):
    model = build()
    weights = model.get_weights()
    weights[-1][0] = np.inf  # a vector: as in float32
    model.set_weights(weights)
    kernel = model.decoder_layers[1].parameters()[16]
    kernel.assign(tf.fill(kernel.shape, np.nan))
    with pytest.raises(ValueError, match="decoder layer 1 ffn dense1: has an infinity or a NaN"):
        saved(model, tmp_path)


# Generating --------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["int8", "int8_bfloat16", "int8_float16"])
@pytest.mark.parametrize(
    "changes",
    [{}, ONE_TABLE, {"share_embedding_and_softmax_weights": False}],
    ids=["two_tables", "one_table", "output_layer"],
)
def test_it_is_near_the_model(tmp_path, changes, precision):
    model = build(**changes)
    found = generated(saved(model, tmp_path, precision))
    wanted = model.generate(SOURCE, ops.SearchOptions(**OPTIONS), START)
    errors = np.abs(found["scores"][:, 0] - wanted.scores[:, 0])
    assert 1e-5 < np.median(errors) < 0.1  # a search may take another turn


def test_a_fresh_process(path):
    code = f"""
import tf_ls
import tensorflow as tf
loaded = tf.saved_model.load({path!r})
source = tf.constant({INPUTS["src"].tolist()}, tf.int64)
print(loaded.signatures["serving_default"](source=source)["scores"].numpy().tolist())
"""
    output = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert output.returncode == 0, output.stderr
    assert output.stdout.strip() == str(generated(path)["scores"].numpy().tolist())


def test_in_three_lines(path):
    tokens, scores = lsi.Transformer(path, 2).infer(SENTENCES)
    assert tokens.shape[:2] == (4, 3)
    assert np.isfinite(scores[:, 0]).all()


# The report --------------------------------------------------------------------------------------


def properties_of(path):
    properties = tf.saved_model.load(path).signatures["properties"]()
    return {name: value.numpy() for name, value in properties.items()}


def test_properties(model, path):
    properties = properties_of(path)
    assert properties["precision"] == b"int8"
    assert properties["source_vocabulary"] == SOURCE_WORDS
    assert properties["matrices"].tolist() == [
        matrix.name.encode() for matrix in matrices_of(described(model).weights)
    ]
    assert properties["matrices_in_int8"].all()
    assert properties["measure_of_losses"].decode() == int8.ERROR
    assert ((properties["matrix_losses"] > 1e-3) & (properties["matrix_losses"] < 0.02)).all()


def with_outliers(model, place, number):
    """The model with one number in each output of a matrix of its last layer."""
    kernel = model.decoder_layers[1].parameters()[place]
    numbers = kernel.numpy()
    numbers[0] = number
    kernel.assign(numbers)
    return model


def kept_by(report):
    return [matrix.name for matrix in report.matrices if not matrix.is_int8]


def test_a_matrix_that_loses_much_stays_in_float32(tmp_path):
    exact = described(with_outliers(build(), 4, 80.0))
    weights, report = int8.in_int8(exact, tf.float32)
    assert not kept_by(report)  # the large numbers, which make most of its norm, are right
    assert isinstance(weights.decoder.layers[1][4], ops.Int8Weight)
    weights, report = int8.in_int8(exact, tf.float32, SENTENCES)
    assert kept_by(report) == ["decoder layer 1 self-attention output"]
    assert weights.decoder.layers[1][4] is exact.weights.decoder.layers[1][4]
    kept = max(report.matrices, key=lambda matrix: matrix.loss)
    assert kept.loss > int8.MOST_NATS > report.loss
    line = f"in float32, beyond 0.02: decoder layer 1 self-attention output ({kept.loss:.4f})"
    assert line in str(report)


def test_without_sentences_by_its_own_error(tmp_path):
    model = build(**LARGER)
    kernel = model.decoder_layers[1].parameters()[18]
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    model = with_outliers(model, 18, 35.0)
    _, report = int8.in_int8(described(model), tf.float32)
    assert kept_by(report) == ["decoder layer 1 ffn dense2"]


def test_what_stays_in_float32_is_stored_and_told(tmp_path):
    path = saved(with_outliers(build(), 4, 80.0), tmp_path, calibration=SENTENCES)
    properties = properties_of(path)
    names = np.array([name.decode() for name in properties["matrices"]])
    kept = names[~properties["matrices_in_int8"]]
    assert kept.tolist() == ["decoder layer 1 self-attention output"]
    assert properties["measure_of_losses"].decode() == int8.NATS
    types = tf.train.load_checkpoint(f"{path}/variables/variables").get_variable_to_dtype_map()
    assert sum(dtype == tf.int8 for dtype in types.values()) == len(names) - 1
    assert np.isfinite(generated(path)["scores"]).all()


def test_losses_are_those_of_each_matrix_alone(model):
    exact = described(model)
    weights, report = int8.in_int8(exact, tf.float32, SENTENCES)
    calibration = Calibration(exact, tf.float32, SENTENCES)
    assert calibration.loss({}) == 0
    matrices = matrices_of(exact.weights)
    place = [m.name for m in matrices].index("encoder layer 1 ffn dense1")
    alone = {id(matrices[place].weight): weights.encoder.layers[1][8]}
    assert calibration.loss(alone) == report.matrices[place].loss > 0
    worst = max(m.loss for m in report.matrices)
    assert worst / 2 < report.loss < sum(m.loss for m in report.matrices)


def test_sentences_may_be_text(model):
    exact = described(model)
    losses = [
        int8.in_int8(translation, tf.float32, sentences)[1].loss
        for translation, sentences in (
            (exact, [*SENTENCES, []]),
            (exact, [" ".join(map(str, sentence)) for sentence in SENTENCES]),
            (
                dataclasses.replace(exact, ids_of=lambda text: [int(digit) for digit in text]),
                ["31415", "926", "535897", "9"],
            ),
        )
    ]
    assert losses[0] == losses[1] == losses[2]


# What is not right says so -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "precision must be one of float32, .*, int8_bfloat16; got 'int4'"),
        ({"portable": True}, "a portable model cannot be int8"),
        ({"precision": "float32", "calibration": SENTENCES}, "calibration is for int8"),
        ({"calibration": [[1, SOURCE_WORDS]]}, "sentence 0 must be ids from 0 to 12"),
        ({"calibration": [[1], [2.5]]}, "sentence 1 must be ids from 0 to 12"),
        ({"calibration": ["a red house"]}, "sentence 0 must be ids, because no SentencePiece"),
        ({"calibration": []}, "translates none of the sentences"),
        ({"calibration": [[]]}, "translates none of the sentences"),
    ],
    ids=str,
)
def test_bad_arguments(tmp_path, model, arguments, message):
    with pytest.raises(ValueError, match=message):
        saved(model, tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_module_tells_of_what_became_of_it(model):
    assert TranslationModule(described(model), "float32").int8_report is None
    report = TranslationModule(described(model), "int8").int8_report
    assert "24 of 24 matrices are in int8" in str(report)
