"""Random access points of codecs that no bitstream reader knows, found by decoding the segment once more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from av.video.frame import VideoFrame

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._model.segment import EncodedPacket, SegmentInfo
from mediaref_ursa._pyav.codec import drain_context, feed_context, open_context
from mediaref_ursa._scan.trial_decode import PixelCrc, TrialDecode

_MAX_OVERLAP_PACKETS = 32
"""Packets of overlap with its successor after which a decoder is taken to have given all its frames."""
_SPARE_SHARE, _SPARE_PACKETS = 4, 16


@dataclass(frozen=True)
class ExactStarts:
    """Random access points proven by fresh decoders.

    Attributes:
        start: int64 ``(m,)``, the last packet from which a fresh decoder gave a frame of the linear decode.
        packet: int64 ``(m,)``, the packet of that frame.
    """

    start: Int64Array
    packet: Int64Array


def exact_starts(
    packets: Iterable[EncodedPacket], info: SegmentInfo, candidates: Int64Array, trial_decode: TrialDecode
) -> ExactStarts:
    """Find the candidates from which a fresh decoder gives the very pixels of the linear decode.

    The segment is decoded once, by decoders that take turns: at each candidate a fresh one begins in parallel
    with the current one, and replaces it when it has given a right frame and the current one all of
    its own. So each packet is decoded about once, whatever the number of candidates. Candidates are passed
    over whose frames the decoder itself calls predicted, and where decoders overlap by more than a quarter of
    packets.

    Args:
        packets: All packets of the segment, in decode order.
        info: What it is.
        candidates: int64 ``(k,)``, ascending, packets that the container flags as keyframes.
        trial_decode: The linear decode, with pixels.
    """
    search = _Search(info, trial_decode)
    claimed = frozenset(candidates.tolist()) - trial_decode.predicted
    for packet in packets:
        search.feed(packet, is_candidate=packet.number in claimed)
    return search.finish()


class _Search:
    """The decoders of one pass: the current one, proven exact, and at times a candidate's next to it."""

    def __init__(self, info: SegmentInfo, trial_decode: TrialDecode) -> None:
        self._info = info
        self._trial_decode = trial_decode
        self._rank_of = {number: rank for rank, number in enumerate(trial_decode.numbers.tolist())}
        self._crc = PixelCrc()
        self._holder: _SpotCheck | None = None
        self._challenger: _SpotCheck | None = None
        self._spare = _SPARE_PACKETS
        self._all: list[_SpotCheck] = []

    def feed(self, packet: EncodedPacket, *, is_candidate: bool) -> None:
        number = packet.number
        if number == 0:
            self._holder = self._begin(0)
        elif is_candidate and self._challenger is None and number in self._rank_of and self._spare > 0:
            self._challenger = self._begin(number)
        self._spare += number % _SPARE_SHARE == 0
        holder, challenger = self._holder, self._challenger
        if challenger is not None:
            challenger.feed(packet)
            self._classify(number)
        if holder is not None and holder is self._holder:
            self._spare -= challenger is not None
            holder.feed(packet)
            if holder.has_failed:
                holder.close()
                self._holder = None
            self._classify(number)

    def finish(self) -> ExactStarts:
        for check in (self._holder, self._challenger):
            if check is not None:
                check.drain()
        start_of: dict[int, int] = {}
        for check in self._all:  # ascending
            if check.start in check.proven and not check.has_failed:
                start_of.update(dict.fromkeys(check.proven, check.start))
        return ExactStarts(np.array([*start_of.values()], np.int64), np.array([*start_of], np.int64))

    def _begin(self, number: int) -> _SpotCheck:
        check = _SpotCheck(number, self._info, self._trial_decode, self._rank_of, self._crc)
        self._all.append(check)
        return check

    def _classify(self, number: int) -> None:
        """Close the candidate's decoder, make it current, or wait for frames that the current one owes."""
        challenger, holder = self._challenger, self._holder
        if challenger is None:
            return
        late = number - challenger.start >= _MAX_OVERLAP_PACKETS
        if challenger.has_failed or (late and not challenger.proven):
            challenger.close()
            self._challenger = None
        elif challenger.proven and (holder is None or late or holder.owes_nothing_before(challenger.start)):
            if holder is not None:
                holder.close()
            self._holder, self._challenger = challenger, None


@dataclass
class _SpotCheck:
    """A fresh decoder from one packet on, whose frames are compared with the linear decode's."""

    start: int
    info: SegmentInfo
    trial_decode: TrialDecode
    rank_of: dict[int, int]
    crc: PixelCrc
    has_failed: bool = False
    proven: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._context = open_context(self.info)
        self._due: deque[int] = deque()  # packets whose frames have not come out
        self._given: dict[int, int] = {}

    def feed(self, packet: EncodedPacket) -> None:
        """Decode one packet and compare the frames that come out."""
        if packet.number in self.rank_of and self._is_mine(packet.number):
            self._due.append(packet.number)
        while self._due and self._due[0] < packet.number - 2 * _MAX_OVERLAP_PACKETS:
            self._due.popleft()  # it never comes
        if packet.number == self.start:
            packet = packet.as_first_of(self.info)
        try:
            self._look(feed_context(self._context, packet, uri=self.info.uri))
        except CorruptMediaError:
            self.has_failed |= self.start > 0 and packet.number not in self.trial_decode.refused

    def drain(self) -> None:
        """Compare the frames that the decoder holds back."""
        try:
            self._look(drain_context(self._context, uri=self.info.uri))
        except CorruptMediaError:
            self.has_failed = self.has_failed or self.start > 0

    def owes_nothing_before(self, successor: int) -> bool:
        """Whether all frames have come, except those that a decoder from ``successor`` on gives too."""
        while self._due and self._due[0] in self.proven:
            self._due.popleft()
        rank = self.rank_of[successor]
        own = [n for n in self._due if n < successor or self.rank_of[n] < rank]
        return all(number in self.proven for number in own)

    def close(self) -> None:
        """Close the decoder; its results stay."""
        del self._context
        self._given.clear()
        self._due.clear()

    def _is_mine(self, number: int) -> bool:
        return self.start == 0 or self.rank_of[number] >= self.rank_of[self.start]

    def _look(self, frames: Iterable[VideoFrame]) -> None:
        for frame in frames:
            number = frame.pts
            expected = None if number is None else self.trial_decode.pixels.get(number)
            if number is None or expected is None or not self._is_mine(number):
                continue
            rank = self._given[number] = self._given.get(number, -1) + 1
            if rank >= len(expected) or self.crc.value(frame) != expected[rank]:
                self.has_failed = True
            elif rank == len(expected) - 1:
                self.proven.add(number)
