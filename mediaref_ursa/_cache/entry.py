"""One fetched byte range as a file: a header, a CRC-32 of each block, the bytes.

Blocks are checked one by one, so that a short read out of a long range costs one or two blocks. Each checksum
begins at the block's number: blocks that were swapped are found, too.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 64 << 10
_MAGIC = b"mruseg1\n"
_FIELDS = struct.Struct("<8s32sQQ")  # magic, key, offset, length; the CRC-32 of these follows
_CRC = struct.Struct("<I")
_HEADER_BYTES = _FIELDS.size + _CRC.size
_DISK_BLOCK_BYTES = 4096
_NAME = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_KEY_NAME = re.compile(r"[0-9a-f]{64}")


class DamagedEntryError(Exception):
    """A range on disk is damaged: its file is not what was written under its name."""


@dataclass(frozen=True)
class ObjectKey:
    """Identity of an object's bytes: its URI and entity tag.

    Attributes:
        uri: Where it is, without query, fragment and credentials.
        etag: Its entity tag, or another text that changes whenever the bytes do.
    """

    uri: str
    etag: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of URI and entity tag, 32 bytes."""
        parts = (part.encode("utf-8", "surrogatepass") for part in (self.uri, self.etag))
        return hashlib.sha256(b"".join(struct.pack("<Q", len(part)) + part for part in parts)).digest()


@dataclass(frozen=True, order=True)
class Span:
    """The bytes of an object from ``start`` up to ``stop``, half-open."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Bytes of the range."""
        return self.stop - self.start

    @property
    def file_name(self) -> str:
        """The name of the file that holds this range."""
        return f"{self.start}-{self.length}"


def span_named(name: str) -> Span | None:
    """Return the range that a file is named after; None if it is no name of the cache.

    >>> span_named("4096-100")
    Span(start=4096, stop=4196)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    span = Span(int(match[1]), int(match[1]) + int(match[2]))
    return span if span.length and span.file_name == name else None


def is_key_name(name: str) -> bool:
    """Return whether a directory's name is a key in hexadecimal digits."""
    return _KEY_NAME.fullmatch(name) is not None


def disk_bytes(length: int) -> int:
    """Return the bytes that a range of ``length`` bytes takes on disk, in whole disk blocks."""
    return charge(_payload_start(length) + length)


def charge(file_bytes: int) -> int:
    """Return a file's size in bytes, rounded up to whole disk blocks."""
    return -(-file_bytes // _DISK_BLOCK_BYTES) * _DISK_BLOCK_BYTES


def write_entry(descriptor: int, key: bytes, start: int, data: bytes) -> None:
    """Write a range to an empty file and wait until it is on disk.

    Raises:
        OSError: No room, or the like.
    """
    sums = b"".join(map(_CRC.pack, _block_sums(data, first=0)))
    _write_all(descriptor, _header(key, start, len(data)) + sums)
    _write_all(descriptor, data)
    os.fsync(descriptor)


def read_entry(path: Path, key: bytes, held: Span, wanted: Span) -> tuple[bytes, float]:
    """Return bytes of a range on disk, each block of them checked, and the time of its last use.

    Args:
        path: The file.
        key: The object that it should belong to.
        held: What its name says that it holds.
        wanted: What to read, within ``held``.

    Returns:
        The bytes, and the file's time of change in seconds since the epoch.

    Raises:
        DamagedEntryError: It is not what was written.
        OSError: It is gone, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        _check_header(descriptor, key, held, found.st_size)
        return _checked_bytes(descriptor, held, wanted), found.st_mtime
    finally:
        os.close(descriptor)


def _check_header(descriptor: int, key: bytes, held: Span, file_bytes: int) -> None:
    if file_bytes != _payload_start(held.length) + held.length:
        raise DamagedEntryError
    if os.pread(descriptor, _HEADER_BYTES, 0) != _header(key, held.start, held.length):
        raise DamagedEntryError


def _checked_bytes(descriptor: int, held: Span, wanted: Span) -> bytes:
    first = (wanted.start - held.start) // BLOCK_BYTES
    past = -(-(wanted.stop - held.start) // BLOCK_BYTES)
    begin, end = first * BLOCK_BYTES, min(past * BLOCK_BYTES, held.length)
    sums = _read_all(descriptor, (past - first) * _CRC.size, _HEADER_BYTES + first * _CRC.size)
    data = _read_all(descriptor, end - begin, _payload_start(held.length) + begin)
    if sums != b"".join(map(_CRC.pack, _block_sums(data, first))):
        raise DamagedEntryError
    skipped = wanted.start - held.start - begin
    return data if wanted.length == len(data) else data[skipped : skipped + wanted.length]


def _header(key: bytes, start: int, length: int) -> bytes:
    fields = _FIELDS.pack(_MAGIC, key, start, length)
    return fields + _CRC.pack(zlib.crc32(fields))


def _block_sums(data: bytes, first: int) -> Iterator[int]:
    """Yield the CRC-32 of each block of ``data``, whose first block has the number ``first``."""
    view = memoryview(data)
    for number, at in enumerate(range(0, len(data), BLOCK_BYTES), start=first):
        yield zlib.crc32(view[at : at + BLOCK_BYTES], number & 0xFFFFFFFF)


def _payload_start(length: int) -> int:
    return _HEADER_BYTES + -(-length // BLOCK_BYTES) * _CRC.size


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:  # the system takes at most 2 GiB a call
        view = view[os.write(descriptor, view) :]


def _read_all(descriptor: int, length: int, offset: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:  # the system gives at most 2 GiB a call
        part = os.pread(descriptor, length - len(data), offset + len(data))
        if not part:
            raise DamagedEntryError
        data += part
    return data
