"""A caller's file object as a store: the result of ``open(..., "rb")``, or a similar object."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

from mediaref_ursa._core.errors import StoreError
from mediaref_ursa._core.process_state import register_while_alive
from mediaref_ursa._core.reentrancy import LongLock
from mediaref_ursa.store._protocol import ObjectInfo, check_range, past_the_end, too_large


class FileObjectStore:
    """A store of one object, under any URI: the bytes of a file object.

    Files of the system are read at offsets that nothing else can move. Of other objects the position is
    shared: one thread reads at a time. The file stays the caller's: nothing here closes it.

    Args:
        file: Has ``read(size)`` and ``seek(offset, whence)``.

    Attributes:
        is_local: Whether it is a file of the system, or one in memory.

    >>> FileObjectStore(io.BytesIO(b"abcdef")).get_range("any", 2, 3)
    b'cde'
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._descriptor = file.fileno() if isinstance(file, io.FileIO | io.BufferedReader) else None
        self.is_local = self._descriptor is not None or isinstance(file, io.BytesIO)
        self.forget()
        register_while_alive(self)

    def forget(self) -> None:
        """Take a new lock in a forked child, since another thread of the parent may hold the old one."""
        self._lock = LongLock()

    def head(self, uri: str) -> ObjectInfo:
        """Return the file's length."""
        with self._lock.held():
            return ObjectInfo(size=self._size(uri), etag=None, modified=None)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        check_range(offset, length)
        with self._lock.held():
            return self._read(uri, offset, length)

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order."""
        return [self.get_range(uri, offset, length) for offset, length in ranges]

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole file, unless it is larger than ``max_bytes``."""
        size = self.head(uri).size
        if max_bytes is not None and size > max_bytes:
            raise too_large(uri, size, max_bytes)
        return self.get_range(uri, 0, size)

    def _size(self, uri: str) -> int:
        try:
            if self._descriptor is not None:
                return os.fstat(self._descriptor).st_size
            end = self._file.seek(0, io.SEEK_END)
            return int(self._file.tell() if end is None else end)
        except (OSError, ValueError) as error:  # a file that is closed raises ValueError
            raise StoreError(f"the file object cannot be read: {error}", uri=uri) from error

    def _read(self, uri: str, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        missing = length
        try:
            if self._descriptor is None:
                self._file.seek(offset, io.SEEK_SET)
            while missing and (part := self._next_part(offset + length - missing, missing)):
                parts.append(part)
                missing -= len(part)
        except (OSError, ValueError) as error:
            raise StoreError(f"the file object cannot be read: {error}", uri=uri) from error
        if missing:
            raise past_the_end(uri, offset, length, self._size(uri))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next_part(self, offset: int, length: int) -> bytes:
        """Return some of the bytes at ``offset``, to which a seekable file has been moved."""
        if self._descriptor is None:
            return bytes(self._file.read(length))
        return os.pread(self._descriptor, length, offset)
