"""One pass over a video: every packet's place, role and checksum, read from the file itself."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from mediaref_ursa._bitstream import Inspector, inspector_for
from mediaref_ursa._errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._frame_table import UNKNOWN, PacketTable, SegmentInfo, SegmentTable
from mediaref_ursa._pyav._demux import open_video, packets
from mediaref_ursa._pyav._probe import probe_segment
from mediaref_ursa._pyav._trial import decode_order_trial, exact_starts
from mediaref_ursa._reader import RangeReader
from mediaref_ursa._time import Int64Array

Progress = Callable[[int, int], None]

_NO_PTS = int(np.iinfo(np.int64).min)
_INT64_MAX = int(np.iinfo(np.int64).max)
_LARGEST_REORDER_DEPTH = 16
_OFFSET_GUESSES = (0, 4)  # MP4, MOV and AVI; then the block header of Matroska
_OFFSET_SEARCH_BYTES = 256
_PROGRESS_EVERY_PACKETS = 256
_FIELD_LOOKAHEAD_PACKETS = 40
_SHOWS_SIDE_DATA = hasattr(Packet, "has_sidedata")  # PyAV 16 and later
_DECODER_SIDE_DATA: tuple[Literal["new_extradata", "param_change", "palette"], ...] = (
    "new_extradata",
    "param_change",
    "palette",
)


def scan_segment(
    reader: RangeReader, *, uri: str, etag: str | None = None, progress: Progress | None = None
) -> SegmentTable:
    """Read one video file once and return its frames and packets.

    Nothing but the columns stays in memory. Random access points are read from the bitstream; the
    offset of every packet is verified against its bytes.

    Args:
        reader: The file.
        uri: Recorded in the table and named in errors.
        etag: Recorded in the table.
        progress: Called now and then with bytes done and bytes in all.

    Returns:
        The table; its ``timestamp`` column is ``pts * time_base``.

    Raises:
        UnsupportedMediaError: Not a video, or one whose codec cannot be decoded here.
        CorruptMediaError: A video without frames, or one that FFmpeg cannot read.
    """
    info, intra_only = probe_segment(reader, uri=uri, etag=etag)
    inspector = inspector_for(info.codec, info.extradata, intra_only=intra_only)
    columns = _read_packets(reader, info, inspector, progress)
    if not len(columns):
        raise CorruptMediaError("expected a video, found a video stream without packets", uri=uri)
    columns.finish(info)
    if inspector is None or columns.uncertain:
        _learn_by_decoding(reader, info, columns, inspector)
    elif (head := _uncertain_head(columns)) is not None:
        emitted = decode_order_trial(reader, info, stop=head)
        columns.shown[:head] &= np.isin(np.arange(head), emitted.numbers)
    return _table(_with_facts(info, columns), columns)


@dataclass
class _Columns:
    """What is known of each packet, in decode order; arrays grow by eight bytes a value."""

    pts: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    duration: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    shown: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
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
    recent_dts: int | None = None
    last_sure_pts: int = _INT64_MAX
    highest_layer: int = 0
    uncertain: bool = False
    lone_fields: bool = False
    lossy: bool = False
    addressable: bool = True

    def __len__(self) -> int:
        return len(self.size)

    def add(self, packet: Packet[VideoStream], data: bytes, inspector: Inspector | None) -> None:
        """Append one packet."""
        pts = packet.pts
        self.raw_pts.append(_NO_PTS if pts is None else pts)
        self.recent_dts = packet.dts
        self.raw_duration.append(packet.duration or 0)
        self.size.append(len(data))
        self.crc32.append(zlib.crc32(data))
        self.keyframe.append(packet.is_keyframe)
        self.corrupt.append(packet.is_corrupt)
        self.lossy |= packet.is_corrupt
        if inspector is None:
            self.access.append(packet.is_keyframe)
            self.visible.append(not packet.is_discard)
            self.discardable.append(UNKNOWN)
            return
        traits = inspector.inspect(memoryview(data))
        self.access.append(traits.random_access)
        self.visible.append(traits.shown and not packet.is_discard)
        self.highest_layer = max(self.highest_layer, traits.layer)
        # 0: others need it; n > 0: nobody of layer n - 1 or below does; -1: not known
        needed = UNKNOWN if traits.discardable is None else (traits.layer + 1) * traits.discardable
        self.discardable.append(needed)
        self.uncertain |= traits.uncertain or traits.lone_field or (traits.shown and pts is None)
        self.lone_fields |= traits.lone_field
        self.lossy |= traits.lossy

    def finish(self, info: SegmentInfo) -> None:
        """Turn what was gathered into arrays."""
        self.pts = np.array(self.raw_pts, dtype=np.int64)
        self.duration = np.array(self.raw_duration, dtype=np.int64)
        self.shown = np.frombuffer(bytes(self.visible), dtype=np.bool_).copy()
        self.random_access = np.frombuffer(bytes(self.access), dtype=np.bool_).copy()
        discardable = np.array(self.discardable, dtype=np.int64)
        # Where packets are lost, a decoder conceals by what it decoded last: it must be fed all of them.
        spare = (discardable == self.highest_layer + 1) & (not self.lone_fields) & (not self.lossy)
        if info.container == "mpegts":
            self.corrupt = bytearray(len(self))  # a jump of its counters, at a joint too; the bytes are there
        if info.cut_short:
            self._forget_the_end()
        self.is_reference = np.where(discardable == UNKNOWN, UNKNOWN, ~spare).astype(np.int8)

    def _forget_the_end(self) -> None:
        """Of a file that is cut short, keep only what no lost packet can come before.

        The last packet may be a part of one. A packet that is lost is decoded, hence shown, after
        the last packet's dts, so that no frame is lost before that.
        """
        self.corrupt[-1] = True
        shown = self.pts[-_LARGEST_REORDER_DEPTH - 1 :]
        self.last_sure_pts = int(shown.min()) if self.recent_dts is None else self.recent_dts


def _read_packets(
    reader: RangeReader, info: SegmentInfo, inspector: Inspector | None, progress: Progress | None
) -> _Columns:
    columns = _Columns()
    guess = _OFFSET_GUESSES[0]
    with open_video(reader, uri=info.uri) as (container, stream):
        for packet in packets(container, stream, uri=info.uri):
            data = bytes(packet)
            _refuse_changes(packet, info)
            if columns.addressable:
                offset = _locate(reader, packet.pos, data, guess)
                columns.addressable = offset is not None
                columns.offset.append(UNKNOWN if offset is None else offset)
                guess = guess if offset is None else offset - int(packet.pos or 0)
            columns.add(packet, data, inspector)
            if progress is not None and len(columns) % _PROGRESS_EVERY_PACKETS == 0:
                progress(min(reader.tell(), reader.length), reader.length)
    if progress is not None:
        progress(reader.length, reader.length)
    return columns


def _locate(reader: RangeReader, pos: int | None, data: bytes, guess: int) -> int | None:
    """Return where in the file the packet's bytes stand, or None where they stand nowhere as such."""
    if pos is None or pos < 0:
        return None
    near = reader.read_at(pos, len(data) + _OFFSET_SEARCH_BYTES)
    for delta in (guess, *_OFFSET_GUESSES):
        if near.startswith(data, delta):
            return pos + delta
    delta = near.find(data)
    return None if delta < 0 else pos + delta


