"""A seekable file over byte ranges of a store, for demuxers and the index builder."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

ReadRange = Callable[[int, int], bytes]
ReadRanges = Callable[[Sequence[tuple[int, int]]], list[bytes]]

_BLOCK_BYTES = 1 << 20
_BLOCKS_KEPT = 8


class RangeReader:
    """A read-only binary file of known length; blocks are kept so that going back a little is free.

    Belongs to one thread, and holds ``blocks_kept`` MiB at most, and what one read asks for.

    Args:
        read_range: Returns ``length`` bytes from ``offset`` on; asked for ranges inside the file only.
        length: Size of the file in bytes.
        read_ranges: Returns the bytes of several ranges, where a store reads them faster than one by one.
        blocks_kept: How many blocks of 1 MiB are kept.
        max_blocks_ahead: How many blocks one request may read where the file is streamed; each request
            is as expensive as a megabyte or so where it goes to another machine.

    Attributes:
        bytes_read: Bytes that were asked for.
    """

    def __init__(
        self,
        read_range: ReadRange,
        length: int,
        *,
        read_ranges: ReadRanges | None = None,
        blocks_kept: int | None = None,
        max_blocks_ahead: int = 1,
    ) -> None:
        self.length = length
        self.bytes_read = 0
        self._read_range = read_range
        self._read_ranges = read_ranges
        self._blocks_kept = _BLOCKS_KEPT if blocks_kept is None else blocks_kept
        self._max_ahead = max_blocks_ahead
        self._streams = False
        self._ahead = 1
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

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)`` inside the file, in order; none of them are kept."""
        self.bytes_read += sum(length for _, length in ranges)
        if self._read_ranges is not None:
            return self._read_ranges(ranges)
        return [self._read_range(offset, length) for offset, length in ranges]

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Read ahead, in growing requests, where blocks are asked for one after another."""
        self._streams, self._ahead = True, 1
        try:
            yield
        finally:
            self._streams = False

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
            return self._fetch(number, self._blocks_ahead(number))
        self._blocks.move_to_end(number)
        return block

    def _blocks_ahead(self, number: int) -> int:
        """Return the number of blocks to read from this one on: doubled while reads are sequential."""
        is_sequential = self._streams and number - 1 in self._blocks
        self._ahead = min(2 * self._ahead, self._max_ahead) if is_sequential else 1
        count = 1
        while count < self._ahead and number + count not in self._blocks:
            count += 1
        return count

    def _fetch(self, first: int, count: int) -> bytes:
        """Read blocks in one request, keep them, and return the first."""
        offset = first * _BLOCK_BYTES
        data = self._read_range(offset, min(count * _BLOCK_BYTES, self.length - offset))
        self.bytes_read += len(data)
        blocks = [data[at : at + _BLOCK_BYTES] for at in range(0, len(data), _BLOCK_BYTES)]
        for number, block in enumerate(blocks, start=first):
            self._blocks[number] = block
        while len(self._blocks) > max(self._blocks_kept, count):
            self._blocks.popitem(last=False)
        return blocks[0]
