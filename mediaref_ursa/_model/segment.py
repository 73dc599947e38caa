"""The frame index in memory: segments, their frames and packets, and lookups. Pure.

Nothing here knows Lance or PyAV: numpy columns and frozen values only. ``docs/index-format.md``
describes how they are stored.
"""

from __future__ import annotations

import bisect
import copy
import zlib
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameIndexInvalidError
from mediaref_ursa._core.tick_times import TickTimes
from mediaref_ursa._core.ticks import ticks_to_ns_ceil
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._model.stream_header import StreamHeader

_TOO_LONG = 2**62
DECODED, FULL, SPARSE = "decoded", "full", "sparse"
READER_VERSION = 2
"""Version of the bitstream readers; it rises when random access points of earlier ones could be wrong."""
_READ_ALIKE = frozenset({"av1", "ffv1", "vp9"})  # codecs that all versions read the same
UNKNOWN = -1
"""The value for "not known" in ``crc32`` and ``is_reference``."""
ALPHA_UNKNOWN, ALPHA_IN_FRAMES = "", "frames"
SEPARATE_ALPHA, ALPHA_UNREADABLE = "packets", "unreadable"
"""Where a segment's alpha is: an older index does not say; in the decoded frames, if there is any; in
each packet's side data; where it cannot be read."""
PALETTE_BYTES, MAX_PALETTES = 1024, 1024
_ALPHA_CODECS = ("vp8", "vp9")
_IMAGE_SUFFIXES = (".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs")


