"""``PacketPrefixes``: the first bytes of some packets, a few KiB each, neighbours in one request."""

from __future__ import annotations

import numpy as np

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.byte_ranges import merge_ranges
from mediaref_ursa._core.lru import LruDict

PREFIX_BYTES = 2048
GAP_BYTES = 32 << 10
"""The cost of a request in bytes: smaller gaps are read rather than skipped."""

_READ_BYTES = 1 << 20
_TAIL_BYTES = 8
_BATCH_PREFIXES = 256
_BATCHES_KEPT = 4


def read_pieces(reader: RangeReader, offsets: Int64Array, sizes: Int64Array) -> list[bytes]:
    """Return the bytes of each piece of a file, in order, by few reads.

    Args:
        reader: The file.
        offsets: int64 ``(n,)``, where each piece begins, in any order.
        sizes: int64 ``(n,)``, bytes.
    """
    merged = merge_ranges(offsets, sizes, max_gap_bytes=GAP_BYTES, max_read_bytes=_READ_BYTES)
    blobs = reader.read_many(merged.ranges)
    spans = zip(merged.read_of.tolist(), merged.start_in_read.tolist(), sizes.tolist(), strict=True)
    return [blobs[read][start : start + size] for read, start, size in spans]


class PacketPrefixes:
    """Prefixes of packets, read in batches in the order of the file; the last few batches are cached.

    Args:
        reader: The file.
        rows: int64 ``(k,)``, the packets whose prefixes are wanted, ascending.
        offsets: int64 ``(m,)``, where each packet of the stream begins.
        sizes: int64 ``(m,)``, bytes.
        with_tails: Whether the last bytes of the packet before each one are wanted too.
    """

    def __init__(
        self,
        reader: RangeReader,
        rows: Int64Array,
        offsets: Int64Array,
        sizes: Int64Array,
        *,
        with_tails: bool = False,
    ) -> None:
        self._reader = reader
        self._rows = rows[np.argsort(offsets[rows], kind="stable")]
        self._offsets = offsets
        self._sizes = sizes
        self._with_tails = with_tails
        self._begins = offsets[self._rows]
        self._rank_of = {row: rank for rank, row in enumerate(self._rows.tolist())}
        self._batches: LruDict[int, list[bytes]] = LruDict(_BATCHES_KEPT)

    def __contains__(self, row: int) -> bool:
        return row in self._rank_of

    def prefix(self, row: int) -> bytes:
        """Return the first bytes of a packet, all of them if it is small."""
        return self._piece(self._rank_of[row])

    def tail_before(self, row: int) -> bytes:
        """Return the last bytes of the packet before in decode order; none before the first."""
        assert self._with_tails
        return self._piece(self._rank_of[row], is_tail=True)

    def cost_bytes(self) -> int:
        """Return the cost of reading all prefixes in bytes, a request counted as ``GAP_BYTES``."""
        merged = merge_ranges(*self._spans(self._rows), max_gap_bytes=GAP_BYTES, max_read_bytes=_READ_BYTES)
        return merged.total_bytes + GAP_BYTES * len(merged.ranges)

    def lay_over(self, buffer: bytearray, offset: int) -> None:
        """Write the prefixes in the file from ``offset`` on into a buffer of its bytes."""
        first = int(np.searchsorted(self._begins, offset - PREFIX_BYTES, side="right"))
        last = int(np.searchsorted(self._begins, offset + len(buffer), side="left"))
        for rank in range(first, last):
            piece, at = self._piece(rank), int(self._begins[rank]) - offset
            piece = piece[max(-at, 0) : len(buffer) - at]
            buffer[max(at, 0) : max(at, 0) + len(piece)] = piece

    def _piece(self, rank: int, *, is_tail: bool = False) -> bytes:
        number, position = divmod(rank, _BATCH_PREFIXES)
        batch = self._batches.get(number)
        if batch is None:
            rows = self._rows[number * _BATCH_PREFIXES : (number + 1) * _BATCH_PREFIXES]
            batch = self._batches[number] = read_pieces(self._reader, *self._spans(rows))
        return batch[position + len(batch) // 2 if is_tail else position]

    def _spans(self, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return offsets and sizes of the prefixes of packets, then of the tails before them."""
        offsets, sizes = self._offsets[rows], np.minimum(self._sizes[rows], PREFIX_BYTES)
        if not self._with_tails:
            return offsets, sizes
        before = np.maximum(rows - 1, 0)
        tails = np.where(rows > 0, np.minimum(self._sizes[before], _TAIL_BYTES), 0)
        ends = self._offsets[before] + self._sizes[before]
        return np.concatenate([offsets, ends - tails]), np.concatenate([sizes, tails])
