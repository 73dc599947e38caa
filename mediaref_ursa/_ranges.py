"""Byte ranges: neighbours merged into few reads, and where each piece lies within them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mediaref_ursa._time import Int64Array


@dataclass(frozen=True)
class MergedRanges:
    """Few large byte ranges that cover many small ones.

    Attributes:
        ranges: ``(offset, length)`` of each read, ascending, in bytes.
        read_of: int64 ``(n,)``, which read holds each piece.
        start_in_read: int64 ``(n,)``, where the piece begins within its read, in bytes.
    """

    ranges: tuple[tuple[int, int], ...]
    read_of: Int64Array
    start_in_read: Int64Array

    @property
    def total_bytes(self) -> int:
        """Bytes that all reads move, gaps included."""
        return sum(length for _, length in self.ranges)


def merge_ranges(
    offsets: Int64Array, sizes: Int64Array, *, max_gap_bytes: int, max_read_bytes: int
) -> MergedRanges:
    """Merge pieces that lie close together, in any order, into reads of bounded size.

    Args:
        offsets: int64 ``(n,)``, where each piece begins, in bytes.
        sizes: int64 ``(n,)``, its length, in bytes.
        max_gap_bytes: Unwanted bytes between two pieces that are still cheaper to read than to skip.
        max_read_bytes: A read grows no further than this, unless one piece alone is larger.

    >>> merge_ranges(np.array([90, 0, 10]), np.array([5, 10, 10]),
    ...              max_gap_bytes=8, max_read_bytes=1000).ranges
    ((0, 20), (90, 5))
    """
    order = np.argsort(offsets, kind="stable")
    ranges: list[tuple[int, int]] = []
    read_of = np.empty(len(offsets), dtype=np.int64)
    start, end = 0, -1
    for i in order.tolist():
        offset, piece_end = int(offsets[i]), int(offsets[i] + sizes[i])
        grown = max(end, piece_end)
        if end < 0 or offset - end > max_gap_bytes or grown - start > max_read_bytes:
            if end >= 0:
                ranges.append((start, end - start))
            start, grown = offset, piece_end
        end = grown
        read_of[i] = len(ranges)
    if end >= 0:
        ranges.append((start, end - start))
    starts = np.array([offset for offset, _ in ranges], dtype=np.int64)
    start_in_read = offsets - starts[read_of] if ranges else np.empty(0, dtype=np.int64)
    return MergedRanges(tuple(ranges), read_of, start_in_read)