def _refuse_changes(packet: Packet[VideoStream], info: SegmentInfo) -> None:
    """Refuse what a decoder made from the index would not be told.

    Raises:
        UnsupportedMediaError: The packet changes the codec's configuration.
    """
    for kind in _DECODER_SIDE_DATA if _SHOWS_SIDE_DATA else ():
        if not packet.has_sidedata(kind):
            continue
        if kind == "new_extradata" and bytes(packet.get_sidedata(kind)) == info.extradata:
            continue
        raise UnsupportedMediaError(
            f"expected one codec configuration for the whole file, found a change of it ({kind}); "
            "split the file where it changes, or encode it anew",
            uri=info.uri,
        )


def _learn_by_decoding(
    reader: RangeReader, info: SegmentInfo, columns: _Columns, inspector: Inspector | None
) -> None:
    """Decode the segment once to learn which packets give frames, at what times, and from where."""
    candidates = np.flatnonzero(columns.random_access)
    trial = decode_order_trial(reader, info, with_pixels=inspector is None)
    columns.shown = np.zeros(len(columns), dtype=np.bool_)
    columns.shown[trial.numbers] = True
    columns.pts[trial.numbers] = trial.pts
    if inspector is None:
        columns.random_access[:] = False
        columns.random_access[exact_starts(reader, info, candidates, trial)] = True
    columns.random_access &= columns.pts != _NO_PTS


