"""Checks by decoding, for damage that neither headers nor checksums reveal."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.array_types import BoolArray
from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa._model.damage import damage_before
from mediaref_ursa._model.pixels import MAX_PIXELS
from mediaref_ursa._model.segment import DECODED, EncodedPacket, SegmentTable
from mediaref_ursa._pyav.decoder import Decoder, NumberedFrame
from mediaref_ursa._scan.trial_decode import numbered_packets, pixel_crc

_MAX_SEGMENTS = 1024
_HELD_FRAMES = 24
_READ_ON = frozenset({"ffvhuff", "huffyuv", "hymt", "vp8"})
"""Codecs whose decoders read past the end of a truncated packet, unmarked, and never past a whole one's."""
_TAIL = bytes(range(165, 165 + 64))
_Picture = TypeVar("_Picture")


def checked_by_decoding(reader: RangeReader, table: SegmentTable) -> SegmentTable:
    """Return a segment's table with damaged packets, found by decoding from each random access point.

    Packets are damaged whose pictures the decoder marks, refuses or never gives, and those whose frames
    differ between the two.

    Raises:
        StoreError: The file cannot be read.
        CorruptMediaError: The demuxer fails.
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
    """A linear decoder, and one for each random access point whose frames are not all decoded yet."""

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
        """Feed the next packet to the linear decoder and to each open one."""
        self._linear.feed(packet)
        if packet.number in self._frames:
            self._fresh[packet.number] = _Decode(self._table, is_fresh=True)
        for start, decode in list(self._fresh.items()):
            decode.feed(packet)
            if packet.number >= max(self._frames[start]) + self._table.info.lookahead_packets:
                self._close(start)

    def finish(self) -> list[int]:
        """Return the damaged packets."""
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
        """Compare the frames of a random access point with the linear decode, and close its decoder."""
        decode = self._fresh.pop(start)
        decode.drain()
        for packet in self._frames[start]:
            bad = damage_before(self._table, packet, decode.decoder.damaged)
            if bad is not None:
                self._damaged.add(bad)
            if packet in decode.pixels:
                self._pixels[packet] = decode.pixels[packet]


class _Decode:
    """A decoder, and the CRC-32 of the pixels of each packet's frame.

    A fresh one is to give other pixels than the linear one wherever a packet does not say all of its picture.
    Frames that it holds keep the decoder from writing the next ones into their memory: what it leaves
    unwritten differs. Bytes behind a packet differ from the zeros that a cut one is otherwise filled with.
    """

    def __init__(self, table: SegmentTable, *, is_fresh: bool = False) -> None:
        self.decoder = Decoder(table.info, MAX_PIXELS, frame_of_packet=table.frame_of_packet)
        self.decoder.begin()
        self.pixels: dict[int, int] = {}
        self._held: deque[NumberedFrame] = deque(maxlen=_HELD_FRAMES if is_fresh else 0)
        self._tail = _TAIL if is_fresh and table.info.codec in _READ_ON else b""

    def feed(self, packet: EncodedPacket) -> None:
        if self._tail:
            packet = packet._replace(data=bytes(packet.data) + self._tail)
        try:
            self._take(self.decoder.feed(packet))
        except CorruptMediaError:  # continue after the error, as players do
            self.decoder.damaged[packet.number] = frozenset()

    def drain(self) -> None:
        with contextlib.suppress(CorruptMediaError):
            self._take(self.decoder.drain())

    def _take(self, frames: list[NumberedFrame]) -> None:
        self.pixels.update((number, pixel_crc(frame)) for number, frame in frames)
        self._held += frames


class RunCheck:
    """Finds the damaged pictures of a run by PyAV, for an engine that does not report them.

    Frames that were found good are remembered, so that each is checked once in a process, and none of an
    index that was made by decoding everything.
    """

    def __init__(self, table: SegmentTable, targets: Collection[int]) -> None:
        """Prepare to check a run that begins at a random access point, and whose ``targets`` are wanted."""
        self._table = table
        self._targets = targets
        self._good = _known_good.mask_of(table)
        is_known = table.info.verified == DECODED or all(self._good[packet] for packet in targets)
        self._decode = None if is_known else Decoder(table.info, MAX_PIXELS)
        if self._decode is not None:
            self._decode.frame_of_packet = table.whole.frame_of_packet
            self._decode.begin()

    def watched(self, packets: Iterable[EncodedPacket]) -> Iterator[EncodedPacket]:
        """Yield the packets of the run unchanged, each after it was decoded."""
        if self._decode is None:
            yield from packets
            return
        for packet in packets:
            with self._refusals(packet.number):
                self._decode.feed(packet)
            yield packet
        with self._refusals(self._decode.position):
            self._decode.drain()
        if not self._decode.damaged:
            self._good[list(self._targets)] = True

    def outcome(self, packet: int, picture: _Picture) -> _Picture | MediaRefError | None:
        """Return the outcome of a packet of the run, once all were fed: see ``Decoder.outcome``."""
        if self._decode is None:
            return picture
        return self._decode.outcome(self._table, packet, picture)

    @contextlib.contextmanager
    def _refusals(self, packet: int) -> Iterator[None]:
        assert self._decode is not None
        try:
            yield
        except CorruptMediaError:
            self._decode.damaged[packet] = frozenset()


class _KnownGood(ProcessState):
    """The packets, of the segments read last, whose frames were decoded without damage."""

    def __init__(self) -> None:
        self.forget()

    def close(self) -> None:
        with self._lock:
            self._columns.clear()

    def forget(self) -> None:
        self._lock = ShortLock()
        self._columns: LruDict[object, BoolArray] = LruDict(_MAX_SEGMENTS)

    def mask_of(self, table: SegmentTable) -> BoolArray:
        with self._lock:
            mask = self._columns.use(table.packets.identity)
            if mask is None:
                mask = self._columns[table.packets.identity] = np.zeros(len(table.packets), dtype=np.bool_)
            return mask


_known_good = register(_KnownGood())
