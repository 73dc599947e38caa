"""The columns of a scan, and the rules that make a segment table of them. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import BoolArray, Int64Array
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._model.segment import PacketTable, SegmentInfo, SegmentTable
from mediaref_ursa._scan.exact_starts import ExactStarts
from mediaref_ursa._scan.missing_times import NO_PTS
from mediaref_ursa._scan.prefix_search import last_not_above

INT64_MAX = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class PacketColumns:
    """The columns of one segment's packets, in decode order.

    Attributes:
        pts: int64 ``(m,)``, ticks; ``NO_PTS`` where it is unknown.
        duration: int64 ``(m,)``, ticks; 0 where it is unknown.
        displayed: bool ``(m,)``, whether a packet gives a frame that is displayed.
        random_access: bool ``(m,)``, whether decoding can begin at a packet.
        is_reference: int8 ``(m,)``, whether other packets need it; ``UNKNOWN`` where that is not read.
        may_be_dropped: bool ``(m,)``, whether the packet's own bits say that no other refers to it.
        offset: int64 ``(m,)`` of a segment whose packets stand in the file as such, else shorter.
        size: int64 ``(m,)``, bytes.
        crc32: int64 ``(m,)``; ``UNKNOWN`` where the bytes were not read.
        is_keyframe: bool ``(m,)``, what the container says.
        is_corrupt: bool ``(m,)``, what asking for its frame is an error for.
        last_sure_pts: Frames later than this may lack others before them: the file is cut short.
        start_headers: What a decoder is fed in front of a random access point, by packet.
        palettes: The colours that hold from a packet on.
        is_uncertain: Whether a trial decode is needed to know which packets give frames.
        needs_trial_decode: Whether a trial decode is needed to know where decoding may begin.
        needs_lookahead: Whether a frame is complete only once later packets were fed.
        restartable: Whether a decoder that was flushed equals a new one.
        addressable: Whether every packet stands in the file as such.
        rank: int64 ``(m,)``: of packets with one time, the one with the highest rank is displayed; by decode
            order without it.
        exact: Where decoding proved what bits leave open.
        untimed: Packets whose frames were given no time by the container.
    """

    pts: Int64Array
    duration: Int64Array
    displayed: BoolArray
    random_access: BoolArray
    is_reference: npt.NDArray[np.int8]
    may_be_dropped: BoolArray
    offset: Int64Array
    size: Int64Array
    crc32: Int64Array
    is_keyframe: BoolArray
    is_corrupt: BoolArray
    last_sure_pts: int
    start_headers: tuple[tuple[int, bytes], ...]
    palettes: tuple[tuple[int, bytes], ...]
    is_uncertain: bool
    needs_trial_decode: bool
    needs_lookahead: bool
    restartable: bool
    addressable: bool
    rank: Int64Array | None = None
    exact: ExactStarts | None = None
    untimed: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.size)

    def with_damaged(self, packets: Collection[int]) -> PacketColumns:
        """Return the columns with displayed packets marked as damaged: a decoder refuses or repeats them."""
        damaged = self.is_corrupt.copy()
        numbers = list(packets)
        damaged[numbers] |= self.displayed[numbers]
        return replace(self, is_corrupt=damaged)


def segment_table(info: SegmentInfo, columns: PacketColumns) -> SegmentTable:
    """Return the table of a segment: its displayed frames in presentation order, and all packets.

    Raises:
        CorruptMediaError: No frame is displayed.
    """
    displayed, repeated = _presentation_order(columns)
    if not len(displayed):
        raise CorruptMediaError("expected a video, found packets but no frame to show", uri=info.uri)
    pts = columns.pts[displayed]
    return SegmentTable(
        info=replace(info, repeated_times=repeated),
        pts=pts,
        duration=_durations(pts, columns.duration[displayed], info.time_base),
        timestamp=pts * info.time_base.numerator / info.time_base.denominator,
        packet=displayed.astype(np.int64),
        start=starts_of(columns, displayed),
        packets=PacketTable(
            offset=columns.offset if info.addressable else np.full(len(columns), -1, np.int64),
            size=columns.size,
            crc32=columns.crc32,
            is_reference=columns.is_reference,
            is_corrupt=columns.is_corrupt,
            is_keyframe=columns.is_keyframe,
        ),
    )


def _presentation_order(columns: PacketColumns) -> tuple[Int64Array, int]:
    """Return the displayed packets by pts, and how many are not since a later one has their pts."""
    displayed = timed_packets(columns)
    rank = displayed if columns.rank is None else columns.rank[displayed]
    ordered = displayed[np.lexsort((rank, columns.pts[displayed]))]
    pts = columns.pts[ordered]
    last = np.append(pts[1:] != pts[:-1], True) if len(ordered) else np.empty(0, np.bool_)
    return ordered[last], int(len(ordered) - last.sum())


def timed_packets(columns: PacketColumns) -> Int64Array:
    """Return the packets, ascending, whose frames are displayed at a time that is known."""
    displayed = columns.displayed & (columns.pts != NO_PTS) & (columns.pts <= columns.last_sure_pts)
    return np.flatnonzero(displayed).astype(np.int64)


def starts_of(columns: PacketColumns, displayed: Int64Array) -> Int64Array:
    """Return the start packet of each displayed packet.

    It is the last random access point, in decode order, that is neither decoded nor displayed after the
    frame: pictures that are decoded after an open GOP's first picture but displayed before it refer to
    the GOP before. Without one, decoding begins at the first packet. Where starts were found by decoding,
    it is the last packet from which the frame was seen to come out.
    """
    if columns.exact is not None:
        proven = np.zeros(len(columns), dtype=np.int64)
        proven[columns.exact.packet] = columns.exact.start
        proven_displayed: Int64Array = proven[displayed]
        return proven_displayed
    points = np.flatnonzero(columns.random_access)
    if not len(points):
        return np.zeros(len(displayed), dtype=np.int64)
    step = np.searchsorted(points, displayed, side="right") - 1
    step = last_not_above(columns.pts[points], step, columns.pts[displayed])
    return np.where(step >= 0, points[np.maximum(step, 0)], 0).astype(np.int64)


def _durations(pts: Int64Array, duration: Int64Array, time_base: Fraction) -> Int64Array:
    """Return durations, missing ones filled in: a frame lasts until the next, the last as the one before."""
    gaps = np.diff(pts)
    lasting = np.append(gaps, gaps[-1] if len(gaps) else 1)
    return np.where(duration > 0, duration, lasting).astype(np.int64)


def times_contradict_order(columns: PacketColumns, info: SegmentInfo) -> bool:
    """Whether times cannot be presentation times: then they do not identify leading pictures of an open GOP.

    AVI says when packets are decoded. A B-picture of MPEG is displayed before the reference decoded last.
    """
    pts = columns.pts
    if info.codec in ("h264", "hevc"):
        reorders = 0 < info.reorder_depth < len(pts)
        return reorders and bool((pts != NO_PTS).all() and (np.diff(pts) > 0).all())
    if info.codec not in ("mpeg1video", "mpeg2video", "mpeg4"):
        return False
    is_b = columns.may_be_dropped
    reference = np.maximum.accumulate(np.where(is_b, 0, np.arange(len(pts))))
    return bool((pts > pts[reference])[is_b].any())


def uncertain_head(pts: Int64Array, displayed: BoolArray, random_access: BoolArray) -> int | None:
    """Return the number of packets to decode to learn which of the first are displayed, or None.

    A stream that does not begin at a random access point, or whose first one is followed by pictures
    that are displayed before it, loses some of them in every decoder.
    """
    starts = np.flatnonzero(random_access)
    if not len(starts):
        return len(pts)
    first = int(starts[0])
    second = int(starts[1]) if len(starts) > 1 else len(pts)
    leading = displayed[first:second] & (pts[first:second] < pts[first])
    return second if first > 0 or leading.any() else None
