"""Decoders between calls: where they stopped, and frames that are likely to be asked for again.

The pool holds idle decoders only; a checked-out decoder belongs to one thread. So no decoder is closed or fed
while another thread uses it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa._model.segment import AlphaSplit, SegmentInfo, SegmentTable
from mediaref_ursa._plan.access_pattern import AccessPattern
from mediaref_ursa._pyav.decoder import Decoder
from mediaref_ursa.store._token import tokens

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from mediaref_ursa.store import ObjectStore

MAX_IDLE = 16
MAX_IDLE_BYTES = 64 << 20
MAX_KEPT_BYTES = 16 << 20
_MAX_PATTERNS = 256
_MAX_LEFT_ALONE = 4


class DecoderKey(NamedTuple):
    """What a decoder is of: the packets of one table, read from one store, under one limit."""

    uri: str
    packets: object
    store: int
    max_pixels: int

    @classmethod
    def from_table(cls, table: SegmentTable, store: ObjectStore, max_pixels: int) -> DecoderKey:
        return cls(table.info.uri, table.packets.identity, tokens.of(store), max_pixels)


@dataclass(frozen=True)
class _Idle:
    key: DecoderKey
    decoder: Decoder


class DecoderPool(ProcessState):
    """What is kept between calls, least recently used dropped first. Threads share it.

    Bounded in decoders, in the bytes that these hold, and in those of frames. No file is held open.
    Nothing is given out, or kept for long, of a store that is gone.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be empty, with a free lock."""
        self._lock = ShortLock()
        self._idle: list[_Idle] = []
        self._kept: OrderedDict[tuple[DecoderKey, int], tuple[VideoFrame, int]] = OrderedDict()
        self._kept_bytes = 0
        self._patterns: LruDict[tuple[DecoderKey, int], AccessPattern] = LruDict(_MAX_PATTERNS)

    def before_fork(self) -> None:
        """Close the idle decoders, which the child could not free; checked-out ones are not in the pool."""
        self._lock.acquire()
        self._empty()

    def after_fork(self) -> None:
        self._lock.release()

    def close(self) -> None:
        """Close all that is idle, and let all frames go."""
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        self._idle, self._kept, self._kept_bytes = [], OrderedDict(), 0
        self._patterns.clear()

    def pattern(self, key: DecoderKey, frames: Int64Array) -> AccessPattern:
        """Note the frames, ascending, that this thread asks for; return how they go on from those before."""
        mine = key, threading.get_ident()
        with self._lock:
            before = self._patterns.pop(mine, None)
            pattern = AccessPattern(frames) if before is None else before.followed_by(frames)
            self._patterns[mine] = pattern
        return pattern

    def take_resumable(self, key: DecoderKey) -> list[Decoder]:
        """Take the decoders that may be fed what follows, by their positions, ascending."""
        with self._lock:
            found = [idle for idle in self._idle if idle.decoder.can_resume and idle.key == key]
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
            spare = [idle for idle in mine if not idle.decoder.can_resume]
            if len(mine) > _MAX_LEFT_ALONE:
                spare += mine
            if not spare:
                return None
            self._idle.remove(spare[0])
            return spare[0].decoder

    def give_back(self, key: DecoderKey, decoder: Decoder) -> None:
        """Let a decoder be idle, if it is of use later.

        One that met damage is not: even flushed it may decode other pictures otherwise than a new one.
        """
        if decoder.damaged or not (decoder.can_resume or decoder.info.restartable):
            return
        with self._lock:
            gone = self._of_stores_gone()
            if not tokens.is_current(key.store):  # all was closed meanwhile
                return
            self._idle.append(_Idle(key, decoder))
            while len(self._idle) > 1 and (
                len(self._idle) > MAX_IDLE or sum(idle.decoder.nbytes for idle in self._idle) > MAX_IDLE_BYTES
            ):
                gone.append(self._idle.pop(0))
        del gone

    def keep(self, key: DecoderKey, packet: int, frame: VideoFrame) -> None:
        """Keep a frame that is likely to be asked for soon."""
        nbytes = sum(plane.buffer_size for plane in frame.planes)
        with self._lock:
            if not tokens.is_current(key.store) or nbytes > MAX_KEPT_BYTES:
                return
            _, replaced = self._kept.pop((key, packet), (None, 0))
            self._kept[key, packet] = frame, nbytes
            self._kept_bytes += nbytes - replaced
            while self._kept_bytes > MAX_KEPT_BYTES:
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

    def _of_stores_gone(self) -> list[_Idle]:
        """Take the decoders of stores that are gone out of the pool, and drop the frames of these."""
        gone = [idle for idle in self._idle if not tokens.is_current(idle.key.store)]
        for idle in gone:
            self._idle.remove(idle)
        stores = {idle.key.store for idle in gone}
        for key in [key for key in self._kept if key[0].store in stores] if stores else ():
            self._kept_bytes -= self._kept.pop(key)[1]
        return gone


decoders = register(DecoderPool())
"""The pool of this process."""
