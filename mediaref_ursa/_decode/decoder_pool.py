"""Pool of idle decoders between calls, with their positions, and of frames that are likely to be reused.

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
    """Key of a decoder: the packets of one table, read from one store, under one limit of pixels."""

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
    """Idle decoders, cached frames and access patterns, least recently used dropped first. Threads share it.

    Bounded in the number of decoders, in their bytes, and in the bytes of frames. No file is held open.
    Decoders and frames of a store that no longer exists are never given out, and soon removed.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset to an empty pool with a free lock, as in a forked child."""
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
        """Close the idle decoders, and clear the cached frames."""
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        self._idle, self._kept, self._kept_bytes = [], OrderedDict(), 0
        self._patterns.clear()

    def pattern(self, key: DecoderKey, frames: Int64Array) -> AccessPattern:
        """Record the frames, ascending, that this thread requests; return the access pattern."""
        mine = key, threading.get_ident()
        with self._lock:
            before = self._patterns.pop(mine, None)
            pattern = AccessPattern(frames) if before is None else before.followed_by(frames)
            self._patterns[mine] = pattern
        return pattern

    def take_resumable(self, key: DecoderKey) -> list[Decoder]:
        """Check out the decoders that can resume, ascending by their positions."""
        with self._lock:
            found = [idle for idle in self._idle if idle.decoder.can_resume and idle.key == key]
            for idle in found:
                self._idle.remove(idle)
        return sorted((idle.decoder for idle in found), key=lambda decoder: decoder.position)

    def take(self, key: DecoderKey, info: SegmentInfo, alpha: AlphaSplit | None = None) -> Decoder:
        """Check out or make a decoder that is ready for any random access point.

        Raises:
            UnsupportedMediaError: There is no decoder for the codec.
        """
        decoder = self._take_spare(key) if info.restartable else None
        decoder = decoder or Decoder(info, key.max_pixels, alpha=alpha)
        decoder.begin()
        return decoder

    def _take_spare(self, key: DecoderKey) -> Decoder | None:
        """Check out an idle decoder that cannot resume, or, if there are many, one that can."""
        with self._lock:
            mine = [idle for idle in self._idle if idle.key == key]
            spare = [idle for idle in mine if not idle.decoder.can_resume]
            if len(mine) > _MAX_LEFT_ALONE:
                spare += mine
            if not spare:
                return None
            self._idle.remove(spare[0])
            return spare[0].decoder

    def give_back(self, key: DecoderKey, *given: Decoder) -> None:
        """Return decoders to the pool, those that a later call can use.

        A decoder that met damage is not kept: even flushed it may decode other pictures differently.
        """
        usable = [
            _Idle(key, decoder)
            for decoder in given
            if not decoder.damaged and (decoder.can_resume or decoder.info.restartable)
        ]
        if not usable:
            return
        with self._lock:
            gone = self._of_stores_gone()
            if not tokens.is_current(key.store):  # the pool was closed meanwhile
                return
            self._idle += usable
            while len(self._idle) > 1 and (
                len(self._idle) > MAX_IDLE or sum(idle.decoder.nbytes for idle in self._idle) > MAX_IDLE_BYTES
            ):
                gone.append(self._idle.pop(0))
        del gone

    def keep(self, key: DecoderKey, packet: int, frame: VideoFrame) -> None:
        """Cache a frame that is likely to be requested soon."""
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
        """Take the cached frames of some packets out of the pool: a frame belongs to one call at a time."""
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
        """Remove the decoders and frames of stores that no longer exist; return these decoders."""
        stores = {idle.key.store for idle in self._idle}
        stores = {store for store in stores if not tokens.is_current(store)}
        if not stores:
            return []
        gone = [idle for idle in self._idle if idle.key.store in stores]
        for idle in gone:
            self._idle.remove(idle)
        for key in [key for key in self._kept if key[0].store in stores]:
            self._kept_bytes -= self._kept.pop(key)[1]
        return gone


decoders = register(DecoderPool())
"""The decoder pool of this process."""
