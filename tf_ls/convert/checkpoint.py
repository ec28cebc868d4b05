"""The weights of a checkpoint by their names, read when they are asked for."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np

from tf_ls.convert.error import ConversionError

StrPath = Union[str, os.PathLike]

# What a folder may have, in the order of preference: SafeTensors need no PyTorch.
_FILES = ("model.safetensors", "pytorch_model.bin")
_SAFETENSORS, _PYTORCH = ".safetensors", (".bin", ".pt", ".pth")


class Checkpoint(Mapping[str, np.ndarray]):
    """Arrays by their names. Those of numbers are float32, whatever the file has.

    Nothing is kept: who reads an array twice reads the file twice.
    """

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]):
        """Makes one of functions that return an array each."""
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._readers[name]()
        if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
            return array.astype(np.float32, copy=False)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def open_folder(folder: StrPath) -> Checkpoint:
    """Opens the checkpoint of a folder of Hugging Face's.

    That is model.safetensors or, where there is none, pytorch_model.bin; or several such files,
    which model.safetensors.index.json or pytorch_model.bin.index.json names.

    Raises:
        FileNotFoundError: there is none of them.
        ConversionError, ImportError: as for `open_file`.
    """
    folder = Path(folder)
    for name in _FILES:
        if (folder / name).is_file():
            return open_file(folder / name)
        if (folder / f"{name}.index.json").is_file():
            return _open_shards(folder / f"{name}.index.json")
    raise FileNotFoundError(f"{folder} has none of {', '.join(_FILES)}")


def open_file(path: StrPath) -> Checkpoint:
    """Opens one file of weights: .safetensors, or PyTorch's .bin, .pt or .pth.

    Raises:
        FileNotFoundError: there is none.
        ConversionError: the file is damaged, or has something else than weights.
        ImportError: the library that reads it is not installed.
    """
    path = Path(path)
    if path.suffix == _SAFETENSORS:
        return _open_safetensors(path)
    if path.suffix in _PYTORCH:
        return of_tensors(load_pytorch(path), path)
    endings = ", ".join((_SAFETENSORS, *_PYTORCH))
    raise ValueError(f"expected a file of weights ({endings}), got {path}")


def write_safetensors(weights: Mapping[str, np.ndarray], path: StrPath) -> None:
    """Writes weights as PyTorch's users expect them."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(arrays, path, metadata={"format": "pt"})


def load_pytorch(path: StrPath, safe: Sequence[type] = ()) -> Any:
    """Returns what torch.save has written: tensors mapped, and nothing but plain data with them.

    Args:
        path: of the file.
        safe: classes of which there may be objects, too.

    Raises:
        FileNotFoundError: there is none.
        ConversionError: the file is damaged, or has other objects.
        ImportError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} is PyTorch's: install torch to read it, or save it as SafeTensors"
        ) from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    # Files of before PyTorch 1.6 are no archives, which alone can be mapped.
    is_archive = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(list(safe)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # pickle's, zip's and PyTorch's own, of many types
        raise ConversionError(f"{path} cannot be read by PyTorch: {error}") from error


def of_tensors(tensors: Any, source: StrPath) -> Checkpoint:
    """Returns a checkpoint of PyTorch's tensors by their names.

    Raises:
        ConversionError: there is something else among them.
    """
    import torch

    if not isinstance(tensors, Mapping):
        raise ConversionError(
            f"{source}: expected tensors by their names, got {type(tensors).__name__}"
        )
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ConversionError(f"{source}: {name!r} is no tensor, but {type(tensor).__name__}")

    def reader(tensor: torch.Tensor) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            wide = tensor.float() if tensor.is_floating_point() else tensor
            return wide.detach().contiguous().numpy()

        return read

    return Checkpoint({name: reader(tensor) for name, tensor in tensors.items()})


def _open_safetensors(path: Path) -> Checkpoint:
    try:
        import ml_dtypes  # noqa: F401, by which NumPy knows bfloat16
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(f"{path}: install safetensors to read it, tf_ls[convert]") from error
    try:
        file = safe_open(path, framework="np")
    except SafetensorError as error:
        raise ConversionError(f"{path} cannot be read: {error}") from error

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            try:
                return file.get_tensor(name)
            except (AttributeError, KeyError, TypeError) as error:
                dtype = file.get_slice(name).get_dtype()
                raise ConversionError(f"{path}: {name} has numbers of {dtype}: {error}") from error

        return read

    return Checkpoint({name: reader(name) for name in file.keys()})  # noqa: SIM118


def _open_shards(index: Path) -> Checkpoint:
    try:
        files_of = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{index}: expected JSON with the files of weights under weight_map: {error}"
        ) from error
    checkpoints = {}
    for name in set(files_of.values()):
        if Path(name).name != name:
            raise ConversionError(f"{index}: {name} is no file of its folder")
        checkpoints[name] = open_file(index.parent / name)
    readers = {}
    for weight, name in files_of.items():
        if weight not in checkpoints[name]:
            raise ConversionError(f"{index}: {name} does not have {weight}")
        readers[weight] = lambda weight=weight, name=name: checkpoints[name][weight]
    return Checkpoint(readers)