def _uncertain_head(columns: _Columns) -> int | None:
    """Return how many packets to decode to learn which of the first are shown, or None.

    A stream that does not begin at a random access point, or whose first one is followed by pictures
    that are shown before it, loses some of them in every decoder.
    """
    starts = np.flatnonzero(columns.random_access)
    if not len(starts):
        return len(columns)
    first = int(starts[0])
    second = int(starts[1]) if len(starts) > 1 else len(columns)
    leading = columns.shown[first:second] & (columns.pts[first:second] < columns.pts[first])
    return second if first > 0 or leading.any() else None


def _with_facts(info: SegmentInfo, columns: _Columns) -> SegmentInfo:
    return replace(
        info,
        addressable=columns.addressable,
        lookahead_packets=_FIELD_LOOKAHEAD_PACKETS if columns.lone_fields else 0,
    )


def _table(info: SegmentInfo, columns: _Columns) -> SegmentTable:
    shown = _presentation_order(columns)
    if not len(shown):
        raise CorruptMediaError("expected a video, found packets but no frame to show", uri=info.uri)
    count = len(columns)
    pts = columns.pts[shown]
    offsets = np.array(columns.offset, dtype=np.int64) if info.addressable else np.full(count, -1, np.int64)
    return SegmentTable(
        info=info,
        pts=pts,
        duration=_durations(pts, columns.duration[shown], info.time_base),
        timestamp=pts * info.time_base.numerator / info.time_base.denominator,
        packet=shown.astype(np.int64),
        start=_starts(columns, shown),
        packets=PacketTable(
            offset=offsets,
            size=np.array(columns.size, dtype=np.int64),
            crc32=np.array(columns.crc32, dtype=np.int64),
            is_reference=columns.is_reference,
            is_corrupt=np.frombuffer(bytes(columns.corrupt), dtype=np.bool_),
            is_keyframe=np.frombuffer(bytes(columns.keyframe), dtype=np.bool_),
        ),
    )


def _presentation_order(columns: _Columns) -> Int64Array:
    """Return the shown packets by pts; of several with one pts the last in decode order is shown."""
    shown = np.flatnonzero(columns.shown & (columns.pts != _NO_PTS) & (columns.pts <= columns.last_sure_pts))
    ordered = shown[np.argsort(columns.pts[shown], kind="stable")]
    pts = columns.pts[ordered]
    return ordered[np.append(pts[1:] != pts[:-1], True)] if len(ordered) else ordered


def _starts(columns: _Columns, shown: Int64Array) -> Int64Array:
    """Return the packet at which decoding must begin for each shown packet.

    It is the last random access point, in decode order, that is neither decoded nor shown after the
    frame: pictures that are decoded after an open GOP's first picture but shown before it refer to
    the GOP before. Without one, decoding begins at the first packet.
    """
    points = np.flatnonzero(columns.random_access)
    step = np.searchsorted(points, shown, side="right") - 1
    while True:
        early = np.flatnonzero(step >= 0)
        late = early[columns.pts[points[step[early]]] > columns.pts[shown[early]]]
        if not len(late):
            break
        step[late] -= 1
    if not len(points):
        return np.zeros(len(shown), dtype=np.int64)
    return np.where(step >= 0, points[np.maximum(step, 0)], 0).astype(np.int64)


def _durations(pts: Int64Array, duration: Int64Array, time_base: Fraction) -> Int64Array:
    """Fill in what the container leaves out: a frame lasts until the next, the last as the one before."""
    gaps = np.diff(pts)
    lasting = np.append(gaps, gaps[-1] if len(gaps) else 1)
    return np.where(duration > 0, duration, lasting).astype(np.int64)
