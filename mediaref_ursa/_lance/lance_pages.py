"""The lengths that compressed pages of a Lance data file claim, read before Lance decompresses any. Pure.

A compressed buffer begins with the length that it has when it is decompressed, and Lance takes that much
memory at once. A flipped bit there asks for terabytes, which ends the process; a zstd frame of some bytes
that says so is a bomb. So the lengths are added up first. A file that is compressed in another way than
indexes are is an error here, and may be read by a process that has a limit on its memory.

The file ends with a footer that leads to one message for each column, ``ColumnMetadata`` of Lance's
``protos/file2.proto``; it has the pages, whose layouts are ``PageLayout`` of ``protos/encodings_v2_1.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mediaref_ursa._lance.protobuf import Value, fields, message_of, numbers, whole_number

_FOOTER = struct.Struct("<QQQIIHH4s")
_SPAN = struct.Struct("<QQ")
_MAGIC = b"LANC"
_FIRST_VERSION = (2, 1)  # of those with such pages; 2.0 calls itself 0.3 within files
_LAST_VERSION = (2, 2)
_MAX_COLUMNS = 1024

# Field numbers of ColumnMetadata, Page, Encoding and Any.
_COLUMN_ENCODING, _PAGES = 1, 2
_OFFSETS, _SIZES, _PAGE_ENCODING = 1, 2, 4
_DIRECT, _DIRECT_BYTES, _ANY_VALUE = 2, 1, 2
_PLAIN_COLUMN = b"\x0a\x00"  # ColumnEncoding with nothing but values
# Of PageLayout, and of its layouts.
_MINI_BLOCK, _CONSTANT, _FULL_ZIP = 1, 2, 3
_REPETITION, _DEFINITION, _VALUES, _DICTIONARY, _LAYERS, _LARGE_CHUNKS = 1, 2, 3, 4, 6, 10
_CONSTANT_LEVELS, _ZIPPED_VALUES = (7, 8), 7
# Of CompressiveEncoding: those that hold no compressed buffer, with the fields that hold other encodings.
_GENERAL, _GENERAL_COMPRESSION, _GENERAL_VALUES, _SCHEME = 10, 1, 3, 1
_FLAT, _FIXED_VALUE, _PACKED, _PACKED_INLINE, _RUNS, _BYTE_STREAMS = 1, 3, 4, 5, 8, 9
_CHILDREN = {_FLAT: (), _PACKED: (3,), _PACKED_INLINE: (), _RUNS: (1, 2), _BYTE_STREAMS: (1,)}
_LENGTHS = {1: struct.Struct("<I"), 2: struct.Struct("<Q")}  # of LZ4 and zstd
_ZSTD, _ZSTD_MAGIC = 2, b"\x28\xb5\x2f\xfd"
_ALIGNMENT = 8


def decompressed_bytes(file: bytes) -> int:
    """Return the sum of the lengths that the compressed buffers of a data file say they become.

    Args:
        file: All of the file.

    Returns:
        The sum; 0 for a file of Lance's version 2.0 or before, whose pages are of another kind.

    Raises:
        ValueError: The file is damaged, or compressed in another way than indexes are.
    """
    data = memoryview(file)
    try:
        return sum(_page_bytes(data, page) for page in _pages(data))
    except (struct.error, ArithmeticError, LookupError, RecursionError) as error:
        raise ValueError("a data file that is cut short") from error


def _pages(data: memoryview) -> Iterator[memoryview]:
    if len(data) < _FOOTER.size:
        raise ValueError(f"a data file of {len(data)} bytes")
    *_, table, _, _, columns, major, minor, magic = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    if magic != _MAGIC or columns > _MAX_COLUMNS:
        raise ValueError("a data file without a footer")
    if (major, minor) < _FIRST_VERSION:
        return
    if (major, minor) > _LAST_VERSION:
        raise ValueError(f"a data file of the version {major}.{minor}")
    for column in range(columns):
        for number, value in fields(_slice(data, *_SPAN.unpack_from(data, table + column * _SPAN.size))):
            if number == _PAGES:
                yield message_of(value)
            elif number == _COLUMN_ENCODING and _described(value) != _PLAIN_COLUMN:
                raise ValueError("a column of another kind")


def _slice(data: memoryview, offset: int, size: int) -> memoryview:
    if offset + size > len(data):
        raise ValueError("a data file that is cut short")
    return data[offset : offset + size]


def _described(encoding: Value) -> memoryview:
    """Return the message within an ``Encoding``, which must stand in it and not in another buffer."""
    direct = _parts(encoding)
    wrapped = _parts(direct.get(_DIRECT, 0))
    return message_of(_parts(wrapped.get(_DIRECT_BYTES, 0)).get(_ANY_VALUE, 0))


def _parts(message: Value) -> dict[int, Value]:
    """Return the fields of a message by number, each of which may stand in it once: readers merge others."""
    found: dict[int, Value] = {}
    for number, value in fields(message_of(message)):
        if number in found and number != _LAYERS:
            raise ValueError(f"the field {number} twice")
        found[number] = value
    return found


def _page_bytes(data: memoryview, page: memoryview) -> int:
    offsets: list[int] = []
    sizes: list[int] = []
    layouts: list[tuple[int, Value]] = []
    for number, value in fields(page):
        if number == _OFFSETS:
            offsets += numbers(value)
        elif number == _SIZES:
            sizes += numbers(value)
        elif number == _PAGE_ENCODING:
            layouts += fields(_described(value))
    if len(layouts) != 1:
        raise ValueError("a page without a layout")
    kind, layout = layouts[0][0], message_of(layouts[0][1])
    if kind == _MINI_BLOCK:
        buffers = [_slice(data, *span) for span in zip(offsets, sizes, strict=True)]
        return _mini_block_bytes(buffers, layout)
    if kind not in (_CONSTANT, _FULL_ZIP):
        raise ValueError(f"a page of the layout {kind}")
    for number, value in fields(layout):
        if number in (_CONSTANT_LEVELS if kind == _CONSTANT else (_ZIPPED_VALUES,)):
            _check_uncompressed(message_of(value))
    return 0


def _mini_block_bytes(buffers: list[memoryview], layout: memoryview) -> int:
    """Return what the chunks of a page become, and the dictionary of their values."""
    parts = _parts(layout)
    levels = [message_of(parts[name]) for name in (_REPETITION, _DEFINITION) if name in parts]
    for encoding in levels:
        _check_uncompressed(encoding)
    total = 0
    scheme = _scheme(message_of(parts.get(_VALUES, 0)))
    if scheme is not None:
        is_large = bool(whole_number(parts.get(_LARGE_CHUNKS, 0)))
        chunks = _first_buffers(buffers[0], buffers[1], len(levels), is_large)
        total = sum(_claimed(chunk, scheme) for chunk in chunks)
    if _DICTIONARY in parts:
        scheme = _scheme(message_of(parts[_DICTIONARY]))
        total += 0 if scheme is None else _claimed(buffers[2], scheme)
    return total


def _first_buffers(
    words: memoryview, chunks: memoryview, levels: int, is_large: bool
) -> Iterator[memoryview]:
    """Yield the first buffer of values of each chunk: the one that is compressed."""
    end = 0
    for (word,) in struct.iter_unpack("<I" if is_large else "<H", words):
        start, end = end, end + ((word >> 4) + 1) * _ALIGNMENT
        chunk = _slice(chunks, start, end - start)
        *level_sizes, size = struct.unpack_from(f"<{levels}H{'I' if is_large else 'H'}", chunk, 2)
        # One size more stands there for each further buffer, of which compressed values have none.
        position = _aligned(2 + 2 * levels + (4 if is_large else 2))
        for level_size in level_sizes:
            position = _aligned(position + level_size)
        yield _slice(chunk, position, size)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _claimed(buffer: memoryview, scheme: int) -> int:
    """Return the length that a compressed buffer says it becomes."""
    if scheme == _ZSTD and buffer[:4] == _ZSTD_MAGIC:  # Lance then decompresses it as long as it lasts
        raise ValueError("a zstd frame without its length")
    return int(_LENGTHS[scheme].unpack_from(buffer)[0])


def _scheme(encoding: memoryview) -> int | None:
    """Return how the buffers of an encoding are compressed as a whole; None if none of them is."""
    parts = list(fields(encoding))
    if [number for number, _ in parts] != [_GENERAL]:
        _check_uncompressed(encoding)
        return None
    general = _parts(parts[0][1])
    _check_uncompressed(message_of(general.get(_GENERAL_VALUES, 0)))
    compression = _parts(general.get(_GENERAL_COMPRESSION, 0))
    scheme = whole_number(compression.get(_SCHEME, 0))
    if scheme not in _LENGTHS:
        raise ValueError(f"the compression {scheme}")
    return scheme


def _check_uncompressed(encoding: memoryview) -> None:
    """Refuse an encoding that holds a compressed buffer, or is of a kind that is not known here."""
    for number, value in fields(encoding):
        if number == _FIXED_VALUE:  # it stands in the description
            continue
        if number not in _CHILDREN:
            raise ValueError(f"an encoding of the kind {number}")
        for part, child in fields(message_of(value)):
            if isinstance(child, int):
                continue
            if part not in _CHILDREN[number]:
                raise ValueError(f"the field {part} of an encoding of the kind {number}")
            _check_uncompressed(child)
