"""Lance tables with a manifest that says what no honest writer says."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

FRAGMENTS, BASE_PATHS = 2, 18
FILES = 2

Fields = list[tuple[int, int | bytes]]


def varint(value: int) -> bytes:
    parts = []
    while True:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def encode(fields: Fields) -> bytes:
    """Write a protobuf message: numbers as varints, bytes with their length."""
    written = b""
    for number, value in fields:
        if isinstance(value, int):
            written += varint(number << 3) + varint(value)
        else:
            written += varint(number << 3 | 2) + varint(len(value)) + value
    return written


def decode(message: bytes) -> Fields:
    return list(_fields(message))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            assert tag & 7 == 2
            size = number()
            yield tag >> 3, message[position : position + size]
            position += size


def manifest_of(table: Path) -> Path:
    return next(table.glob("_versions/*.manifest"))


def message_of(table: Path) -> bytes:
    data = manifest_of(table).read_bytes()
    (position,) = struct.unpack_from("<Q", data, len(data) - 16)
    (size,) = struct.unpack_from("<I", data, position)
    return data[position + 4 : position + 4 + size]


def manifest_file(message: bytes) -> bytes:
    return struct.pack("<I", len(message)) + message + struct.pack("<QHH", 0, 0, 2) + b"LANC"


def change_manifest(table: Path, change: Callable[[Fields], Fields]) -> None:
    """Write a table's manifest anew, its fields changed."""
    manifest_of(table).write_bytes(manifest_file(encode(change(decode(message_of(table))))))


def change_fragment(table: Path, change: Callable[[Fields], Fields]) -> None:
    """Change each fragment of a manifest."""

    def changed(fields: Fields) -> Fields:
        return [
            (number, encode(change(decode(value))))
            if number == FRAGMENTS and isinstance(value, bytes)
            else (number, value)
            for number, value in fields
        ]

    change_manifest(table, changed)


def change_data_file(table: Path, change: Callable[[Fields], Fields]) -> None:
    """Change each data file of each fragment of a manifest."""

    def changed(fields: Fields) -> Fields:
        return [
            (number, encode(change(decode(value))))
            if number == FILES and isinstance(value, bytes)
            else (number, value)
            for number, value in fields
        ]

    change_fragment(table, changed)


def renamed(fields: Fields, path: bytes) -> Fields:
    return [(1, path), *(pair for pair in fields if pair[0] != 1)]
