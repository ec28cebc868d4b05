"""Reads gettext catalogues, compiled (.mo) or not (.po)."""

import ast
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional


class Entry(NamedTuple):
    """One translated string without plural forms."""

    context: str
    source: str
    target: str


def read_catalogue(path: Path) -> list[Entry]:
    """The entries of a catalogue, header and plural forms left out.

    Raises:
      ValueError: the file is no catalogue, or not in the encoding that it claims.
    """
    data = path.read_bytes()
    return list(_read_mo(data) if path.suffix in (".mo", ".gmo") else _read_po(data))


def _read_mo(data: bytes) -> Iterator[Entry]:
    for order in "<>":
        if data[:4] == struct.pack(f"{order}I", 0x950412DE):
            break
    else:
        raise ValueError("no compiled catalogue")
    try:
        count, source_table, target_table = struct.unpack_from(f"{order}3I", data, 8)
        pairs = []
        for i in range(count):
            pair = []
            for table in (source_table, target_table):
                length, start = struct.unpack_from(f"{order}2I", data, table + 8 * i)
                if start + length > len(data):
                    raise ValueError("the catalogue is cut off")
                pair.append(data[start : start + length])
            pairs.append(pair)
    except struct.error as error:
        raise ValueError("the catalogue is cut off") from error
    charset = _charset(dict(pairs).get(b"", b""))
    for source, target in pairs:
        if source and target and b"\0" not in source:
            context, _, text = source.decode(charset).rpartition("\x04")
            yield Entry(context, text, target.decode(charset))


def _charset(header: bytes) -> str:
    match = re.search(rb"charset=([-\w]+)", header)
    name = match.group(1).decode("ascii") if match else "utf-8"
    try:
        "".encode(name)
    except LookupError:
        name = "utf-8"
    return name


PO_LINE = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)\s*)?(".*")\s*$')


def _read_po(data: bytes) -> Iterator[Entry]:
    text = data.decode(_charset(data))
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        fields = _po_fields(block)
        if fields and "msgid_plural" not in fields and fields.get("msgid") and fields.get("msgstr"):
            yield Entry(fields.get("msgctxt", ""), fields["msgid"], fields["msgstr"])


def _po_fields(block: str) -> Optional[dict[str, str]]:
    """The strings of one entry by keyword; None if the entry is marked as doubtful."""
    fields: dict[str, str] = {}
    keyword = None
    for line in block.splitlines():
        line = line.strip()
        if line.startswith("#"):
            if line.startswith("#,") and "fuzzy" in line:
                return None
            continue
        match = PO_LINE.match(line)
        if not match:
            continue
        keyword = match.group(1) or keyword
        if keyword is not None:
            fields[keyword] = fields.get(keyword, "") + _unquote(match.group(2))
    return fields


def _unquote(quoted: str) -> str:
    try:
        return ast.literal_eval(quoted)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"not a quoted string: {quoted}") from error
