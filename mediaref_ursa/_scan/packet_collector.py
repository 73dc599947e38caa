"""The columns of a scan: what is known of each packet, and the table that they make."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from mediaref_ursa._bitstream import Inspector, Traits
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._model.segment import UNKNOWN, PacketTable, SegmentInfo, SegmentTable
from mediaref_ursa._scan.exact_starts import ExactStarts
from mediaref_ursa._scan.missing_times import NO_PTS
from mediaref_ursa._scan.prefix_search import last_not_above

_INT64_MAX = int(np.iinfo(np.int64).max)
_MAX_REORDER_DEPTH = 16
_MAX_START_HEADERS_BYTES = 256 << 10  # where a stream changes them more often, decoding begins earlier
_START_HEADERS_ENTRY_BYTES = 64


@dataclass
class PacketCollector:
    """What is known of each packet, in decode order; arrays grow by eight bytes a value."""

    pts: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    duration: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    displayed: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    random_access: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    is_reference: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    raw_pts: array[int] = field(default_factory=lambda: array("q"))
    raw_duration: array[int] = field(default_factory=lambda: array("q"))
    offset: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    crc32: array[int] = field(default_factory=lambda: array("q"))
    keyframe: bytearray = field(default_factory=bytearray)
    corrupt: bytearray = field(default_factory=bytearray)
    access: bytearray = field(default_factory=bytearray)
    visible: bytearray = field(default_factory=bytearray)
    discardable: array[int] = field(default_factory=lambda: array("b"))
    rank: Int64Array | None = (
        None  # of packets with one time, the highest is displayed; decode order without it
    )
    exact: ExactStarts | None = None  # where decoding proved what bits leave open
    untimed: tuple[int, ...] = ()
    recent_dts: int | None = None
    last_sure_pts: int = _INT64_MAX
    highest_layer: int = 0
    start_headers: list[tuple[int, bytes]] = field(default_factory=list)
    start_headers_bytes: int = 0
    uncertain: bool = False
    needs_trial_decode: bool = False
    needs_lookahead: bool = False
    single_fields: bool = False
    has_gap: bool = False
    restartable: bool = True
    addressable: bool = True
    palettes: tuple[tuple[int, bytes], ...] = ()

    def __len__(self) -> int:
        return len(self.size)

    def add(self, packet: Packet[VideoStream], data: bytes, inspector: Inspector | None) -> None:
        """Append one packet."""
        pts = packet.pts
        self.raw_pts.append(NO_PTS if pts is None else pts)
        self.recent_dts = packet.dts
        self.raw_duration.append(packet.duration or 0)
        self.size.append(len(data))
        self.crc32.append(zlib.crc32(data))
        self.keyframe.append(packet.is_keyframe)
        self.corrupt.append(packet.is_corrupt)
        self.has_gap |= packet.is_corrupt
        if inspector is None:
            self.restartable = False
            self.access.append(packet.is_keyframe)
            self.visible.append(not packet.is_discard)
            self.discardable.append(UNKNOWN)
            return
        traits = inspector.inspect(memoryview(data))
        self._add_access(traits)
        self.visible.append(traits.displayed and not packet.is_discard)
        self.highest_layer = max(self.highest_layer, traits.layer)
        # 0: others need it; n > 0: none of layer n - 1 or below does; -1: not known
        if traits.depends_on_previous_state and len(self.discardable) and self.discardable[-1] > 0:
            self.discardable[-1] = 0
        needed = UNKNOWN if traits.discardable is None else (traits.layer + 1) * traits.discardable
        self.discardable.append(needed)
        # What a decoder makes up for a lost picture depends on all that it was fed.
        self.needs_trial_decode |= traits.uncertain or traits.has_gap
        self.needs_lookahead |= traits.uncertain or traits.single_field
        self.uncertain |= self.needs_trial_decode or traits.single_field or (traits.displayed and pts is None)
        self.single_fields |= traits.single_field
        self.has_gap |= traits.has_gap
        self.restartable &= traits.restartable

    def add_unread(
        self, packet: Packet[VideoStream], offset: int, traits: Traits, *, is_keyframe: bool
    ) -> None:
        """Append one packet whose bytes were not read, or only the first of them."""
        assert packet.pts is not None
        self.raw_pts.append(packet.pts)
        self.recent_dts = packet.dts
        self.raw_duration.append(packet.duration or 0)
        self.offset.append(offset)
        self.size.append(packet.size)
        self.crc32.append(UNKNOWN)
        self.keyframe.append(is_keyframe)
        self.corrupt.append(packet.is_corrupt)
        self._add_access(traits)
        self.visible.append(traits.displayed and not packet.is_discard)
        self.discardable.append(UNKNOWN)

    def _add_access(self, traits: Traits) -> None:
        """Note whether decoding can begin at the next packet, and what it must be fed in front of it."""
        before = self.start_headers[-1][1] if self.start_headers else b""
        is_start = traits.random_access
        if is_start and traits.start_headers != before:
            self.start_headers_bytes += len(traits.start_headers) + _START_HEADERS_ENTRY_BYTES
            is_start = self.start_headers_bytes <= _MAX_START_HEADERS_BYTES
            if is_start:
                self.start_headers.append((len(self.access), traits.start_headers))
        self.access.append(is_start)

    def mark_damaged(self, packets: Collection[int]) -> None:
        """Call packets damaged that should give frames, where the decoder refuses them or gives two."""
        for packet in packets:
            self.corrupt[packet] |= bool(self.displayed[packet])

    def finish(self, info: SegmentInfo) -> None:
        """Turn what was gathered into arrays."""
        self.pts = np.array(self.raw_pts, dtype=np.int64)
        self.duration = np.array(self.raw_duration, dtype=np.int64)
        self.displayed = np.frombuffer(bytes(self.visible), dtype=np.bool_).copy()
        self.random_access = np.frombuffer(bytes(self.access), dtype=np.bool_).copy()
        discardable = np.array(self.discardable, dtype=np.int64)
        # Where packets are lost, a decoder conceals by what it decoded last: it must be fed all of them.
        needs_all = self.single_fields or self.has_gap or self.needs_trial_decode
        spare = (discardable == self.highest_layer + 1) & (not needs_all)
        if info.container == "mpegts":
            self.corrupt = bytearray(len(self))  # a jump of its counters, at a joint too; the bytes are there
        if info.cut_short:
            self._forget_the_end()
        # What a decoder shows before it has met a random access point depends on all that it was fed.
        spare[: uncertain_head(self) or 0] = False
        self.is_reference = np.where(discardable == UNKNOWN, UNKNOWN, ~spare).astype(np.int8)

    def _forget_the_end(self) -> None:
        """Of a file that is cut short, keep only what no lost packet can come before.

        The last packet may be a part of one. A packet that is lost is decoded, hence displayed, after
        the last packet's dts, so that no frame is lost before that.
        """
        self.corrupt[-1] = True
        displayed = self.pts[-_MAX_REORDER_DEPTH - 1 :]
        self.last_sure_pts = int(displayed.min()) if self.recent_dts is None else self.recent_dts


def segment_table(info: SegmentInfo, columns: PacketCollector) -> SegmentTable:
    displayed, repeated = _presentation_order(columns)
    if not len(displayed):
        raise CorruptMediaError("expected a video, found packets but no frame to show", uri=info.uri)
    count = len(columns)
    pts = columns.pts[displayed]
    offsets = np.array(columns.offset, dtype=np.int64) if info.addressable else np.full(count, -1, np.int64)
    return SegmentTable(
        info=replace(info, repeated_times=repeated),
        pts=pts,
        duration=_durations(pts, columns.duration[displayed], info.time_base),
        timestamp=pts * info.time_base.numerator / info.time_base.denominator,
        packet=displayed.astype(np.int64),
        start=starts_of(columns, displayed),
        packets=PacketTable(
            offset=offsets,
            size=np.array(columns.size, dtype=np.int64),
            crc32=np.array(columns.crc32, dtype=np.int64),
            is_reference=columns.is_reference,
            is_corrupt=np.frombuffer(bytes(columns.corrupt), dtype=np.bool_),
            is_keyframe=np.frombuffer(bytes(columns.keyframe), dtype=np.bool_),
        ),
    )


def _presentation_order(columns: PacketCollector) -> tuple[Int64Array, int]:
    """Return the displayed packets by pts, and how many are not since a later one has their pts."""
    displayed = timed_packets(columns)
    rank = displayed if columns.rank is None else columns.rank[displayed]
    ordered = displayed[np.lexsort((rank, columns.pts[displayed]))]
    pts = columns.pts[ordered]
    last = np.append(pts[1:] != pts[:-1], True) if len(ordered) else np.empty(0, np.bool_)
    return ordered[last], int(len(ordered) - last.sum())


def timed_packets(columns: PacketCollector) -> Int64Array:
    """Return the packets, ascending, whose frames are displayed at a time that is known."""
    displayed = columns.displayed & (columns.pts != NO_PTS) & (columns.pts <= columns.last_sure_pts)
    return np.flatnonzero(displayed).astype(np.int64)


def starts_of(columns: PacketCollector, displayed: Int64Array) -> Int64Array:
    """Return the packet at which decoding must begin for each displayed packet.

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
    """Fill in what the container leaves out: a frame lasts until the next, the last as the one before."""
    gaps = np.diff(pts)
    lasting = np.append(gaps, gaps[-1] if len(gaps) else 1)
    return np.where(duration > 0, duration, lasting).astype(np.int64)


