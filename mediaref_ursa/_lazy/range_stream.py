"""Streams of a store's bytes, for libraries that read files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa.store import ObjectStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangeStream(io.RawIOBase):
    """A read-only, seekable stream of one object of a store. Belongs to one thread.

    Args:
        store: Holds the object.
        uri: Where it is.

    Raises:
        StoreError: As the store raises.
    """

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._ranges = RangeReader(
            lambda offset, length: store.get_range(uri, offset, length), store.head(uri).size
        )

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer from the current position on; return how many bytes were left for it."""
        target = memoryview(buffer).cast("B")
        data = self._ranges.read(len(target))
        target[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset`` bytes from the start, the current position or the end."""
        return self._ranges.seek(offset, whence)

    def tell(self) -> int:
        """Return the current position in bytes."""
        return self._ranges.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: any position can be reached."""
        return True