@dataclass(frozen=True)
class SegmentInfo:
    """Facts about one video file: all that a decoder needs besides the packets.

    Attributes:
        uri: Where the file is, absolute, as the store takes it.
        length: Its size in bytes.
        etag: The store's ETag when the index was written, where it gave one.
        container: FFmpeg's short name of the demuxer.
        codec: The codec's canonical name, such as ``h264``.
        codec_tag: Four characters of the container, or empty.
        extradata: Parameter sets and the like, as the container stores them.
        time_base: Seconds a tick.
        width: Coded width in pixels, before rotation.
        height: Coded height in pixels, before rotation.
        pixel_format: FFmpeg's name of the decoded format.
        colorspace: AVColorSpace number (2 is unspecified).
        color_range: AVColorRange number (0 is unspecified, 1 limited, 2 full).
        rotation: Degrees counter-clockwise by which frames are turned for display: 0, 90, 180 or 270.
        addressable: Whether each packet's bytes stand at ``packets.offset`` in the file.
        lookahead_packets: Packets to feed past a frame's own before it is complete.
        bits_per_coded_sample: As the container says, 0 where it does not.
        cut_short: The container says that it is longer than its file: frames at the end are lost.
        reorder_depth: Frames that a decoder holds back to put them in order, as found by probing.
        stream_index: The video stream, counted across all kinds of streams; None is FFmpeg's best.
        verified: ``FULL`` where every packet was read; ``DECODED`` where every picture was decoded, too;
            ``SPARSE`` where only the claimed random access points were read: then checksums and reference
            flags are unknown.
        repeated_times: Frames that are never output, since another one has their time.
        restartable: A decoder that was used on the segment and flushed gives the frames of a new one: what it
            may have learned on its way, parameter sets, is the same everywhere.
        start_headers: ``(packet, headers)``, packets ascending: what a decoder that begins at the packet, or
            at a later one up to the next entry, must be fed in front of it: it came with earlier packets.
        header: What else the container's header says; None where an index does not have it.
        reader_version: Version of what found the random access points, ``READER_VERSION`` now.
        untimed: Ticks, ascending, at which frames that have no time of their own take the place of the one
            before, until the next one begins. No reference names them.
        alpha: Where alpha is, one of ``ALPHA_UNKNOWN`` and the others.
        alpha_packets: What is known of each packet's alpha, as ``_alpha.AlphaPackets`` encodes it; empty
            unless alpha is side data of packets.
        rotation_by_frame: Each frame says by itself how it is turned, since the container does not:
            ``rotation`` is then that of the first.
        palettes: The palettes that the container gives the decoder, each with its first packet.
    """

    uri: str = field(repr=False)  # it may hold a password
    length: int
    etag: str | None
    container: str
    codec: str
    codec_tag: str
    extradata: bytes
    time_base: Fraction
    width: int
    height: int
    pixel_format: str
    colorspace: int
    color_range: int
    rotation: int
    addressable: bool
    lookahead_packets: int = 0
    bits_per_coded_sample: int = 0
    reorder_depth: int = 0
    cut_short: bool = False
    stream_index: int | None = None
    verified: str = FULL
    repeated_times: int = 0
    restartable: bool = False
    start_headers: tuple[tuple[int, bytes], ...] = ()
    header: StreamHeader | None = None
    reader_version: int = READER_VERSION
    untimed: tuple[int, ...] = ()

    @property
    def is_outdated(self) -> bool:
        """Whether an earlier version may have read this codec's random access points wrongly."""
        return self.reader_version < READER_VERSION and self.codec not in _READ_ALIKE

    def headers_before(self, packet: int) -> bytes:
        """Return the headers that a decoder which begins at a packet must be fed in front of it."""
        row = bisect_right(self.start_headers, packet, key=lambda entry: entry[0]) - 1
        return self.start_headers[row][1] if row >= 0 else b""

    alpha: str = ALPHA_UNKNOWN
    alpha_packets: bytes = b""
    palettes: tuple[tuple[int, bytes], ...] = ()
    rotation_by_frame: bool = False

    def palette_at(self, packet: int) -> bytes | None:
        """Return the palette that is in force at a packet, None where the container has none."""
        position = bisect.bisect_right(self.palettes, packet, key=lambda change: change[0])
        return self.palettes[position - 1][1] if position else None

    @property
    def may_have_separate_alpha(self) -> bool:
        """Whether the file may have alpha that the codec's own decoder does not output."""
        if self.alpha == ALPHA_UNKNOWN:
            return self.has_block_additions or self.uri.lower().endswith(_IMAGE_SUFFIXES)
        return self.alpha != ALPHA_IN_FRAMES

    @property
    def has_block_additions(self) -> bool:
        """Whether the codec's alpha is side data of packets in this container, if there is any."""
        return self.codec in _ALPHA_CODECS and self.container.startswith("matroska")

    @property
    def display_size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels after rotation."""
        size = (self.height, self.width)
        return size[::-1] if self.rotation in (90, 270) else size


class EncodedPacket(NamedTuple):
    """One packet to be fed to a decoder.

    Attributes:
        number: Its position in decode order.
        data: Its bytes: bytes, or a view of what was read.
        is_keyframe: The container's flag: no promise, but some decoders look at it.
        palette: The palette that the container gives the decoder for it, None for none.
    """

    number: int
    data: bytes | memoryview
    is_keyframe: bool
    palette: bytes | None = None

    def as_first_of(self, info: SegmentInfo) -> EncodedPacket:
        """Return the packet for a decoder that begins with it: with the headers in force in front."""
        headers = info.headers_before(self.number)
        return self._replace(data=headers + bytes(self.data)) if headers else self


class AlphaSplit(NamedTuple):
    """The positions of colours and alpha in packets that were read together with their alpha.

    Attributes:
        color_size: int64 ``(m,)``, bytes of the packet itself.
        alpha_start: int64 ``(m,)``, where its alpha begins.
        alpha_size: int64 ``(m,)``, bytes of its alpha; 0 where it has none.
    """

    color_size: Int64Array
    alpha_start: Int64Array
    alpha_size: Int64Array


@dataclass(frozen=True)
class PacketTable:
    """All packets of a segment in decode order, output or not.

    Attributes:
        offset: int64 ``(m,)``, where the packet's bytes begin in the file; -1 where not addressable.
        size: int64 ``(m,)``, bytes.
        crc32: int64 ``(m,)``, CRC-32 of the bytes (zlib's polynomial), or ``UNKNOWN``.
        is_reference: int8 ``(m,)``, 1 where other frames are predicted from this one, 0 where none
            is, or ``UNKNOWN``.
        is_corrupt: bool ``(m,)``, True where the packet is damaged: the file holds only part of it, a
            checksum in it fails, or a decoder marked its picture.
        is_keyframe: bool ``(m,)``, the container's flag, which is no promise.
        alpha: Where the parts of each packet are if its alpha is read along with it, else None.
    """

    offset: Int64Array
    size: Int64Array
    crc32: Int64Array
    is_reference: npt.NDArray[np.int8]
    is_corrupt: npt.NDArray[np.bool_]
    is_keyframe: npt.NDArray[np.bool_]
    alpha: AlphaSplit | None = None

    def __len__(self) -> int:
        return len(self.size)

    @cached_property
    def identity(self) -> object:
        """Identity of these packets in the keys of caches."""
        return object()


@dataclass(frozen=True)
class SegmentTable:
    """The displayed frames of one segment in presentation order, and its packets.

    Attributes:
        info: What the segment is.
        pts: int64 ``(n,)``, strictly ascending, in ticks.
        duration: int64 ``(n,)``, ticks.
        timestamp: float64 ``(n,)``, recording-relative seconds.
        packet: int64 ``(n,)``, the frame's packet, a row of ``packets``.
        start: int64 ``(n,)``, the packet at which decoding must begin for this frame.
        packets: All packets in decode order.
    """

    info: SegmentInfo
    pts: Int64Array
    duration: Int64Array
    timestamp: npt.NDArray[np.float64]
    packet: Int64Array
    start: Int64Array
    packets: PacketTable

    def __post_init__(self) -> None:
        for name in ("pts", "duration", "timestamp", "packet", "start"):  # tables are shared
            column = getattr(self, name).view()
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        _check(self)

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def pixels(self) -> int:
        """Pixels of a picture as it is coded."""
        return self.info.width * self.info.height

    @property
    def columns_crc32(self) -> int:
        """CRC-32 of the columns that decide the pixels of a reference; timestamps do not."""
        packets = self.packets
        crc = 0
        for column in (
            *(self.pts, self.duration, self.packet, self.start),
            *(packets.offset, packets.size, packets.crc32),
            *(packets.is_reference, packets.is_corrupt, packets.is_keyframe),
        ):
            little_endian = column.astype(column.dtype.newbyteorder("<"))
            crc = zlib.crc32(little_endian.tobytes(), crc)
        return crc

    def with_uri(self, uri: str) -> SegmentTable:
        """Return the table of the same file at another location; its columns are not checked again."""
        if uri == self.info.uri:
            return self
        moved = copy.copy(self)
        object.__setattr__(moved, "info", replace(self.info, uri=uri))
        moved.__dict__.pop("_with_alpha", None)  # it names the other location
        return moved

    def with_frames(self, frames: Int64Array) -> SegmentTable:
        """Return the table with some of its frames only, ascending; its packets stay."""
        fewer = replace(
            self,
            pts=self.pts[frames],
            duration=self.duration[frames],
            timestamp=self.timestamp[frames],
            packet=self.packet[frames],
            start=self.start[frames],
        )
        object.__setattr__(fewer, "_whole", self.whole)
        return fewer

    @property
    def whole(self) -> SegmentTable:
        """The table with all frames of the segment, of which this one may have only some."""
        whole: SegmentTable = self.__dict__.get("_whole", self)
        return whole

    def beginning_at(self, offset: Fraction) -> SegmentTable:
        """Return the table with the timestamps ``pts * time_base + offset``."""
        base = self.info.time_base
        return replace(self, timestamp=self.pts * base.numerator / base.denominator + float(offset))

    @cached_property
    def times(self) -> TickTimes:
        """When each frame is displayed."""
        return TickTimes(self.pts, self.info.time_base)

    @property
    def start_ns(self) -> Int64Array:
        """int64 ``(n,)``: the first whole nanosecond at which each frame is displayed."""
        return self.times.ceil_ns

    @property
    def untimed_times(self) -> TickTimes:
        """When each stretch of frames without a time is displayed."""
        return TickTimes(np.array(self.info.untimed, dtype=np.int64), self.info.time_base)

    @cached_property
    def end_ns(self) -> int:
        """The end of the last frame: the first whole nanosecond at which it is no longer displayed."""
        end = self.pts[-1:] + self.duration[-1:]
        return int(ticks_to_ns_ceil(end, self.info.time_base)[0]) if len(self) else 0

    @property
    def pts_ns(self) -> Int64Array:
        """int64 ``(n,)``: the nanoseconds that a reference to each frame stores."""
        return self.times.pts_ns

    @cached_property
    def span_seconds(self) -> tuple[Fraction, Fraction]:
        """Exact time of the first frame, and that at which the last is no longer displayed."""
        if not len(self):
            return Fraction(0), Fraction(0)
        end = int(self.pts[-1]) + int(self.duration[-1])
        return int(self.pts[0]) * self.info.time_base, end * self.info.time_base

    @cached_property
    def seconds(self) -> Fraction:
        """Exact length: from the first frame to the end of the last."""
        first, end = self.span_seconds
        return end - first

    @cached_property
    def frame_of_packet(self) -> Int64Array:
        """int64 ``(m,)``: the frame that each packet gives, -1 for packets that are never output."""
        frames = np.full(len(self.packets), -1, dtype=np.int64)
        frames[self.packet] = np.arange(len(self))
        return frames

    @cached_property
    def random_access_points(self) -> Int64Array:
        """int64, ascending: the packets at which decoding of some frame begins."""
        return np.unique(self.start)


def _check(table: SegmentTable) -> None:
    """Refuse impossible columns, of any writer.

    Raises:
        FrameIndexInvalidError: With the first thing that is wrong.
    """
    problem = _column_problem(table) or _value_problem(table)
    if problem is None:
        try:
            _check_times(table)
        except (OverflowError, ValueError) as error:
            problem = str(error)
    if problem is not None:
        raise FrameIndexInvalidError(
            f"the frame index cannot be true: {problem}; {WRITE_ANEW}",
            uri=table.info.uri,
        )


def _check_times(table: SegmentTable) -> None:
    """Raise where a time does not fit into nanoseconds: times ascend, so that the first and last suffice."""
    ends = [int(table.pts[0]), int(table.pts[-1]) + int(table.duration[-1])] if len(table) else [0]
    ticks_to_ns_ceil(
        np.array([*ends, *table.info.untimed[:1], *table.info.untimed[-1:]]), table.info.time_base
    )


def _column_problem(table: SegmentTable) -> str | None:
    frames, packets = len(table.pts), len(table.packets.size)
    per_frame: tuple[npt.NDArray[Any], ...] = (table.duration, table.timestamp, table.packet, table.start)
    per_packet: tuple[npt.NDArray[Any], ...] = (
        table.packets.offset,
        table.packets.crc32,
        table.packets.is_reference,
        table.packets.is_corrupt,
        table.packets.is_keyframe,
    )
    if any(len(column) != frames for column in per_frame):
        return "columns of frames differ in length"
    if any(len(column) != packets for column in per_packet):
        return "columns of packets differ in length"
    if packets < frames:
        return f"{frames} frames are displayed but there are only {packets} packets"
    return None


def _value_problem(table: SegmentTable) -> str | None:
    if not len(table):
        return None
    info, packets = table.info, table.packets
    if (table.pts[1:] <= table.pts[:-1]).any():
        return "pts are not strictly ascending"
    if max(-int(table.pts[0]), int(table.pts[-1]), int(table.duration.max())) >= 2**62:
        return "a pts or a duration is out of range"
    if (table.duration < 0).any():
        return "a duration is negative"
    if (table.packet < 0).any() or (table.packet >= len(packets)).any():
        return "a frame points at a packet that does not exist"
    if np.bincount(table.packet).max() > 1:
        return "two frames point at one packet"
    if (table.start < 0).any() or (table.start > table.packet).any():
        return "a frame's decoding begins after its own packet"
    if info.length >= _TOO_LONG:
        return f"a file of {info.length} bytes"
    if (packets.size < 0).any() or int(packets.size.max()) > info.length:
        return f"a packet is larger than the file of {info.length} bytes"
    if info.addressable and (
        (packets.offset < 0).any() or (packets.offset > info.length - packets.size).any()
    ):
        return f"a packet lies outside the file of {info.length} bytes"
    return None
