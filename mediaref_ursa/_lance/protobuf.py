"""Messages of Protocol Buffers taken apart field by field, with bounds. Pure.

Lance keeps its manifests and the descriptions of its pages as such messages. Only a few fields of them are of
interest, and the bytes are data from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LAST = 2**64 - 1

Value: TypeAlias = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field of a message; 0 stands for numbers of a fixed size.

    Raises:
        ValueError: It is no message, or is cut short.

    >>> list(fields(memoryview(bytes([8, 150, 1]))))
    [(1, 150)]
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        value: Value
        if kind == _VARINT:
            value, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):  # none of those that are read
            value = 0
            position += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, position = _varint(message, position)
            value = message[position : position + size]
            position += size
        else:
            raise ValueError(f"a message with a field of the kind {kind}")
        if position > len(message) or not number:
            raise ValueError("a message that is cut short")
        yield number, value


def numbers(value: Value) -> list[int]:
    """Return the numbers of a repeated field, which are packed or stand alone.

    Raises:
        ValueError: They are cut short.

    >>> numbers(memoryview(bytes([8, 150, 1]))), numbers(7)
    ([8, 150], [7])
    """
    if isinstance(value, int):
        return [value]
    found, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        found.append(number)
    return found


def whole_number(value: Value) -> int:
    """Return the value of a field that is a number.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int):
        raise ValueError("a message with a number that is none")
    return value


def message_of(value: Value) -> memoryview:
    """Return the value of a field that is a message, or bytes.

    Raises:
        ValueError: It is a number.
    """
    if isinstance(value, int):
        raise ValueError("a message with a message that is none")
    return value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    if position < len(message) and message[position] < 0x80:  # nearly all of them
        return message[position], position + 1
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _LAST, position
    raise ValueError("a message that is cut short")
