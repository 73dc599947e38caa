"""The check of a scanned video by decoding it: what bits and checksums do not tell."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from mediaref_ursa._damage import damage_before
from mediaref_ursa._errors import CorruptMediaError
from mediaref_ursa._frame_table import DECODED, EncodedPacket, SegmentTable
from mediaref_ursa._pixels import MAX_PIXELS
from mediaref_ursa._pyav._decoders import Decoder, NumberedFrame
from mediaref_ursa._pyav._trial import numbered_packets, pixel_crc
from mediaref_ursa._reader import RangeReader


def checked_by_decoding(reader: RangeReader, table: SegmentTable) -> SegmentTable:
    """Decode a segment linearly and from each random access point; return its table with what is damaged.

    Packets are damaged whose pictures the decoder marks, refuses or never gives, and those whose frames
    differ between the two.

    Raises:
        StoreError: The file cannot be read.
        CorruptMediaError: The demuxer gives up.
    """
    check = _Check(table)
    for packet in numbered_packets(reader, table.info, set()):
        if packet.number < len(table.packets):
            check.feed(packet)
    corrupt = table.packets.is_corrupt.copy()
    corrupt[check.finish()] = True
    packets = replace(table.packets, is_corrupt=corrupt)
    return replace(table, packets=packets, info=replace(table.info, verified=DECODED))


class _Check:
    """A linear decoder, and one for each random access point whose frames have not all come out."""

    def __init__(self, table: SegmentTable) -> None:
        self._table = table
        self._linear = _Decode(table)
        self._fresh: dict[int, _Decode] = {}
        self._pixels: dict[int, int] = {}
        self._damaged: set[int] = set()
        self._frames: dict[int, list[int]] = {}
        for start, packet in zip(table.start.tolist(), table.packet.tolist(), strict=True):
            self._frames.setdefault(start, []).append(packet)

    def feed(self, packet: EncodedPacket) -> None:
        """Feed the next packet to each decoder that is to see it."""
        self._linear.feed(packet)
        if packet.number in self._frames:
            self._fresh[packet.number] = _Decode(self._table)
        for start, decode in list(self._fresh.items()):
            decode.feed(packet)
            if packet.number >= max(self._frames[start]) + self._table.info.lookahead_packets:
                self._close(start)

    def finish(self) -> list[int]:
        """Return the packets that are damaged."""
        self._linear.drain()
        for start in list(self._fresh):
            self._close(start)
        marked = self._linear.decoder.damaged
        differing = {
            packet
            for packet in self._table.packet.tolist()
            if self._pixels.get(packet) != self._linear.pixels.get(packet)
            and damage_before(self._table, packet, marked) is None
        }
        return sorted({*marked, *self._damaged, *differing})

    def _close(self, start: int) -> None:
        """Take the frames of a random access point."""
        decode = self._fresh.pop(start)
        decode.drain()
        for packet in self._frames[start]:
            bad = damage_before(self._table, packet, decode.decoder.damaged)
            if bad is not None:
                self._damaged.add(bad)
            if packet in decode.pixels:
                self._pixels[packet] = decode.pixels[packet]


class _Decode:
    """A decoder, and the CRC-32 of the pixels of each packet's frame."""

    def __init__(self, table: SegmentTable) -> None:
        self.decoder = Decoder(table.info, MAX_PIXELS, frame_of_packet=table.frame_of_packet)
        self.decoder.begin()
        self.pixels: dict[int, int] = {}

    def feed(self, packet: EncodedPacket) -> None:
        try:
            self._take(self.decoder.feed(packet))
        except CorruptMediaError:  # as players do, it goes on
            self.decoder.damaged[packet.number] = frozenset()

    def drain(self) -> None:
        with contextlib.suppress(CorruptMediaError):
            self._take(self.decoder.drain())

    def _take(self, frames: list[NumberedFrame]) -> None:
        self.pixels.update((number, pixel_crc(frame)) for number, frame in frames)
