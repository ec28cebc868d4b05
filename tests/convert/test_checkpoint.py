"""Checkpoints: lazily read arrays by their names, of SafeTensors or PyTorch's files."""

import json
import sys

import numpy as np
import pytest

from tf_ls.convert import ConversionError, checkpoint

safetensors_numpy = pytest.importorskip("safetensors.numpy")

WEIGHTS = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}


def save(folder, name="model.safetensors", weights=WEIGHTS):
    path = folder / name
    safetensors_numpy.save_file(weights, path)
    return path


def index(folder, files_of, name="model.safetensors"):
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": files_of}))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_become_float32(tmp_path, dtype):
    weights = {name: array.astype(dtype) for name, array in WEIGHTS.items()}
    read = checkpoint.open_file(save(tmp_path, weights=weights))
    assert set(read) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], array)


def test_integers_stay_as_they_are(tmp_path):
    read = checkpoint.open_file(save(tmp_path, weights={"ids": np.arange(3)}))
    assert read["ids"].dtype == np.int64


def test_shards(tmp_path):
    save(tmp_path, "one.safetensors", {"a": WEIGHTS["a"]})
    save(tmp_path, "two.safetensors", {"b": WEIGHTS["b"]})
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    read = checkpoint.open_folder(tmp_path)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(read[name], array)


def test_safetensors_are_preferred(tmp_path):
    """So that PyTorch is not needed."""
    save(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    assert set(checkpoint.open_folder(tmp_path)) == set(WEIGHTS)


@pytest.mark.parametrize(
    ("files_of", "message"),
    [
        ({"c": "model-1.safetensors"}, "model-1.safetensors does not have c"),
        ({"a": "../model-1.safetensors"}, "is no file of its folder"),
    ],
    ids=str,
)
def test_an_index_of_something_else(tmp_path, files_of, message):
    save(tmp_path, "model-1.safetensors")
    index(tmp_path, files_of)
    with pytest.raises(ConversionError, match=message):
        checkpoint.open_folder(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ConversionError, match=r"index\.json: expected JSON .* under weight_map"):
        checkpoint.open_folder(tmp_path)


def test_damaged_files(tmp_path):
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConversionError, match=r"model\.safetensors cannot be read"):
        checkpoint.open_file(path)
    with pytest.raises(FileNotFoundError, match=r"has none of model\.safetensors, py"):
        checkpoint.open_folder(tmp_path / "nothing")
    with pytest.raises(ValueError, match="expected a file of weights"):
        checkpoint.open_file(tmp_path / "model.npz")


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ImportError, match="is PyTorch's: install torch to read it, or save it as"):
        checkpoint.open_folder(tmp_path)


def test_objects_of_pytorchs_files_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(2), "b": "text"}, path)
    with pytest.raises(ConversionError, match="'b' is no tensor, but str"):
        checkpoint.open_file(path)
    torch.save({"a": tmp_path}, path)  # an object of a class, which unpickling would make
    with pytest.raises(ConversionError, match="cannot be read by PyTorch"):
        checkpoint.open_file(path)
    path.write_bytes(b"PK")
    with pytest.raises(ConversionError, match="cannot be read by PyTorch"):
        checkpoint.open_file(path)
