"""HDF5 files: LightSeq's names and types, and what is refused."""

import h5py
import numpy as np
import pytest
from lightseq_writer import write_hdf5_as_lightseq
from small_models import SETTINGS, assert_same, small_model

from tf_ls import files

FAMILIES = list(SETTINGS)
KERNEL = "encoder_stack/0/ffn_first_kernel"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.hdf5"
    files.write(small_model("transformer"), path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lightseq_wrote(tmp_path, family):
    model = small_model(family, own=False)
    write_hdf5_as_lightseq(tmp_path / "model.hdf5", model)
    assert_same(files.read(tmp_path / "model.hdf5", family), model)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_and_types_are_lightseqs(tmp_path, family):
    model = small_model(family, own=False)
    files.write(model, tmp_path / "tf_ls.hdf5")
    write_hdf5_as_lightseq(tmp_path / "lightseq.hdf5", model)
    mine, theirs = (h5py.File(tmp_path / f"{name}.hdf5") for name in ("tf_ls", "lightseq"))
    with mine, theirs:
        datasets = {}
        theirs.visititems(lambda name, item: datasets.update({name: item}))
        visited = []
        mine.visit(visited.append)
        assert set(visited) == set(datasets)
        for name, dataset in datasets.items():
            if isinstance(dataset, h5py.Dataset):
                assert mine[name].shape == dataset.shape, name
                assert mine[name].dtype.kind == dataset.dtype.kind, name
                np.testing.assert_array_equal(mine[name][()], dataset[()])
                if name.split("/")[0] != "model_conf":
                    assert mine[name].dtype == np.float32


def test_half_is_converted_by_hdf5_itself(path):
    """So that LightSeq, which asks for float32, reads it."""
    files.write(small_model("transformer"), path, "float16")
    with h5py.File(path) as file:
        assert file[KERNEL].dtype == np.float16
        numbers = np.zeros(24, np.float32)
        file[KERNEL].id.read(h5py.h5s.ALL, h5py.h5s.ALL, numbers)
    np.testing.assert_array_equal(numbers, small_model("transformer").float32(KERNEL).ravel())


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_what_hdf5_would_misread_has_another_name(path, precision):
    files.write(small_model("transformer"), path, precision)
    with h5py.File(path) as file:
        assert KERNEL not in file
        assert f"{KERNEL}_{precision}" in file


def changed(path, name, data=None, **more):
    """Replaces a dataset, or removes it."""
    with h5py.File(path, "r+") as file:
        del file[name]
        if data is not None or more:
            file.create_dataset(name, data=data, **more)


def refused(path, message):
    with pytest.raises(files.InvalidModelFile, match=message):
        files.read(path, "transformer")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (KERNEL, None, f"{KERNEL} is missing"),
        (KERNEL, np.zeros(24, np.int32), f"{KERNEL}: expected numbers of float64 or float32 or"),
        (KERNEL, ["a"] * 24, f"{KERNEL}: expected numbers of .*, got object"),
        (KERNEL, np.zeros(23, np.float32), f"{KERNEL}: expected a multiple of 4 numbers, got 23"),
        ("encoder_stack/1", None, "model_conf/n_encoder_stack: says 2 layers, but .* has 1"),
        ("encoder_stack", None, "encoder_stack is missing"),
        ("encoder_stack", np.zeros(3), "/encoder_stack: expected a group"),
        ("model_conf", None, "model_conf is missing"),
        ("model_conf/n_decoder_stack", None, "model_conf/n_decoder_stack is missing"),
        ("model_conf/n_decoder_stack", 10**9, "says 1000000000 layers, but decoder_stack has 1"),
        ("model_conf/n_decoder_stack", 2.5, "n_decoder_stack: expected one int32, got 1 of float"),
        ("model_conf/head_num", [1, 2], "model_conf/head_num: expected one int32, got 2 of int64"),
        ("model_conf/head_num", 2**40, "model_conf/head_num: expected a 32-bit integer"),
        ("model_conf/topp", np.nan, "model_conf/topp: expected a finite number of float32, got na"),
        ("model_conf/topp", 1e300, "model_conf/topp: expected a finite number of float32"),
        ("model_conf/sampling_method", np.full(65, 65, np.int8), "at most 64 codes of characters"),
        ("model_conf/sampling_method", np.array([-1], np.int8), r"\[-1\] are no codes of ASCII"),
        ("model_conf/sampling_method", "topk", "model_conf/sampling_method: expected at most 64"),
    ],
    ids=str,
)
def test_datasets_that_do_not_fit(path, name, data, message):
    changed(path, name, data)
    refused(path, message)


def test_numbers_that_are_not_in_the_file(path, tmp_path):
    changed(path, KERNEL, np.zeros(24, np.float32), chunks=(6,), compression="gzip")
    refused(path, f"{KERNEL}: its numbers are not in one piece")
    changed(path, KERNEL, shape=(24,), dtype=np.float32)  # nothing of it was ever written
    refused(path, f"{KERNEL}: expected 24 numbers, but the file does not have them")
    changed(path, KERNEL, shape=(2**40, 4), dtype=np.float32)
    refused(path, f"{KERNEL}: expected 4398046511104 numbers, but the file does not have them")
    changed(path, KERNEL)
    with h5py.File(path, "r+") as file:
        file.create_dataset(f"{KERNEL}_int8", (2**62 + 6, 4), np.int8)  # 24, modulo 2**64
    refused(path, f"{KERNEL}: expected 18446744073709551640 numbers, but the file does not")
    changed(path, f"{KERNEL}_int8")
    with h5py.File(path, "r+") as file:
        file.create_dataset(KERNEL, (24,), np.float32)
    elsewhere = tmp_path / "secret"
    elsewhere.write_bytes(bytes(96))
    changed(path, KERNEL, shape=(24,), dtype=np.float32, external=[(str(elsewhere), 0, 96)])
    refused(path, f"{KERNEL}: its numbers are not in one piece")


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("other.hdf5", "/x"), h5py.SoftLink("/encoder_stack/1")], ids=str
)
def test_links_are_not_followed(path, tmp_path, link):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file.create_group("x")
    with h5py.File(path, "r+") as file:
        del file["encoder_stack/0"]
        file["encoder_stack/0"] = link
    refused(path, "encoder_stack/0: is a link to elsewhere")


def test_truncated_files(path):
    data = path.read_bytes()
    for length in [*range(1, 200, 40), *range(200, len(data), 997)]:
        path.write_bytes(data[:length])
        refused(path, str(path))


def test_files_that_are_none(path):
    path.write_bytes(b"no HDF5")
    refused(path, "it is no HDF5 file that can be read")
    path.write_bytes(b"")
    refused(path, "the file is empty")


def test_precisions_that_contradict_each_other(path):
    with h5py.File(path, "r+") as file:
        file[f"{KERNEL}_bfloat16"] = np.zeros(24, np.uint16)
    refused(path, f"{KERNEL}: comes in more than one precision")
    with h5py.File(path, "r+") as file:
        del file[f"{KERNEL}_bfloat16"]
        file[f"{KERNEL}_int8_scales"] = np.zeros(6, np.float32)
    refused(path, f"{KERNEL}: has scales, but no numbers in int8")
