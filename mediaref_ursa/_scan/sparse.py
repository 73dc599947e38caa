"""The sparse scan: it reads the sample tables, and of the media only prefixes of flagged packets.

The demuxer runs over a reader that gives zeros for the media: pts, durations, offsets and sizes come from
the container alone. The prefixes of packets that the
container flags replace the packets that a full scan reads (``_scan/sync_samples``), and are compared with a
few stretches that are read whole.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from mediaref_ursa._bitstream import STATELESS_CODECS, Traits
from mediaref_ursa._containers.mp4 import Extents, media_extents
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._model.segment import SegmentInfo
from mediaref_ursa._pyav.demux import open_video, packets, refuse_changes
from mediaref_ursa._pyav.palettes import palette_of
from mediaref_ursa._scan.options import Progress
from mediaref_ursa._scan.packet_collector import PacketCollector
from mediaref_ursa._scan.packet_columns import PacketColumns
from mediaref_ursa._scan.packet_prefixes import PacketPrefixes, read_pieces
from mediaref_ursa._scan.sync_samples import DeclinedError, SyncSampleChecker

_STRETCHES = 8
_STRETCH_BYTES = 512 << 10
_STRETCHES_SHARE = 100  # of the file's bytes, for all stretches together
_PROGRESS_EVERY_PACKETS = 256
_FALSE_FLAGS_TOLERATED = 8
_WHOLE_FILE_SHARE = 2  # a sparse scan is to cost half of a full one at most
_NO_CLAIM = Traits(random_access=False)
_INTRA = Traits(random_access=True)


def sparse_columns(
    reader: RangeReader,
    info: SegmentInfo,
    *,
    progress: Progress | None = None,
    whatever_it_costs: bool = False,
) -> PacketColumns:
    """Return the columns of a full scan, checksums and reference flags unknown.

    Args:
        reader: The file.
        info: What it is, as probing found it.
        progress: Called now and then with bytes done and bytes in all.
        whatever_it_costs: Also where reading the whole file would be cheaper.

    Raises:
        DeclinedError: Only a full scan can decide, or it costs little more.
    """
    media = None if info.cut_short else media_extents(reader.length, reader.read_at)
    if not info.container.startswith("mov") or media is None:
        raise DeclinedError("samples that moov alone does not describe")
    checker = None if info.codec in STATELESS_CODECS else SyncSampleChecker(info)
    blank = _BlankReader(reader, media)
    with open_video(blank, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        samples = _samples(stream)
        _check_samples(samples, media, checker, info)
        scan = _SparseScan(reader, samples, checker)
        if not whatever_it_costs and scan.cost_bytes > reader.length // _WHOLE_FILE_SHARE:
            raise DeclinedError("the flagged packets lie close together, or the file is small")
        blank.leave_out_media(scan.prefixes)
        for packet in packets(container, stream, uri=info.uri):
            refuse_changes(packet, info)
            if palette_of(packet) is not None:
                raise DeclinedError("the container gives the decoder a palette")
            scan.add(packet)
            if progress is not None and len(scan.columns) % _PROGRESS_EVERY_PACKETS == 0:
                progress(min(blank.tell(), reader.length), reader.length)
    return scan.finish(info)


class _BlankReader(RangeReader):
    """A file that, once switched, gives zeros for its media, except for the prefixes of some packets."""

    def __init__(self, file: RangeReader, media: Extents) -> None:
        super().__init__(file.read_at, file.length)
        self._file = file
        self._media = media
        self._prefixes: PacketPrefixes | None = None

    def leave_out_media(self, prefixes: PacketPrefixes) -> None:
        """Give zeros for media from now on."""
        self._prefixes = prefixes

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on, fewer only at the end of the file."""
        if self._prefixes is None:
            return self._file.read_at(offset, size)
        end = min(offset + size, self.length)
        if offset >= end:
            return b""
        buffer = bytearray(end - offset)
        position = offset
        while position < end:
            begin, stop = self._media_after(position)
            if position < begin:
                real_end = min(begin, end)
                data = self._file.read_at(position, real_end - position)
                buffer[position - offset : real_end - offset] = data
            position = stop
        self._prefixes.lay_over(buffer, offset)
        return bytes(buffer)

    def _media_after(self, position: int) -> tuple[int, int]:
        """Return the extent of media that ``position`` lies in, or the next one."""
        number = bisect_right(self._media, position, key=lambda extent: extent[1])
        return self._media[number] if number < len(self._media) else (self.length, self.length)


@dataclass(frozen=True)
class _Samples:
    """The demuxer's sample table: each packet's facts before it is read, in decode order."""

    offset: Int64Array
    size: Int64Array
    dts: Int64Array
    is_claimed: npt.NDArray[np.bool_]


def _samples(stream: VideoStream) -> _Samples:
    entries = getattr(stream, "index_entries", None)
    if entries is None:
        raise DeclinedError("this PyAV does not hand out the demuxer's index; PyAV 17 and later do")
    found = [(e.pos, e.size, e.timestamp, e.is_keyframe) for e in entries if e.size]
    if not found:
        raise DeclinedError("an empty index")
    columns = np.array(found, dtype=np.int64).T
    return _Samples(columns[0], columns[1], columns[2], columns[3].astype(np.bool_))


