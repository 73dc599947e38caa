"""Byte ranges: neighbours merged into few reads, and the position of each piece in its read. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array


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
    if not len(offsets):
        return MergedRanges((), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    span, wanted = int(offsets[-1] + sizes[-1] - offsets[0]), int(sizes.sum())
    if (
        span <= max_read_bytes
        and span - wanted <= max_gap_bytes
        and (offsets[1:] >= (offsets + sizes)[:-1]).all()
    ):
        whole = np.zeros(len(offsets), dtype=np.int64)  # as packets of one run mostly are
        return MergedRanges(((int(offsets[0]), span),), whole, offsets - offsets[0])
    order = np.argsort(offsets, kind="stable")
    starts, ends = offsets[order], (offsets + sizes)[order]
    reached = np.maximum.accumulate(ends)
    is_first = np.concatenate([[True], starts[1:] - reached[:-1] > max_gap_bytes])
    firsts = np.flatnonzero(is_first)
    lengths = reached[np.append(firsts[1:], len(starts)) - 1] - starts[firsts]
    for first, last in _parts(firsts, len(starts), lengths > max_read_bytes):
        _cut(is_first, starts, ends, first, last, max_read_bytes)
    read = np.cumsum(is_first) - 1
    firsts = np.flatnonzero(is_first)
    read_ends = np.maximum.reduceat(ends, firsts)
    read_of = np.empty(len(offsets), dtype=np.int64)
    read_of[order] = read
    ranges = zip(starts[firsts].tolist(), (read_ends - starts[firsts]).tolist(), strict=True)
    return MergedRanges(tuple(ranges), read_of, offsets - starts[firsts][read_of])


def _parts(firsts: Int64Array, count: int, chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the begin and end of each chosen part."""
    ends = np.append(firsts[1:], count)
    return list(zip(firsts[chosen].tolist(), ends[chosen].tolist(), strict=True))


def _cut(
    is_first: npt.NDArray[np.bool_], starts: Int64Array, ends: Int64Array, first: int, last: int, limit: int
) -> None:
    """Mark where reads begin within a part that is too long for one."""
    begin = end = int(starts[first])
    for i in range(first, last):
        grown = max(end, int(ends[i]))
        if grown - begin > limit and i > first:
            is_first[i] = True
            begin, grown = int(starts[i]), int(ends[i])
        end = grown
