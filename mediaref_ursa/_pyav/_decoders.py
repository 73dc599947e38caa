"""Decoders between calls: where they stopped, and frames that are likely to be asked for again.

A decoder belongs to the thread that took it, and to nobody while it is idle here. So none is ever closed or
fed under another's feet: what is in use is not here, and what is here is in use by nobody.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from mediaref_ursa._damage import damage_before, damage_error, is_spoilt
from mediaref_ursa._errors import MediaRefError
from mediaref_ursa._forking import register_at_fork
from mediaref_ursa._frame_table import AlphaSplit, EncodedPacket, SegmentInfo, SegmentTable
from mediaref_ursa._pyav._alpha import AlphaDecoder
from mediaref_ursa._pyav._decode import drain_context, feed_context, open_context
from mediaref_ursa._reentry import ShortLock
from mediaref_ursa._time import Int64Array
from mediaref_ursa._trail import Trail

MOST_IDLE = 16
MOST_IDLE_BYTES = 64 << 20
MOST_KEPT_BYTES = 16 << 20
_MOST_TRAILS = 256
_MOST_LEFT_ALONE = 4
_MOST_STORES = 64  # then those that are gone are looked for
_PICTURES_HELD = 6  # by a decoder, besides those that it holds back to put them in order
_MAX_OVERTAKING = 16
"""Frames later in decode order that may come out before a frame does: the largest picture buffer there is."""

NumberedFrame = tuple[int, VideoFrame]
_Picture = TypeVar("_Picture")


class DecoderKey(NamedTuple):
    """What a decoder is of: the packets of one table, read from one store, under one limit."""

    uri: str
    packets: object
    store: int
    max_pixels: int

    @classmethod
    def of(cls, table: SegmentTable, store: object, max_pixels: int) -> DecoderKey:
        return cls(table.info.uri, table.packets.identity, id(store), max_pixels)


@dataclass(eq=False)
class Decoder:
    """A codec context, and where in decode order it stands.

    Attributes:
        info: The segment that it is of.
        max_pixels: The largest picture.
        codec_threads: FFmpeg's own, within the decoder. With several it lives within one call.
        alpha: Where the parts of packets are that hold their alpha too, else None.
        first: The packet that it began with, -1 before it.
        position: The last packet that it was fed, -1 before the first.
        pending: Packets that it was fed, and whose frames have not come out.
        goes_on: Whether it may be fed what follows; else it has to begin anew.
        damaged: What went wrong since it began: the packets whose pictures the decoder marked as damaged or
            never gave, each with the packets whose frames were still to come out by then.
        frame_of_packet: int64, the frame that each packet shows, -1 for none: what the decoder has to give.
    """

    info: SegmentInfo
    max_pixels: int
    codec_threads: int = 1
    alpha: AlphaSplit | None = None
    first: int = -1
    position: int = -1
    pending: set[int] = field(default_factory=set)
    goes_on: bool = False
    damaged: dict[int, frozenset[int]] = field(default_factory=dict)
    frame_of_packet: Int64Array | None = None
    _context: VideoCodecContext | AlphaDecoder | None = None
    _latest: NumberedFrame | None = None
    _awaited: dict[int, int] = field(default_factory=dict)  # packet to frames that came out before its own
    _held: deque[NumberedFrame] = field(default_factory=deque)
    _max_overtaking: int = 0

    def can_reach(self, start: int, packet: int) -> bool:
        """Whether it gives the frame of a packet when it is fed what follows.

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
        """Memory that its pictures take, about."""
        return (self.info.reorder_depth + _PICTURES_HELD) * self.info.width * self.info.height * 3 // 2

    def begin(self) -> None:
        """Be ready for any random access point.

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
        self._latest, self.goes_on = None, True
        for state in (self.pending, self.damaged, self._awaited, self._held):
            state.clear()

    def feed(self, encoded: EncodedPacket) -> list[NumberedFrame]:
        """Feed a packet; return the packet and the frame of all frames that are sure by now.

        A packet that gives two frames shows the second, so that each waits for the next to come out. A frame
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
        """Return all frames that are held back; the decoder has to begin anew after that.

        Raises:
            CorruptMediaError: The decoder refuses.
        """
        assert self._context is not None
        self.goes_on = False
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
        """Return the picture of a packet; the error of a damaged one; None if a new decoder has to give it.

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
        """Note that a packet's frame came out, and which frames before it in decode order never will."""
        self._awaited.pop(number, None)
        if is_damaged:
            self.damaged[number] = frozenset(self._awaited)
        for packet in [packet for packet in self._awaited if packet < number]:
            self._awaited[packet] += 1
            if self._awaited[packet] > self._max_overtaking:
                self._miss(packet)

    def _miss(self, packet: int) -> None:
        """Wait no longer for a packet's frame; it is damage if there should be one."""
        del self._awaited[packet]
        if self.frame_of_packet is not None and self.frame_of_packet[packet] >= 0:
            self.damaged.setdefault(packet, frozenset())


@dataclass(frozen=True)
class _Idle:
    key: DecoderKey
    decoder: Decoder