def times_contradict_order(columns: PacketCollector, info: SegmentInfo) -> bool:
    """Whether times cannot be those of presentation: then they do not show which pictures lead an open GOP.

    AVI says when packets are decoded. A B-picture of MPEG is displayed before the reference decoded last.
    """
    pts = columns.pts
    if info.codec in ("h264", "hevc"):
        reorders = 0 < info.reorder_depth < len(pts)
        return reorders and bool((pts != NO_PTS).all() and (np.diff(pts) > 0).all())
    if info.codec not in ("mpeg1video", "mpeg2video", "mpeg4"):
        return False
    is_b = np.array(columns.discardable) > 0
    reference = np.maximum.accumulate(np.where(is_b, 0, np.arange(len(pts))))
    return bool((pts > pts[reference])[is_b].any())


def uncertain_head(columns: PacketCollector) -> int | None:
    """Return how many packets to decode to learn which of the first are displayed, or None.

    A stream that does not begin at a random access point, or whose first one is followed by pictures
    that are displayed before it, loses some of them in every decoder.
    """
    starts = np.flatnonzero(columns.random_access)
    if not len(starts):
        return len(columns)
    first = int(starts[0])
    second = int(starts[1]) if len(starts) > 1 else len(columns)
    leading = columns.displayed[first:second] & (columns.pts[first:second] < columns.pts[first])
    return second if first > 0 or leading.any() else None
