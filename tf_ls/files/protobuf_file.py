"""Model files in Protocol Buffers: a walk over the mapped file, and a stream that is written.

float32 is as LightSeq's definitions have it. tf_ls's own precisions are fields of higher numbers,
which LightSeq skips (and then misses the numbers): see `definitions`.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Union

import numpy as np

from tf_ls.files import precision, wire
from tf_ls.files.conversion import Shapes, converted, precision_of
from tf_ls.files.definitions import (
    BFLOAT16,
    COLUMNS,
    FLOAT16,
    INT8,
    INT8_SCALES,
    SETTINGS,
    Family,
    Part,
    Setting,
    family_of,
)
from tf_ls.files.file_map import map_file, replace_file
from tf_ls.files.model import InvalidModelFile, Model, Numbers, as_matrix

# A message's length is a signed integer of 32 bits in most implementations.
LARGEST_FILE = 2**31 - 1

# So that a small file of countless empty fields costs no more than its size suggests.
_MOST_ENTRIES = 100_000
_MOST_PIECES = 1024

_PRECISIONS = {FLOAT16: "float16", BFLOAT16: "bfloat16", INT8: "int8"}
_OFFSETS = {stored_as: offset for offset, stored_as in _PRECISIONS.items()}


def read(path: Union[str, os.PathLike], family: str) -> Model:
    """Reads all but the numbers, which are read when they are looked at.

    Raises:
        FileNotFoundError: there is no file.
        InvalidModelFile: it is no model of the family.
    """
    data = map_file(path)
    if len(data) > LARGEST_FILE:
        raise InvalidModelFile(f"{len(data)} bytes are more than Protocol Buffers can have, 2 GB")
    return _Reader(data, family_of(family)).read()


class _Reader:
    """Reads one file."""

    def __init__(self, data: memoryview, family: Family):
        self._data = data
        self._family = family
        self._entries = 0
        self._pieces: dict[tuple[str, int], list[np.ndarray]] = {}

    def read(self) -> Model:
        model = Model(self._family.name)
        parts = {part.number: (name, part) for name, part in self._family.parts.items()}
        layers = dict.fromkeys(self._family.stacks, 0)
        for entry in self._walk(self._family.name, 0, len(self._data)):
            if entry.number == self._family.settings_number:
                self._expect(entry, wire.BYTES, SETTINGS)
                self._read_settings(entry, model)
            elif entry.number in parts:
                name, part = parts[entry.number]
                self._expect(entry, wire.BYTES, name)
                if part.repeated:
                    layers[name] += 1
                    name = f"{name}/{layers[name] - 1}"
                    # A layer without a field is one whose fields are missing.
                    model.weights[f"{name}/{next(iter(part.fields))}"] = Numbers("float32", [])
                self._read_part(entry, name, part)
        model.weights.update(self._numbers())
        return model

    def _walk(self, name: str, start: int, end: int) -> Iterator[wire.Entry]:
        """The fields of a message."""
        while start < end:
            entry = self._entry_at(name, start, end)
            yield entry
            start = entry.end

    def _entry_at(self, name: str, place: int, end: int) -> wire.Entry:
        self._entries += 1
        if self._entries > _MOST_ENTRIES:
            raise InvalidModelFile(f"{name}: more than {_MOST_ENTRIES} fields")
        try:
            return wire.entry_at(self._data, place, end)
        except wire.WireError as error:
            raise InvalidModelFile(f"{name}: {error}") from error

    def _read_settings(self, message: wire.Entry, model: Model) -> None:
        settings = {s.number: (name, s) for name, s in self._family.settings.items()}
        for entry in self._walk(SETTINGS, message.start, message.end):
            if entry.number in settings:
                name, setting = settings[entry.number]
                model.settings[name] = self._value(entry, f"{SETTINGS}/{name}", setting)

    def _value(self, entry: wire.Entry, name: str, setting: Setting) -> Any:
        data = self._data[entry.start : entry.end]
        if setting.kind == "float":
            self._expect(entry, wire.FIXED32, name)
            return struct.unpack("<f", data)[0]
        if setting.kind == "string":
            self._expect(entry, wire.BYTES, name)
            if len(data) > setting.longest:
                raise InvalidModelFile(f"{name}: {len(data)} bytes are too long a string")
            try:
                return bytes(data).decode()
            except UnicodeDecodeError as error:
                raise InvalidModelFile(f"{name}: {bytes(data)!r} is no UTF-8") from error
        self._expect(entry, wire.VARINT, name)
        if setting.kind == "bool":
            return entry.value != 0
        value = entry.value - (1 << 64) if entry.value >> 63 else entry.value
        if not -(2**31) <= value < 2**31:
            raise InvalidModelFile(f"{name}: {value} is no 32-bit integer")
        return value

    def _read_part(self, message: wire.Entry, part_name: str, part: Part) -> None:
        fields = {field.number: name for name, field in part.fields.items()}
        place = message.start
        while place < message.end:
            entry = self._entry_at(part_name, place, message.end)
            place = entry.end
            offset, number = entry.number // 1000 * 1000, entry.number % 1000
            if number not in fields or offset not in (0, *_PRECISIONS, INT8_SCALES):
                continue
            name = f"{part_name}/{fields[number]}"
            dtype = precision.STORED[_PRECISIONS.get(offset, "float32")]
            if entry.wire_type == wire.FIXED32 and offset not in _PRECISIONS:
                # Not packed, which is as good.
                count = wire.run_of_fixed32(self._data, entry, message.end)
                stride = entry.end - entry.key
                place = entry.key + count * stride
                piece = np.ndarray(count, dtype, self._data, entry.start, stride)
            else:
                self._expect(entry, wire.BYTES, name)
                piece = self._packed(entry, name, dtype)
            if piece.size:
                pieces = self._pieces.setdefault((name, offset), [])
                pieces.append(piece)
                if len(pieces) > _MOST_PIECES:
                    raise InvalidModelFile(f"{name}: in more than {_MOST_PIECES} pieces")

    def _packed(self, entry: wire.Entry, name: str, dtype: np.dtype) -> np.ndarray:
        length, size = entry.end - entry.start, dtype.itemsize
        if length % size:
            raise InvalidModelFile(f"{name}: {length} bytes are no multiple of {size}, a number's")
        return np.ndarray(length // size, dtype, self._data, entry.start)

    def _numbers(self) -> Iterator[tuple[str, Numbers]]:
        """What was found, by name."""
        for (name, offset), pieces in self._pieces.items():
            scales = self._pieces.get((name, INT8_SCALES), [])
            if offset == INT8_SCALES:
                if (name, INT8) not in self._pieces:
                    raise InvalidModelFile(f"{name}: has scales, but no numbers in int8")
                continue
            others = [o for o in (0, *_PRECISIONS) if o != offset and (name, o) in self._pieces]
            if others:
                raise InvalidModelFile(f"{name}: comes in more than one precision")
            stored_as = _PRECISIONS.get(offset, "float32")
            yield name, Numbers(stored_as, pieces, scales)

    def _expect(self, entry: wire.Entry, wire_type: int, name: str) -> None:
        if entry.wire_type != wire_type:
            raise InvalidModelFile(
                f"{name}: expected {wire.name_of(wire_type)}, got {wire.name_of(entry.wire_type)}"
            )


class _Chunk(NamedTuple):
    """Bytes of a file, of a length that is known before they are made."""

    length: int
    make: Callable[[], Iterable[Union[bytes, memoryview]]]


def size(model: Model, wanted: Optional[str] = None) -> int:
    """Returns how many bytes the file of a model has; arguments as those of `write`."""
    return sum(chunk.length for chunk in _chunks(model, wanted, model.shapes()))


def write(model: Model, path: Union[str, os.PathLike], wanted: Optional[str] = None) -> None:
    """Writes a model; of its numbers one field is in memory at a time.

    Args:
        model: one that passes its `check`.
        path: of the file.
        wanted: as for `conversion.precision_of`.

    Raises:
        InvalidModelFile: the file would be larger than `LARGEST_FILE`; numbers that are infinite,
            NaN, or too large for the precision.
    """
    chunks = list(_chunks(model, wanted, model.shapes()))
    length = sum(chunk.length for chunk in chunks)
    if length > LARGEST_FILE:
        raise InvalidModelFile(
            f"{length} bytes are more than Protocol Buffers can have ({LARGEST_FILE}): write HDF5"
        )

    def write_chunks(partial: Path) -> None:
        with open(partial, "wb") as file:
            for chunk in chunks:
                for data in chunk.make():
                    file.write(data)

    replace_file(path, write_chunks)


def _chunks(model: Model, wanted: Optional[str], shapes: Shapes) -> Iterator[_Chunk]:
    """The file, in the order of field numbers, as other implementations write it."""
    messages: list[tuple[int, list[_Chunk]]] = [
        (model.family.settings_number, [_bytes(_settings(model))])
    ]
    for name, part in model.family.parts.items():
        layers = [f"{name}/{i}" for i in range(model.layers(name))]
        for place in layers if part.repeated else [name]:
            fields: list[tuple[int, _Chunk]] = []
            for field, definition in part.fields.items():
                if f"{place}/{field}" in shapes:
                    fields += _fields(model, f"{place}/{field}", definition.number, wanted, shapes)
            fields.sort(key=lambda numbered: numbered[0])
            if fields or not part.optional:
                messages.append((part.number, [chunk for _, chunk in fields]))
    for number, chunks in sorted(messages, key=lambda message: message[0]):
        yield _bytes(wire.encode_header(number, sum(chunk.length for chunk in chunks)))
        yield from chunks


def _fields(
    model: Model, name: str, number: int, wanted: Optional[str], shapes: Shapes
) -> Iterator[tuple[int, _Chunk]]:
    """The numbers of a field, and their scales, with their field numbers."""
    stored_as = precision_of(model, name, wanted)
    count = math.prod(shapes[name])
    own_number = number + _OFFSETS.get(stored_as, 0)

    def numbers() -> list:
        return converted(model, name, stored_as, shapes).pieces

    yield own_number, _field(own_number, count * precision.STORED[stored_as].itemsize, numbers)
    if stored_as == "int8":
        rows, columns = as_matrix(shapes[name])
        count = columns if model.field(name).scales == COLUMNS else rows
        own_number = number + INT8_SCALES

        def scales() -> list:
            return converted(model, name, stored_as, shapes).scales

        yield own_number, _field(own_number, 4 * count, scales)


def _field(number: int, length: int, pieces: Callable[[], Sequence[np.ndarray]]) -> _Chunk:
    header = wire.encode_header(number, length)

    def make() -> Iterator[Union[bytes, memoryview]]:
        yield header
        for piece in pieces():
            yield memoryview(np.ascontiguousarray(piece)).cast("B")

    return _Chunk(len(header) + length, make)


def _bytes(data: bytes) -> _Chunk:
    return _Chunk(len(data), lambda: [data])


def _settings(model: Model) -> bytes:
    """The message of settings; as other implementations do, it leaves out what is 0 or empty."""
    encoded = b""
    for name, setting in sorted(model.family.settings.items(), key=lambda item: item[1].number):
        value = model.settings.get(name)
        if not value:
            continue
        if setting.kind == "float":
            encoded += wire.encode_key(setting.number, wire.FIXED32) + struct.pack("<f", value)
        elif setting.kind == "string":
            text = value.encode()
            encoded += wire.encode_header(setting.number, len(text)) + text
        else:
            encoded += wire.encode_key(setting.number, wire.VARINT) + wire.encode_varint(int(value))
    return encoded
