"""A seekable file over byte ranges of a store: what demuxers and the index builder read through."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable

ReadRange = Callable[[int, int], bytes]

_BLOCK_BYTES = 1 << 20
_BLOCKS_KEPT = 8


class RangeReader:
    """A read-only binary file of known length; blocks are kept so that going back a little is free.

    Belongs to one thread.

    Args:
        read_range: Returns ``length`` bytes from ``offset`` on; asked for ranges inside the file only.
        length: Size of the file in bytes.
    """

    def __init__(self, read_range: ReadRange, length: int) -> None:
        self.length = length
        self.bytes_read = 0
        self._read_range = read_range
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the current position; empty at the end."""
        if size < 0:
            size = self.length - self._position
        data = self.read_at(self._position, size)
        self._position += len(data)
        return data

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on, fewer only at the end of the file."""
        end = min(offset + size, self.length)
        if offset >= end:
            return b""
        first, last = offset // _BLOCK_BYTES, (end - 1) // _BLOCK_BYTES
        inside = offset - first * _BLOCK_BYTES
        if first == last:
            return self._block(first)[inside : inside + end - offset]
        joined = b"".join(self._block(number) for number in range(first, last + 1))
        return joined[inside : inside + end - offset]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset`` bytes from the start, the current position or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the current position in bytes."""
        return self._position

    def seekable(self) -> bool:
        """Return True: any position can be reached."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            offset = number * _BLOCK_BYTES
            block = self._read_range(offset, min(_BLOCK_BYTES, self.length - offset))
            self.bytes_read += len(block)
            self._blocks[number] = block
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block
