"""``Decoder``: a codec context that tracks which frames it gave, still owes, and decoded with damage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._model.damage import damage_before, damage_error, is_spoilt
from mediaref_ursa._model.segment import AlphaSplit, EncodedPacket, SegmentInfo, SegmentTable
from mediaref_ursa._pyav.alpha import AlphaDecoder
from mediaref_ursa._pyav.codec import drain_context, feed_context, open_context

_PICTURES_HELD = 6  # by a decoder, besides those that it holds back to put them in order
_MAX_OVERTAKING = 16
"""Most frames, later in decode order, that may be output before a frame: the largest picture buffer."""

NumberedFrame = tuple[int, VideoFrame]
_Picture = TypeVar("_Picture")


@dataclass(eq=False)
class Decoder:
    """A codec context, and its position in decode order.

    Attributes:
        info: The segment that it is of.
        max_pixels: The largest picture.
        codec_threads: FFmpeg's own, within the decoder. With several it lives within one call.
        alpha: Where the parts of packets are that hold their alpha too, else None.
        first: The packet that it began with, -1 before it.
        position: The last packet that it was fed, -1 before the first.
        pending: Packets that it was fed, and whose frames have not come out.
        can_resume: Whether it may be fed what follows; else it has to begin anew.
        damaged: What went wrong since it began: the packets whose pictures the decoder marked as damaged or
            never gave, each with the packets whose frames were still to come out by then.
        frame_of_packet: int64, the displayed frame of each packet, -1 for none: what the decoder must give.
    """

    info: SegmentInfo
    max_pixels: int
    codec_threads: int = 1
    alpha: AlphaSplit | None = None
    first: int = -1
    position: int = -1
    pending: set[int] = field(default_factory=set)
    can_resume: bool = False
    damaged: dict[int, frozenset[int]] = field(default_factory=dict)
    frame_of_packet: Int64Array | None = None
    _context: VideoCodecContext | AlphaDecoder | None = None
    _latest: NumberedFrame | None = None
    _awaited: dict[int, int] = field(default_factory=dict)  # packet to frames that came out before its own
    _held: deque[NumberedFrame] = field(default_factory=deque)
    _max_overtaking: int = 0

    def can_reach(self, start: int, packet: int) -> bool:
        """Whether the decoder gives the frame of a packet when it is fed the packets that follow.

        Args:
            start: The random access point that the frame needs. A decoder that stopped before it, or began
                after it, does not: pictures that lead an open GOP refer to what that one never saw.
            packet: The frame's packet.
        """
        if not self.first <= start <= self.position + 1:
            return False
        return packet > self.position or packet in self.pending

    @property
    def nbytes(self) -> int:
        """Approximate bytes of the pictures that the decoder holds."""
        return (self.info.reorder_depth + _PICTURES_HELD) * self.info.width * self.info.height * 3 // 2

    def begin(self) -> None:
        """Reset the decoder, so that the next packet may be any random access point.

        Raises:
            UnsupportedMediaError: There is no decoder for the codec.
        """
        if self._context is None and self.alpha is not None:
            self._context = AlphaDecoder(self.info, self.alpha, self.max_pixels)
        elif self._context is None:
            self._context = open_context(
                self.info,
                max_pixels=self.max_pixels,
                codec_threads=self.codec_threads,
                refuses_damage=True,
            )
            self._max_overtaking = _MAX_OVERTAKING if self._context.codec.reorder else 0
        else:
            self._context.flush_buffers()
            if self.info.reorder_depth and hasattr(self._context, "reorder_depth"):
                self._context.reorder_depth = self.info.reorder_depth  # a flush forgets it
        self.first = self.position = -1
        self._latest, self.can_resume = None, True
        for state in (self.pending, self.damaged, self._awaited, self._held):
            state.clear()

    def feed(self, encoded: EncodedPacket) -> list[NumberedFrame]:
        """Feed a packet; return the packet number and the frame of all frames that are final by now.

        A packet that gives two frames displays the second, so that a frame waits for the next. A frame
        also waits for those before it in decode order, which may turn out to be damaged.

        Raises:
            CorruptMediaError: The decoder refuses the packet.
        """
        assert self._context is not None
        if self.first < 0:
            self.first = encoded.number
            encoded = encoded.as_first_of(self.info)
        self.position = encoded.number
        self.pending.add(encoded.number)
        if self.alpha is None or self.alpha.alpha_size[encoded.number]:  # else nothing comes of it
            self._awaited[encoded.number] = 0
        if self.info.palettes:
            encoded = encoded._replace(palette=self.info.palette_at(encoded.number))
        if isinstance(self._context, AlphaDecoder):
            return self._sure(self._context.feed(encoded))
        return self._sure(feed_context(self._context, encoded, uri=self.info.uri))

    def drain(self) -> list[NumberedFrame]:
        """Return all frames that the decoder holds back; it must begin anew after that.

        Raises:
            CorruptMediaError: The decoder refuses.
        """
        assert self._context is not None
        self.can_resume = False
        if isinstance(self._context, AlphaDecoder):
            sure = self._sure(self._context.drain())
        else:
            sure = self._sure(drain_context(self._context, uri=self.info.uri))
        for packet in list(self._awaited):
            self._miss(packet)
        sure += self._held
        if self._latest is not None:
            sure.append(self._latest)
        self._latest = None
        self._held.clear()
        self.pending.clear()
        return sure

    def outcome(self, table: SegmentTable, packet: int, picture: _Picture) -> _Picture | MediaRefError | None:
        """Return the picture of a packet, the error of a damaged one, or None if a new decoder must give it.

        Args:
            table: The segment.
            packet: The packet of one of its frames, which is sure.
            picture: The frame.
        """
        if not self.damaged:
            return picture
        start = int(table.start[table.frame_of_packet[packet]])
        if is_spoilt(table, self.first, start, self.damaged):
            return None
        bad = damage_before(table, packet, self.damaged)
        return picture if bad is None else damage_error(packet, bad, table.info.uri)

    def _sure(self, frames: Iterable[VideoFrame]) -> list[NumberedFrame]:
        for frame in frames:
            number = frame.pts
            if number is None:
                continue
            self._note(number, is_damaged=frame.is_corrupt)
            if self._latest is not None and self._latest[0] != number:
                self._held.append(self._latest)
            self._latest = number, frame
        sure = []
        oldest = next(iter(self._awaited), self.position + 1)
        while self._held and self._held[0][0] < oldest:
            sure.append(self._held.popleft())
            self.pending.discard(sure[-1][0])
        return sure

    def _note(self, number: int, *, is_damaged: bool) -> None:
        """Record that a packet's frame was output, and which earlier frames in decode order never will be."""
        self._awaited.pop(number, None)
        if is_damaged:
            self.damaged[number] = frozenset(self._awaited)
        for packet in [packet for packet in self._awaited if packet < number]:
            self._awaited[packet] += 1
            if self._awaited[packet] > self._max_overtaking:
                self._miss(packet)

    def _miss(self, packet: int) -> None:
        """Stop waiting for a packet's frame; a displayed frame that is missing is damage."""
        del self._awaited[packet]
        if self.frame_of_packet is not None and self.frame_of_packet[packet] >= 0:
            self.damaged.setdefault(packet, frozenset())
