"""Model files in HDF5.

float32 and float16 are datasets of these types, which HDF5 converts for whoever reads them. The
other precisions, of which it would make wrong numbers, have names of their own:
FIELD_bfloat16 (uint16, the upper half of float32's bits), FIELD_int8 and FIELD_int8_scales.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

import h5py
import numpy as np

from tf_ls.files import precision
from tf_ls.files.conversion import converted, precision_of
from tf_ls.files.definitions import (
    FIRST_OWN_NUMBER,
    LAYER_COUNT,
    SETTINGS,
    Family,
    Part,
    Setting,
    family_of,
)
from tf_ls.files.file_map import map_file, replace_file
from tf_ls.files.model import InvalidModelFile, Model, Numbers

_SUFFIXES = {"bfloat16": "_bfloat16", "int8": "_int8"}
_SCALES = "_int8_scales"

# What h5py raises for files that are not as the library expects.
_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def read(path: Union[str, os.PathLike], family: str) -> Model:
    """Reads all but the numbers, which are read from a map of the file when they are looked at.

    Raises:
        FileNotFoundError: there is no file.
        InvalidModelFile: it is no model of the family.
    """
    data = map_file(path)
    try:
        with h5py.File(path, "r") as file:
            return _Reader(file, data, family_of(family)).read()
    except InvalidModelFile:
        raise
    except _ERRORS as error:
        raise InvalidModelFile(f"it is no HDF5 file that can be read: {error}") from error


class _Reader:
    """Reads one file."""

    def __init__(self, file: h5py.File, data: memoryview, family: Family):
        self._file = file
        self._data = data
        self._family = family

    def read(self) -> Model:
        model = Model(self._family.name)
        settings = self._group(self._file, SETTINGS)
        if settings is None:
            raise InvalidModelFile(f"{SETTINGS} is missing")
        for name, setting in self._family.settings.items():
            dataset = self._dataset(settings, name)
            if dataset is not None:
                model.settings[name] = _value(dataset, f"{SETTINGS}/{name}", setting)
        for name, part in self._family.parts.items():
            group = self._group(self._file, name)
            if group is None:
                continue  # what must be there is missed later, by the name of a field
            if part.repeated:
                model.weights.update(self._stack(settings, group, name, part))
            else:
                model.weights.update(self._part(group, name, part))
        return model

    def _stack(
        self, settings: h5py.Group, stack: h5py.Group, name: str, part: Part
    ) -> Iterator[tuple[str, Numbers]]:
        counted = f"n_{name}"
        dataset = self._dataset(settings, counted)
        if dataset is None:
            raise InvalidModelFile(f"{SETTINGS}/{counted} is missing")
        layers = _value(dataset, f"{SETTINGS}/{counted}", LAYER_COUNT)
        if layers != len(stack):
            raise InvalidModelFile(
                f"{SETTINGS}/{counted}: says {layers} layers, but {name} has {len(stack)}"
            )
        for i in range(layers):
            layer = self._group(stack, str(i))
            if layer is None:
                raise InvalidModelFile(f"{name}/{i} is missing")
            # A layer without a field is one whose fields are missing.
            yield f"{name}/{i}/{next(iter(part.fields))}", Numbers("float32", [])
            yield from self._part(layer, f"{name}/{i}", part)

    def _part(self, group: h5py.Group, place: str, part: Part) -> Iterator[tuple[str, Numbers]]:
        for field in part.fields:
            found = {}
            for stored_as, suffix in (("", ""), *_SUFFIXES.items()):
                dataset = self._dataset(group, field + suffix)
                if dataset is not None:
                    found[stored_as] = dataset
            scales = self._dataset(group, field + _SCALES)
            name = f"{place}/{field}"
            if len(found) > 1:
                raise InvalidModelFile(f"{name}: comes in more than one precision")
            if scales is not None and "int8" not in found:
                raise InvalidModelFile(f"{name}: has scales, but no numbers in int8")
            for stored_as, dataset in found.items():
                numbers = self._numbers(dataset, name, stored_as)
                if scales is not None:
                    steps = self._numbers(scales, f"{name} (scales)", "float32")
                    numbers = numbers._replace(scales=steps.pieces)
                yield name, numbers

    def _numbers(self, dataset: h5py.Dataset, name: str, stored_as: str) -> Numbers:
        """The numbers of a dataset, where they are in the file."""
        dtype = dataset.dtype
        plain = ("float64", "float32", "float16")
        expected = {precision.STORED[n]: n for n in ([stored_as] if stored_as else plain)}
        if dtype not in expected:
            names = " or ".join(str(d) for d in expected)
            raise InvalidModelFile(f"{name}: expected numbers of {names}, got {dtype}")
        count = _count(dataset)
        if not count:
            return Numbers(expected[dtype], [])
        length = count * dtype.itemsize
        if dataset.is_virtual or dataset.external or dataset.chunks is not None:
            raise InvalidModelFile(f"{name}: its numbers are not in one piece in the file")
        offset, stored = dataset.id.get_offset(), dataset.id.get_storage_size()
        if offset is None or stored != length or offset + length > len(self._data):
            raise InvalidModelFile(
                f"{name}: expected {count} numbers, but the file does not have them"
            )
        numbers = np.ndarray(count, dtype, self._data, offset)
        return Numbers(expected[dtype], [numbers])

    def _group(self, parent: h5py.Group, name: str) -> Optional[h5py.Group]:
        return self._member(parent, name, h5py.Group, "a group")

    def _dataset(self, parent: h5py.Group, name: str) -> Optional[h5py.Dataset]:
        return self._member(parent, name, h5py.Dataset, "a dataset")

    def _member(self, parent: h5py.Group, name: str, kind: type, expected: str) -> Any:
        """What a group has under a name. Links to other files are not followed."""
        if name not in parent:
            return None
        if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
            raise InvalidModelFile(f"{parent.name.strip('/')}/{name}: is a link to elsewhere")
        member = parent[name]
        if not isinstance(member, kind):
            raise InvalidModelFile(f"{parent.name.strip('/')}/{name}: expected {expected}")
        return member


def _count(dataset: h5py.Dataset) -> int:
    """How many numbers a dataset says it has; `size` of h5py is of 64 bits and overflows."""
    return 0 if dataset.shape is None else math.prod(dataset.shape)


def _value(dataset: h5py.Dataset, name: str, setting: Setting) -> Any:
    """A setting."""
    if dataset.external or dataset.is_virtual:
        raise InvalidModelFile(f"{name}: is in another file")
    if setting.kind == "string":
        return _string(dataset, name, setting.longest)
    kinds = {"float": "fiu", "int32": "iu", "bool": "biu"}[setting.kind]
    if _count(dataset) != 1 or dataset.dtype.kind not in kinds:
        raise InvalidModelFile(
            f"{name}: expected one {setting.kind}, got {_count(dataset)} of {dataset.dtype}"
        )
    value = np.asarray(dataset[()]).reshape(()).item()
    return {"float": float, "int32": int, "bool": bool}[setting.kind](value)


def _string(dataset: h5py.Dataset, name: str, longest: int) -> str:
    """Text: the codes of its characters, as LightSeq has it."""
    count = _count(dataset)
    if dataset.dtype.kind not in "iu" or count > longest:
        raise InvalidModelFile(
            f"{name}: expected at most {longest} codes of characters, got {count} of"
            f" {dataset.dtype}"
        )
    codes = np.asarray(dataset[()]).ravel().tolist() if count else []
    if not all(0 < code < 128 for code in codes):
        raise InvalidModelFile(f"{name}: {codes} are no codes of ASCII")
    return bytes(codes).decode()


def write(model: Model, path: Union[str, os.PathLike], wanted: Optional[str] = None) -> None:
    """Writes a model; of its numbers one field is in memory at a time.

    Args:
        model: one that passes its `check`.
        path: of the file.
        wanted: as for `conversion.precision_of`.

    Raises:
        InvalidModelFile: numbers that are infinite, NaN, or too large for the precision.
    """

    def write_all(partial: Path) -> None:
        with h5py.File(partial, "w") as file:
            put_model(file, model, wanted)

    replace_file(path, write_all)


def put_model(file: h5py.File, model: Model, wanted: Optional[str] = None) -> None:
    """Puts a model into an open file."""
    for name in model.family.settings:
        # Every reader of LightSeq's looks for all of its own.
        if model.settings.get(name) or model.family.settings[name].number < FIRST_OWN_NUMBER:
            put_setting(file, model.family, name, model.settings.get(name))
    for stack in model.family.stacks:
        put_count(file, stack, model.layers(stack))
    shapes = model.shapes()
    for name in shapes:
        stored_as = precision_of(model, name, wanted)
        put_numbers(file, name, converted(model, name, stored_as, shapes))


def put_setting(file: h5py.File, family: Family, name: str, value: Any) -> None:
    """Sets a setting; None is 0, False or empty."""
    kind = family.settings[name].kind
    data: Any
    if kind == "string":
        data = np.frombuffer((value or "").encode("ascii"), np.int8)
    else:
        data = {"float": np.float32, "int32": np.int32, "bool": np.bool_}[kind](value or 0)
    _put(file, f"{SETTINGS}/{name}", data)


def put_count(file: h5py.File, stack: str, layers: int) -> None:
    """Sets how many layers a stack has."""
    _put(file, f"{SETTINGS}/n_{stack}", np.int32(layers))


def put_numbers(file: h5py.File, name: str, numbers: Numbers) -> None:
    """Sets the numbers of a field."""
    (flat,) = numbers.pieces or [np.zeros(0, precision.STORED[numbers.precision])]
    _put(file, name + _SUFFIXES.get(numbers.precision, ""), flat)
    if numbers.precision == "int8":
        _put(file, name + _SCALES, numbers.scales[0])


def _put(file: h5py.File, name: str, data: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, data=data)
