"""Packets of videos whose bytes cannot be addressed: MPEG-TS, compressed Matroska tracks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from mediaref_ursa._errors import CorruptMediaError
from mediaref_ursa._frame_table import EncodedPacket, SegmentTable
from mediaref_ursa._pyav._demux import open_video, packets
from mediaref_ursa._pyav._foreign import foreign_errors
from mediaref_ursa._reader import RangeReader
from mediaref_ursa._time import Int64Array

_SEARCH_PACKETS = 2000


def demuxed_packets(reader: RangeReader, table: SegmentTable, rows: Int64Array) -> Iterator[EncodedPacket]:
    """Yield packets of ascending numbers, through a demuxer over our own reader.

    A demuxer is asked to go near the first packet, which is then known by its size and checksum, as
    is every packet after it. What a decoder gives depends on nothing but these bytes; should they
    not follow one another as the index says, everything is read again from the start.

    Raises:
        CorruptMediaError: The file's packets are not those of the index.
    """
    first = int(rows[0])
    if first:
        found = _collect(reader, table, rows, seek_to=_pts_near(table, first))
        if found is not None:
            yield from found
            return
    found = _collect(reader, table, rows, seek_to=None)
    if found is None:
        raise CorruptMediaError(
            "the packets differ from those that the frame index describes; was the file changed? "
            "Write the index anew with: mediaref-ursa index --overwrite",
            uri=table.info.uri,
        )
    yield from found


def _collect(
    reader: RangeReader, table: SegmentTable, rows: Int64Array, seek_to: int | None
) -> list[EncodedPacket] | None:
    """Return the packets, or None where they do not follow one another as the index says."""
    wanted, last = set(rows.tolist()), int(rows[-1])
    size, crc32 = table.packets.size, table.packets.crc32
    row = int(rows[0]) if seek_to is not None else 0
    searching = seek_to is not None
    out: list[EncodedPacket] = []
    with open_video(reader, uri=table.info.uri) as (container, stream):
        if seek_to is not None:
            with foreign_errors("seek", uri=table.info.uri):
                container.seek(seek_to, stream=stream, backward=True)
        for count, packet in enumerate(packets(container, stream, uri=table.info.uri)):
            data = bytes(packet)
            matches = len(data) == size[row] and zlib.crc32(data) == crc32[row]
            if searching and not matches:
                if count > _SEARCH_PACKETS:
                    return None
                continue
            if not matches:
                return None
            searching = False
            if row in wanted:
                out.append(EncodedPacket(row, data, packet.is_keyframe))
            if row == last:
                return out
            row += 1
    return None


def _pts_near(table: SegmentTable, first: int) -> int:
    """Return the earliest time shown by decoding from a packet."""
    return int(table.pts[table.start == first].min(initial=int(table.pts[-1])))
