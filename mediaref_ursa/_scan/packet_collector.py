"""``PacketCollector``: the columns of a scan, appended packet by packet."""

from __future__ import annotations

import zlib
from array import array

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from mediaref_ursa._bitstream import Inspector, Traits
from mediaref_ursa._core.array_types import BoolArray, Int64Array
from mediaref_ursa._model.segment import UNKNOWN, SegmentInfo
from mediaref_ursa._scan.missing_times import NO_PTS
from mediaref_ursa._scan.packet_columns import INT64_MAX, PacketColumns, uncertain_head

_MAX_REORDER_DEPTH = 16
_MAX_START_HEADERS_BYTES = 256 << 10  # where a stream changes them more often, decoding begins earlier
_START_HEADERS_ENTRY_BYTES = 64


class PacketCollector:
    """Collects the columns of packets in decode order, in arrays of eight bytes a value.

    Attributes:
        addressable: Whether the file contains the bytes of all packets so far as such.
        offset: Where they stand.
        palettes: The colours that hold from a packet on.
    """

    def __init__(self) -> None:
        self.addressable = True
        self.offset = array("q")
        self.palettes: tuple[tuple[int, bytes], ...] = ()
        self._pts = array("q")
        self._duration = array("q")
        self._size = array("q")
        self._crc32 = array("q")
        self._keyframe = bytearray()
        self._corrupt = bytearray()
        self._access = bytearray()
        self._visible = bytearray()
        self._discardable = array("b")
        self._recent_dts: int | None = None
        self._highest_layer = 0
        self._start_headers: list[tuple[int, bytes]] = []
        self._start_headers_bytes = 0
        self._uncertain = False
        self._needs_trial_decode = False
        self._needs_lookahead = False
        self._single_fields = False
        self._has_gap = False
        self._restartable = True

    def __len__(self) -> int:
        return len(self._size)

    @property
    def ends_damaged(self) -> bool:
        """Whether FFmpeg calls the last packet damaged: the file ends within it."""
        return bool(self._corrupt[-1])

    @property
    def has_random_access(self) -> bool:
        """Whether decoding can begin at any of the packets."""
        return any(self._access)

    def mark_damaged(self, packet: int) -> None:
        """Record that a packet's bytes are damaged."""
        self._corrupt[packet] = True

    def add(self, packet: Packet[VideoStream], data: bytes, inspector: Inspector | None) -> None:
        """Append one packet."""
        pts = packet.pts
        self._pts.append(NO_PTS if pts is None else pts)
        self._recent_dts = packet.dts
        self._duration.append(packet.duration or 0)
        self._size.append(len(data))
        self._crc32.append(zlib.crc32(data))
        self._keyframe.append(packet.is_keyframe)
        self._corrupt.append(packet.is_corrupt)
        self._has_gap |= packet.is_corrupt
        if inspector is None:
            self._restartable = False
            self._access.append(packet.is_keyframe)
            self._visible.append(not packet.is_discard)
            self._discardable.append(UNKNOWN)
            return
        traits = inspector.inspect(memoryview(data))
        self._add_access(traits)
        self._visible.append(traits.displayed and not packet.is_discard)
        self._highest_layer = max(self._highest_layer, traits.layer)
        # 0: others need it; n > 0: none of layer n - 1 or below does; -1: not known
        if traits.depends_on_previous_state and len(self._discardable) and self._discardable[-1] > 0:
            self._discardable[-1] = 0
        needed = UNKNOWN if traits.discardable is None else (traits.layer + 1) * traits.discardable
        self._discardable.append(needed)
        # What a decoder makes up for a lost picture depends on all that it was fed.
        self._needs_trial_decode |= traits.uncertain or traits.has_gap
        self._needs_lookahead |= traits.uncertain or traits.single_field
        is_untimed = traits.displayed and pts is None
        self._uncertain |= self._needs_trial_decode or traits.single_field or is_untimed
        self._single_fields |= traits.single_field
        self._has_gap |= traits.has_gap
        self._restartable &= traits.restartable

    def add_unread(
        self, packet: Packet[VideoStream], offset: int, traits: Traits, *, is_keyframe: bool
    ) -> None:
        """Append one packet of which no bytes, or only a prefix, were read."""
        assert packet.pts is not None
        self._pts.append(packet.pts)
        self._recent_dts = packet.dts
        self._duration.append(packet.duration or 0)
        self.offset.append(offset)
        self._size.append(packet.size)
        self._crc32.append(UNKNOWN)
        self._keyframe.append(is_keyframe)
        self._corrupt.append(packet.is_corrupt)
        self._add_access(traits)
        self._visible.append(traits.displayed and not packet.is_discard)
        self._discardable.append(UNKNOWN)

    def _add_access(self, traits: Traits) -> None:
        """Record whether decoding can begin at the next packet, and the headers to be fed in front of it."""
        before = self._start_headers[-1][1] if self._start_headers else b""
        is_start = traits.random_access
        if is_start and traits.start_headers != before:
            self._start_headers_bytes += len(traits.start_headers) + _START_HEADERS_ENTRY_BYTES
            is_start = self._start_headers_bytes <= _MAX_START_HEADERS_BYTES
            if is_start:
                self._start_headers.append((len(self._access), traits.start_headers))
        self._access.append(is_start)

    def finish(self, info: SegmentInfo) -> PacketColumns:
        """Return the collected columns as arrays.

        Args:
            info: The segment; of one that is cut short, the last frames are left out.
        """
        pts = np.array(self._pts, dtype=np.int64)
        displayed, random_access = _flags(self._visible), _flags(self._access)
        discardable = np.array(self._discardable, dtype=np.int64)
        # Where packets are lost, a decoder conceals by what it decoded last: it must be fed all of them.
        needs_all = self._single_fields or self._has_gap or self._needs_trial_decode
        spare = (discardable == self._highest_layer + 1) & (not needs_all)
        # Pictures that a decoder gives before a random access point depend on all packets that it was fed.
        spare[: uncertain_head(pts, displayed, random_access) or 0] = False
        is_corrupt = _flags(self._corrupt)
        if info.container == "mpegts":
            is_corrupt[:] = False  # a jump of its counters, at a joint too; the bytes are there
        if info.cut_short:
            is_corrupt[-1] = True
        return PacketColumns(
            pts=pts,
            duration=np.array(self._duration, dtype=np.int64),
            displayed=displayed,
            random_access=random_access,
            is_reference=np.where(discardable == UNKNOWN, UNKNOWN, ~spare).astype(np.int8),
            may_be_dropped=discardable > 0,
            offset=np.array(self.offset, dtype=np.int64),
            size=np.array(self._size, dtype=np.int64),
            crc32=np.array(self._crc32, dtype=np.int64),
            is_keyframe=_flags(self._keyframe),
            is_corrupt=is_corrupt,
            last_sure_pts=self._last_sure_pts(pts) if info.cut_short else INT64_MAX,
            start_headers=tuple(self._start_headers),
            palettes=self.palettes,
            is_uncertain=self._uncertain,
            needs_trial_decode=self._needs_trial_decode,
            needs_lookahead=self._needs_lookahead,
            restartable=self._restartable and not needs_all,
            addressable=self.addressable,
        )

    def _last_sure_pts(self, pts: Int64Array) -> int:
        """Return the time up to which no packet of a truncated file is lost.

        The last packet may be a part of one. A packet that is lost is decoded, hence displayed, after
        the last packet's dts, so that no frame is lost before that.
        """
        return int(pts[-_MAX_REORDER_DEPTH - 1 :].min()) if self._recent_dts is None else self._recent_dts


def _flags(values: bytearray) -> BoolArray:
    flags: BoolArray = np.frombuffer(bytes(values), dtype=np.bool_).copy()
    return flags
