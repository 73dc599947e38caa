"""Packets of videos whose bytes cannot be addressed: MPEG-TS, compressed Matroska tracks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._model.segment import EncodedPacket, SegmentTable
from mediaref_ursa._pyav.demux import open_video, packets
from mediaref_ursa._pyav.errors import foreign_errors

_SEARCH_PACKETS = 2000


def demuxed_packets(reader: RangeReader, table: SegmentTable, rows: Int64Array) -> Iterator[EncodedPacket]:
    """Yield packets of ascending numbers, through a demuxer over this package's reader.

    The demuxer seeks to before the first packet, which is then recognised by its size and checksum, as
    is every packet after it. What a decoder gives depends on nothing but these bytes; should they
    not follow one another as the index says, the file is read again from the start.

    Raises:
        CorruptMediaError: The file's packets are not those of the index.
    """
    for seek_to in (_pts_within(table, int(rows[0])), None):
        for packet in _matching(reader, table, rows, seek_to):
            yield packet
            rows = rows[1:]
        if not len(rows):
            return
    raise CorruptMediaError(
        f"the packets are not those that the frame index describes; if the file was changed, {WRITE_ANEW}",
        uri=table.info.uri,
    )


def _matching(
    reader: RangeReader, table: SegmentTable, rows: Int64Array, seek_to: int | None
) -> Iterator[EncodedPacket]:
    """Yield packets as long as their order is that of the index."""
    wanted, last = set(rows.tolist()), int(rows[-1])
    size, crc32 = table.packets.size, table.packets.crc32
    searching = seek_to is not None
    row = int(rows[0]) if searching else 0
    info = table.info
    with open_video(reader, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        if seek_to is not None:
            with foreign_errors("seek", uri=table.info.uri):
                container.seek(seek_to, stream=stream, backward=True)
        for count, packet in enumerate(packets(container, stream, uri=table.info.uri)):
            data = bytes(packet)
            if len(data) != size[row] or zlib.crc32(data) != crc32[row]:
                if searching and count < _SEARCH_PACKETS:
                    continue
                return
            searching = False
            if row in wanted:
                yield EncodedPacket(row, data, packet.is_keyframe)
            if row == last:
                return
            row += 1


def _pts_within(table: SegmentTable, first: int) -> int | None:
    """Return the earliest time displayed by decoding from a packet, None for the first packet."""
    if first == 0:
        return None
    return int(table.pts[table.start == first].min(initial=int(table.pts[-1])))
