"""What both formats have in common: precisions, checks, sizes, memory."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from absl import logging as absl_logging
from small_models import SETTINGS, assert_same, numbers, small_model

from tf_ls import files
from tf_ls.files import Numbers, protobuf_file
from tf_ls.files.precision import STORED, are_finite, from_float32, to_float32

ENDINGS = (".pb", ".hdf5")
KERNEL = "encoder_stack/1/ffn_first_kernel"

both = pytest.mark.parametrize("ending", ENDINGS)


def written(model, folder, ending, precision=None):
    return files.write(model, folder / f"model{ending}", precision)


# There and back -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("family", SETTINGS)
@pytest.mark.parametrize("own", [False, True], ids=["lightseq", "own"])
@pytest.mark.parametrize("precision", [None, *files.PRECISIONS])
def test_there_and_back(tmp_path, ending, family, own, precision):
    model = small_model(family, own)
    read = files.read(written(model, tmp_path, ending, precision), family)
    # Half of the step between two numbers of int8 whose largest magnitude is 48 / 64.
    assert_same(read, model, 0.75 / 127 / 2 + 1e-6 if precision == "int8" else 0)
    for name, stored in read.weights.items():
        is_matrix = model.field(name).scales
        expected = "float32" if precision == "int8" and not is_matrix else precision or "float32"
        assert stored.precision == expected


@both
@pytest.mark.parametrize("precision", files.PRECISIONS)
def test_what_was_read_is_written_unchanged(tmp_path, ending, precision):
    path = written(small_model("transformer"), tmp_path, ending, precision)
    model = files.read(path, "transformer")
    for other in ENDINGS:
        again = files.read(files.write(model, tmp_path / f"again{other}"), "transformer")
        for name, stored in model.weights.items():
            assert again.weights[name].precision == stored.precision
            np.testing.assert_array_equal(again.stored(name), model.stored(name))
            if stored.scales:
                np.testing.assert_array_equal(again.scales(name), model.scales(name))


@both
def test_a_file_may_be_replaced_while_it_is_read(tmp_path, ending):
    model = small_model("transformer")
    path = written(model, tmp_path, ending)
    read = files.read(path, "transformer")
    for _ in range(2):  # of itself, and then of what the first time has replaced
        files.write(read, path, "float16")
    assert_same(read, model)
    assert_same(files.read(path, "transformer"), model)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        (KERNEL, 1),
        ("src_embedding/token_embedding", 0),
        ("trg_embedding/token_embedding", 1),
    ],
)
def test_matrices_have_a_scale_for_each_output(tmp_path, name, outputs):
    """So that the smallest of them are as exact, relatively, as the largest."""
    model = small_model("transformer")
    shape = model.shapes()[name]
    sizes = 10.0 ** np.arange(shape[outputs])
    array = np.random.default_rng(0).normal(size=shape) * (sizes if outputs else sizes[:, None])
    model.put(name, array)
    read = files.read(written(model, tmp_path, ".pb", "int8"), "transformer")
    error = np.abs(read.float32(name) - array).max(axis=1 - outputs)
    assert (error <= 0.51 / 127 * np.abs(array).max(axis=1 - outputs)).all()
    assert len(read.scales(name)) == shape[outputs]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_rounding_is_to_nearest_even(precision):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(size=1000) * 10.0 ** rng.integers(-6, 4, 1000), [0.0, -0.0]]
    )
    values = np.concatenate([values, 1 + np.arange(64) / 2**12]).astype(np.float32)
    wanted = tf.cast(tf.cast(values, precision), tf.float32).numpy()
    stored = from_float32(values, precision)
    assert stored.dtype == STORED[precision]
    np.testing.assert_array_equal(to_float32(stored, precision), wanted)


# Refused ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        (KERNEL, 0, f"{KERNEL} is missing"),
        (KERNEL, 23, f"{KERNEL}: expected 4 x 6 = 24 numbers, got 23"),
        ("decoder_stack/0/self_project_bias_qkv", 13, "expected 3 x 4 = 12 numbers, got 13"),
        ("trg_embedding/shared_bias", 6, "trg_embedding/shared_bias: expected 5 numbers, got 6"),
        ("src_embedding/token_embedding", 21, "expected a multiple of 4 numbers, got 21"),
        ("trg_embedding/encode_output_project_kernel_kv", 64, "4 x 1 x 2 x 4 = 32 numbers, got 64"),
        ("src_embedding/norm_bias", 0, "src_embedding/norm_bias is missing"),
    ],
    ids=str,
)
def test_sizes_that_do_not_match(tmp_path, ending, name, count, message, monkeypatch):
    model = small_model("transformer")
    path = written(model, tmp_path, ending)
    model.put(name, np.zeros(count))
    with pytest.raises(files.InvalidModelFile, match=message):
        files.write(model, path)
    # The writer that does not look first.
    shapes = {n: (stored.count,) for n, stored in model.weights.items() if stored.count}
    monkeypatch.setattr(model, "shapes", lambda: shapes)
    files.model_file.FORMATS[ending].write(model, path)
    with pytest.raises(files.InvalidModelFile, match=f"{path}: .*{message.split(': ')[-1]}"):
        files.read(path, "transformer")


@both
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(tmp_path, ending, precision, value):
    model = small_model("transformer")
    path = written(model, tmp_path, ending, precision)
    bits = {
        "float32": np.float32(value).tobytes(),
        "float16": np.float16(value).tobytes(),
        "bfloat16": np.float32(value).tobytes()[2:],
    }[precision]
    read = files.read(path, "transformer")
    whole = read.stored(KERNEL).tobytes()
    data = path.read_bytes()
    assert data.count(whole) == 1
    path.write_bytes(data.replace(whole, whole[: -len(bits)] + bits))
    damaged = files.read(path, "transformer")
    with pytest.raises(files.InvalidModelFile, match=f"{KERNEL} has an infinity or a NaN"):
        damaged.float32(KERNEL)
    with pytest.raises(files.InvalidModelFile, match=f"{KERNEL} has an infinity or a NaN"):
        files.write(damaged, tmp_path / f"again{ending}")
    assert not list(tmp_path.glob("again*"))  # nor half of it


@pytest.mark.parametrize("place", [0, 32767, 32768, 99999])
def test_infinities_are_found_anywhere(place):
    for precision in ("float64", "float32", "float16"):
        array = np.ones(100_000, STORED[precision])
        assert are_finite(array, precision)
        array[place] = np.inf
        assert not are_finite(array, precision)


@both
@pytest.mark.parametrize(
    ("scale", "message"),
    [(np.nan, r"\(scales\) has an infinity or a NaN"), (-1.0, r"\(scales\): -1.0 is negative")],
)
def test_scales_that_are_none(tmp_path, ending, scale, message):
    model = small_model("transformer")
    read = files.read(written(model, tmp_path, ending, "int8"), "transformer")
    scales = read.scales(KERNEL).copy()
    scales[2] = scale
    read.weights[KERNEL] = Numbers("int8", [read.stored(KERNEL)], [scales])
    with pytest.raises(files.InvalidModelFile, match=message):
        read.float32(KERNEL)
    read.weights[KERNEL] = Numbers("int8", [read.stored(KERNEL)], [np.full(6, 3e38, np.float32)])
    with pytest.raises(files.InvalidModelFile, match=f"{KERNEL} has an infinity or a NaN"):
        read.float32(KERNEL)


def test_numbers_too_large_for_a_precision(tmp_path):
    model = small_model("transformer")
    model.put(KERNEL, np.full(24, 1e5))
    with pytest.raises(files.InvalidModelFile, match=f"{KERNEL}: 100000 is too large for float16"):
        written(model, tmp_path, ".pb", "float16")
    written(model, tmp_path, ".pb", "bfloat16")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head_num": 0}, "model_conf/head_num: expected a divisor of the hidden size 4, got 0"),
        ({"head_num": 3}, "model_conf/head_num: expected a divisor of the hidden size 4, got 3"),
        ({"head_num": True}, "model_conf/head_num: expected a number, got True"),
        ({"is_post_ln": 1}, "model_conf/is_post_ln: expected True or False, got 1"),
        ({"topp": "0.5"}, "model_conf/topp: expected a finite number"),
        ({"trg_end_id": 5}, "model_conf/trg_end_id: expected a token of the vocabulary of 5, got"),
        ({"trg_start_id": -1}, "model_conf/trg_start_id: expected a token of the vocabulary of 5"),
        ({"sampling_method": "best"}, "model_conf/sampling_method: expected one of .*'best'"),
        ({"epsilon": 1.5}, "model_conf/epsilon: expected a number between 0 and 1, got 1.5"),
        ({"activation": "swish"}, "model_conf/activation: expected one of .*'swish'"),
        ({"eos_id": 1}, "transformer has no setting model_conf/eos_id"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit(tmp_path, settings, message):
    model = small_model("transformer")
    model.settings.update(settings)
    with pytest.raises(files.InvalidModelFile, match=message):
        written(model, tmp_path, ".pb")


def test_layers_that_are_missing(tmp_path):
    model = small_model("transformer")
    for name in [n for n in model.weights if n.startswith("encoder_stack/0/")]:
        del model.weights[name]
    with pytest.raises(files.InvalidModelFile, match="encoder_stack/0/multihead_norm_scale is mis"):
        written(model, tmp_path, ".pb")


def test_norms_of_pre_norm_layers_are_needed(tmp_path):
    model = small_model("transformer", later=False)
    for part in ("src_embedding", "trg_embedding"):
        for name in ("norm_scale", "norm_bias"):
            del model.weights[f"{part}/{name}"]
    assert_same(files.read(written(model, tmp_path, ".pb"), "transformer"), model)
    model.settings["is_post_ln"] = False
    with pytest.raises(files.InvalidModelFile, match="src_embedding/norm_scale is missing"):
        written(model, tmp_path, ".pb")


def test_the_norm_behind_the_embedding_has_one_place(tmp_path):
    model = small_model("transformer")
    model.put("src_embedding/embedding_norm_bias", np.zeros(0))
    with pytest.raises(files.InvalidModelFile, match="src_embedding/embedding_norm_bias is missin"):
        written(model, tmp_path, ".pb")
    model = small_model("transformer")
    model.settings["is_post_ln"] = True
    with pytest.raises(files.InvalidModelFile, match="embedding_norm_scale: with is_post_ln"):
        written(model, tmp_path, ".pb")


@both
def test_settings_that_are_json(tmp_path, ending):
    model = files.read(written(small_model("transformer"), tmp_path, ending), "transformer")
    assert model.prefix() == [0, 4]
    assert model.search_options() == {"early_stopping": True, "forbidden_tokens": [0, 3]}
    assert files.Model("transformer").prefix() == []
    assert files.Model("transformer").search_options() == {}
    labels = [f"{i}" * 30 for i in range(3)]
    model = small_model("bert")
    model.settings["labels"] = json.dumps(labels)
    assert files.read(written(model, tmp_path, ending), "bert").labels() == labels


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("bert", {"task": "translation"}, "model_conf/task: expected one of .*'translation'"),
        ("bert", {"labels": '["a", "b"]'}, "labels: expected as many as the head has .*, 3, got 2"),
        ("bert", {"labels": '["a", "b", 1]'}, "labels: expected JSON of a list of strings"),
        ("bert", {"labels": "[" * 60_000}, "labels: expected JSON of a list of strings"),
        ("bert", {"labels": '["\u00e4"]'}, "labels: expected a string of at most 65536 characters"),
        ("transformer", {"prefix": "[5]"}, "prefix: expected tokens of the vocabulary of 5, got 5"),
        ("transformer", {"prefix": "[true]"}, "prefix: expected JSON of a list of integers"),
        ("transformer", {"search_options": "[]"}, "search_options: expected JSON of an object"),
        ("transformer", {"search_options": " " * 65_537}, "a string of at most 65536 characters"),
    ],
)
def test_json_that_does_not_fit(tmp_path, family, settings, message):
    model = small_model(family)
    model.settings.update(settings)
    with pytest.raises(files.InvalidModelFile, match=message):
        written(model, tmp_path, ".pb")


@pytest.mark.parametrize(
    ("task", "part"),
    [
        ("text-classification", "pooler"),
        ("token-classification", "head"),
        ("fill-mask", "mlm_head"),
    ],
)
def test_a_task_needs_what_computes_it(tmp_path, task, part):
    model = small_model("bert")
    model.settings.update(task=task, labels="")
    written(model, tmp_path, ".pb")
    for name in [name for name in model.weights if name.startswith(f"{part}/")]:
        del model.weights[name]
    with pytest.raises(files.InvalidModelFile, match=f"{part}/kernel is missing, for .* {task}"):
        written(model, tmp_path, ".pb")


def test_the_words_of_a_head_are_the_embeddings(tmp_path):
    model = small_model("bert")
    model.put("mlm_head/output_bias", np.zeros(6))
    with pytest.raises(files.InvalidModelFile, match="output_bias: expected 5 numbers, got 6"):
        written(model, tmp_path, ".pb")


def test_fields_and_files_that_are_unknown(tmp_path):
    model = small_model("bert")
    for name in ("pooler/weight", "trg_embedding/norm_scale", "encoder_stack/norm_scale", "x"):
        with pytest.raises(files.InvalidModelFile, match=f"bert has no field {name}"):
            model.put(name, np.zeros(4))
    with pytest.raises(ValueError, match=r"expected a file ending in \.pb or \.hdf5, got .*\.onnx"):
        files.write(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"precision must be one of float32, .*; got 'float8'"):
        files.write(model, tmp_path / "model.pb", "float8")
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "model.pb", "bert")


# Sizes --------------------------------------------------------------------------------------------


def test_more_than_2_gb_becomes_hdf5(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(protobuf_file, "LARGEST_FILE", 1000)
    monkeypatch.setattr(absl_logging.get_absl_logger(), "propagate", True)
    model = small_model("transformer")
    with caplog.at_level(logging.WARNING, logger="absl"):
        path = files.write(model, tmp_path / "model.pb")
    assert path == tmp_path / "model.hdf5"
    assert "more than Protocol Buffers can have (1000): writing" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["model.hdf5"]
    assert_same(files.read(path, "transformer"), model)


@pytest.mark.parametrize("precision", [None, *files.PRECISIONS])
def test_sizes_are_known_before_a_file_is_written(tmp_path, precision):
    model = small_model("transformer")
    path = written(model, tmp_path, ".pb", precision)
    assert path.stat().st_size == protobuf_file.size(model, precision)


MEASURE = """
import pathlib, sys
import numpy as np, h5py
from tf_ls import files

def peak():  # not getrusage's, which begins with what the process had before it was this program
    return int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

files.read(sys.argv[2], "transformer")  # what libraries take
before = peak()
model = files.read(sys.argv[1], "transformer")
shapes = model.shapes()
arrays = [model.float32(name, shapes) for name in shapes]
total = sum(float(array.ravel()[::1024].sum()) for array in arrays)
print(1024 * (peak() - before))
"""


@both
def test_reading_takes_no_more_memory_than_the_file(tmp_path, ending):
    """All numbers at once: at most 1.2 times the file's size."""
    small = written(small_model("transformer", later=False), tmp_path, ending)
    model = small_model("transformer", later=False)
    words = 1 << 21
    for part in ("src_embedding", "trg_embedding"):
        shape = (words, 4) if part == "src_embedding" else (4, words)
        model.put(f"{part}/token_embedding", numbers(part, shape))
    model.put("trg_embedding/shared_bias", np.zeros(words))
    large = files.write(model, tmp_path / f"large{ending}")
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, large, small],
        check=True,
        capture_output=True,
        text=True,
    )
    assert large.stat().st_size > 7e7
    assert 0.9 <= int(result.stdout) / large.stat().st_size <= 1.2
