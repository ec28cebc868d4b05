"""Protocol Buffers' wire format, as far as messages of numbers need it.

https://protobuf.dev/programming-guides/encoding. Reading walks over a buffer and copies nothing of
it; generated classes would make a Python object of the whole file.
"""

from __future__ import annotations

from typing import NamedTuple, Union

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_NAMES = {
    VARINT: "a varint",
    FIXED64: "8 bytes",
    BYTES: "a length and bytes",
    3: "a group",
    4: "the end of a group",
    FIXED32: "4 bytes",
}
_LONGEST_VARINT = 10

Buffer = Union[bytes, memoryview]


class WireError(ValueError):
    """Bytes that are no message."""


class Entry(NamedTuple):
    """A field as it stands in a message."""

    number: int
    wire_type: int
    value: int
    """Of a varint; otherwise 0."""
    key: int
    start: int
    end: int
    """Where its key, and the bytes behind key and length, are in the buffer."""


def name_of(wire_type: int) -> str:
    """What messages of errors call a wire type."""
    return _NAMES.get(wire_type, f"the wire type {wire_type}")


def entry_at(data: Buffer, place: int, end: int) -> Entry:
    """Returns the field at a place of a message that ends at `end`.

    Raises:
        WireError: there is none, or it is a group.
    """
    key = place
    tag, place = _varint(data, place, end)
    number, wire_type = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise WireError(f"the field number {number} at byte {key} is none")
    if wire_type == VARINT:
        value, behind = _varint(data, place, end)
        return Entry(number, wire_type, value, key, place, behind)
    if wire_type == BYTES:
        length, place = _varint(data, place, end)
    elif wire_type in (FIXED32, FIXED64):
        length = 4 if wire_type == FIXED32 else 8
    else:
        raise WireError(f"{name_of(wire_type)} at byte {key} cannot be read")
    if length > end - place:
        raise WireError(
            f"field {number} at byte {key} has {length} bytes, but only {end - place} are left"
        )
    return Entry(number, wire_type, 0, key, place, place + length)


def run_of_fixed32(data: Buffer, first: Entry, end: int) -> int:
    """Returns how many times a 4-byte field stands in a row, from its first entry on.

    Numbers that are not packed stand like this.
    """
    key_length = first.start - first.key
    stride = key_length + 4
    most = (end - first.key) // stride
    rows = np.frombuffer(data, np.uint8, most * stride, first.key).reshape(most, stride)
    count, block = 1, 16
    while count < most:
        same = (rows[count : count + block, :key_length] == rows[0, :key_length]).all(axis=1)
        if not same.all():
            return count + int(same.argmin())
        count += len(same)
        block = min(2 * block, 1 << 16)
    return count


def encode_varint(value: int) -> bytes:
    """Returns an integer of 64 bits, negative ones as their two's complement."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_key(number: int, wire_type: int) -> bytes:
    return encode_varint(number << 3 | wire_type)


def encode_header(number: int, length: int) -> bytes:
    """Returns what stands in front of a field of so many bytes."""
    return encode_key(number, BYTES) + encode_varint(length)


def _varint(data: Buffer, place: int, end: int) -> tuple[int, int]:
    """The integer at a place, of 64 bits, and the place behind it."""
    value = 0
    for i, byte in enumerate(data[place : min(end, place + _LONGEST_VARINT)]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value & (1 << 64) - 1, place + i + 1
    raise WireError(f"the integer at byte {place} does not end")