def _check_samples(
    samples: _Samples, media: Extents, checker: SyncSampleChecker | None, info: SegmentInfo
) -> None:
    """Decline a sparse scan of samples for which the container's claims are not enough.

    FFmpeg gives an H.264 packet without a duration one that it finds in the packet: then dts stand still.
    """
    begins, ends = np.array(media, dtype=np.int64).reshape(-1, 2).T
    extent = np.searchsorted(begins, samples.offset, side="right") - 1
    if (extent < 0).any() or (samples.offset + samples.size > ends[extent]).any():
        raise DeclinedError("samples outside the media")
    if checker is not None and not samples.is_claimed.any():
        raise DeclinedError("no flagged packets")
    if checker is not None and int(samples.size.min()) < checker.smallest_picture_bytes:
        raise DeclinedError("packets too small to hold a picture")
    if info.codec == "h264" and (np.diff(samples.dts) <= 0).any():
        raise DeclinedError("packets without a duration")


class _SparseScan:
    """One pass over packets whose bytes were mostly not read.

    Attributes:
        columns: The columns of the packets so far.
        prefixes: The prefixes that are read: of flagged packets, of the first and the last.
        cost_bytes: What the pass will cost and what was read before, a request counted in bytes.
    """

    def __init__(self, reader: RangeReader, samples: _Samples, checker: SyncSampleChecker | None) -> None:
        self.columns = PacketCollector()
        self._reader = reader
        self._samples = samples
        self._checker = checker
        flagged = np.flatnonzero(samples.is_claimed & (checker is not None))
        rows = np.unique(np.concatenate([[0, len(samples.size) - 1], flagged])).astype(np.int64)
        with_tails = checker is not None and checker.wants_tails
        self.prefixes = PacketPrefixes(reader, rows, samples.offset, samples.size, with_tails=with_tails)
        self.cost_bytes = reader.bytes_read + self.prefixes.cost_bytes() + reader.length // _STRETCHES_SHARE
        self._flagged = flagged
        positions = np.linspace(0, len(flagged) - 1, _STRETCHES if len(flagged) else 0)
        self._stretches = set(flagged[positions.astype(np.int64)].tolist())
        self._false_flags = 0

    def add(self, packet: Packet[VideoStream]) -> None:
        """Append one packet.

        Raises:
            DeclinedError: It is not the one that the demuxer's index announced.
        """
        row, samples = len(self.columns), self._samples
        if row >= len(samples.size) or (packet.pos, packet.size) != (samples.offset[row], samples.size[row]):
            raise DeclinedError("packets that differ from the demuxer's index")
        if packet.pts is None:
            raise DeclinedError("packets without a pts")
        if row in self.prefixes and not bytes(packet).startswith(self.prefixes.prefix(row)):
            raise DeclinedError("packets that do not stand in the file as such")
        traits = self._traits(row)
        # Where a parser reads the flag from the packet, zeros stand for those that are not flagged.
        is_keyframe = packet.is_keyframe and (self._checker is None or bool(samples.is_claimed[row]))
        self.columns.add_unread(packet, int(packet.pos or 0), traits, is_keyframe=is_keyframe)

    def finish(self, info: SegmentInfo) -> PacketColumns:
        """Return the columns of all packets.

        Raises:
            DeclinedError: Packets are missing, or nothing is a random access point.
        """
        if len(self.columns) != len(self._samples.size):
            raise DeclinedError("packets that differ from the demuxer's index")
        if not self.columns.has_random_access:
            raise DeclinedError("no flagged packet is a random access point")
        return self.columns.finish(info)

    def _traits(self, row: int) -> Traits:
        if self._checker is None:
            return _INTRA
        if not self._samples.is_claimed[row]:
            return _NO_CLAIM
        tail = self.prefixes.tail_before(row) if self._checker.wants_tails else b""
        size = int(self._samples.size[row])
        traits = self._checker.classify(self.prefixes.prefix(row), size, tail, lambda: self._read([row])[0])
        self._count(row, traits)
        if row in self._stretches:
            self._read_stretch(row)
        return traits

    def _count(self, row: int, traits: Traits) -> None:
        """Decline files that flag packets at random, since each flagged packet costs a request."""
        self._false_flags += not traits.random_access
        seen = int(np.searchsorted(self._flagged, row, side="right"))
        if self._false_flags > max(_FALSE_FLAGS_TOLERATED, seen // _FALSE_FLAGS_TOLERATED):
            raise DeclinedError("flagged packets that are no random access points")

    def _read_stretch(self, row: int) -> None:
        """Read packets that follow a flagged one, as far as a share of the file allows."""
        assert self._checker is not None
        position = int(np.searchsorted(self._flagged, row, side="right"))
        stop = int(self._flagged[position]) if position < len(self._flagged) else len(self._samples.size)
        max_bytes = min(_STRETCH_BYTES, self._reader.length // _STRETCHES_SHARE // _STRETCHES)
        fitting = int(np.searchsorted(np.cumsum(self._samples.size[row + 1 : stop]), max_bytes, side="right"))
        rows = list(range(row + 1, row + 1 + fitting))
        self._checker.spot_check(self._read(rows), is_adjacent=row + 1 + fitting == stop)

    def _read(self, rows: list[int]) -> list[bytes]:
        return read_pieces(self._reader, self._samples.offset[rows], self._samples.size[rows])