class DecoderPool:
    """What is kept between calls, least recently used dropped first. Threads share it.

    Bounded in decoders, in the bytes that these hold, and in those of frames. No file is held open.
    Nothing is kept of a store that is gone, or that cannot be weakly referred to.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Be empty, with a lock that nobody holds."""
        self._lock = ShortLock()
        self._idle: list[_Idle] = []
        self._kept: OrderedDict[tuple[DecoderKey, int], tuple[VideoFrame, int]] = OrderedDict()
        self._kept_bytes = 0
        self._trails: OrderedDict[tuple[DecoderKey, int], Trail] = OrderedDict()
        self._stores: dict[int, weakref.ref[object]] = {}

    def survive_forks(self) -> None:
        """Close what is idle before a fork, and begin the child with nothing.

        A child could not free what another thread is using at that moment; it is not here, so that the
        child merely never hears of it.
        """

        def before() -> None:
            self._lock.acquire()
            self._empty()

        register_at_fork(
            before=before,
            after_in_parent=lambda: self._lock.release(),  # noqa: PLW0108 - a child's lock is another
            after_in_child=self._forget,
        )

    def clear(self) -> None:
        """Close all that is idle, and let all frames go."""
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        self._idle, self._kept, self._kept_bytes = [], OrderedDict(), 0
        self._trails.clear()
        self._stores.clear()

    def knows(self, store: object) -> bool:
        """Return whether anything can be kept of a store; what was kept of one that is gone is dropped."""
        with self._lock:
            known = self._stores.get(id(store))
            if known is not None and known() is store:
                return True
            gone = [id(store)]
            if len(self._stores) >= _MOST_STORES:
                gone += [identity for identity, ref in self._stores.items() if ref() is None]
            for identity in gone:
                self._drop_all_of(identity)
            try:
                self._stores[id(store)] = weakref.ref(store)
            except TypeError:
                return False
            return True

    def trail(self, key: DecoderKey, frames: Int64Array) -> Trail:
        """Note the frames, ascending, that this thread asks for; return how they go on from those before."""
        mine = key, threading.get_ident()
        with self._lock:
            before = self._trails.pop(mine, None)
            trail = Trail(frames) if before is None else before.followed_by(frames)
            self._trails[mine] = trail
            if len(self._trails) > _MOST_TRAILS:
                self._trails.popitem(last=False)
        return trail

    def take_going_on(self, key: DecoderKey) -> list[Decoder]:
        """Take the decoders that may be fed what follows, by their positions, ascending."""
        with self._lock:
            found = [idle for idle in self._idle if idle.decoder.goes_on and idle.key == key]
            for idle in found:
                self._idle.remove(idle)
        return sorted((idle.decoder for idle in found), key=lambda decoder: decoder.position)

    def take(self, key: DecoderKey, info: SegmentInfo, alpha: AlphaSplit | None = None) -> Decoder:
        """Take a decoder that is ready for any random access point.

        Raises:
            UnsupportedMediaError: There is no decoder for the codec.
        """
        decoder = self._take_spare(key) if info.restartable else None
        decoder = decoder or Decoder(info, key.max_pixels, alpha=alpha)
        decoder.begin()
        return decoder

    def _take_spare(self, key: DecoderKey) -> Decoder | None:
        """Take one that has to begin anew anyway, or one of many that might go on."""
        with self._lock:
            mine = [idle for idle in self._idle if idle.key == key]
            spare = [idle for idle in mine if not idle.decoder.goes_on]
            if len(mine) > _MOST_LEFT_ALONE:
                spare += mine
            if not spare:
                return None
            self._idle.remove(spare[0])
            return spare[0].decoder

    def give_back(self, key: DecoderKey, decoder: Decoder) -> None:
        """Let a decoder be idle, if it is of use to anybody later.

        One that met damage is not: even flushed it may decode other pictures otherwise than a new one.
        """
        if decoder.damaged or not (decoder.goes_on or decoder.info.restartable):
            return
        with self._lock:
            if key.store not in self._stores:  # all was dropped meanwhile
                return
            self._idle.append(_Idle(key, decoder))
            gone = []
            while len(self._idle) > 1 and (
                len(self._idle) > MOST_IDLE
                or sum(idle.decoder.nbytes for idle in self._idle) > MOST_IDLE_BYTES
            ):
                gone.append(self._idle.pop(0))
        del gone

    def keep(self, key: DecoderKey, packet: int, frame: VideoFrame) -> None:
        """Keep a frame that is likely to be asked for soon."""
        nbytes = sum(plane.buffer_size for plane in frame.planes)
        with self._lock:
            if key.store not in self._stores or nbytes > MOST_KEPT_BYTES:
                return
            _, replaced = self._kept.pop((key, packet), (None, 0))
            self._kept[key, packet] = frame, nbytes
            self._kept_bytes += nbytes - replaced
            while self._kept_bytes > MOST_KEPT_BYTES:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._kept_bytes -= dropped

    def take_kept(self, key: DecoderKey, packets: Iterable[int]) -> dict[int, VideoFrame]:
        """Take the frames of some packets that are kept: a frame too belongs to who took it."""
        taken: dict[int, VideoFrame] = {}
        with self._lock:
            if not self._kept:
                return taken
            for packet in packets:
                frame, nbytes = self._kept.pop((key, packet), (None, 0))
                if frame is not None:
                    taken[packet] = frame
                    self._kept_bytes -= nbytes
        return taken

    def _drop_all_of(self, store: int) -> None:
        """Forget a store that is gone: another may have its identity now."""
        self._stores.pop(store, None)
        self._idle = [idle for idle in self._idle if idle.key.store != store]
        for key in [key for key in self._kept if key[0].store == store]:
            self._kept_bytes -= self._kept.pop(key)[1]


decoders = DecoderPool()
"""Those of this process."""
decoders.survive_forks()


def let_decoders_go() -> None:
    """Close the idle decoders of this process, and let the frames go that are kept."""
    decoders.clear()
