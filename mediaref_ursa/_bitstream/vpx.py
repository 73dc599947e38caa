"""VP8, VP9 and FFV1: the first bits of each frame's header."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mediaref_ursa._bitstream.bits import BitReader
from mediaref_ursa._bitstream.traits import Traits

_VP8_START_CODE = b"\x9d\x01\x2a"
_VP8_KEY_HEADER_BYTES = 10
_VP9_SYNC_CODE = 0x498342


class Vp8Inspector:
    """Reads the frame tag of VP8 (RFC 6386, 9.1), and the beginning of key frame headers."""

    def __init__(self, extradata: bytes) -> None:
        del extradata  # VP8 has none

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        if not len(data):
            return Traits(random_access=False, displayed=False, restartable=True)
        is_key = not data[0] & 1
        begins = is_key and data[3:6] == _VP8_START_CODE and not _vp8_keeps_segments(data)
        return Traits(
            random_access=begins,
            displayed=bool(data[0] & 0x10),
            uncertain=is_key and not begins,
            restartable=True,
        )


def _vp8_keeps_segments(data: memoryview) -> bool:
    """Whether a key frame takes its segments from the frame before, or is too short to know (9.2 and 9.3)."""
    if len(data) <= _VP8_KEY_HEADER_BYTES + 1:
        return True
    reader = _BooleanDecoder(data[_VP8_KEY_HEADER_BYTES:])
    reader.bit(), reader.bit()  # color_space, clamping_type
    return bool(reader.bit()) and not reader.bit()  # segmentation_enabled, update_mb_segmentation_map


class _BooleanDecoder:
    """Reads flags of equal probability at the beginning of a partition (RFC 6386, 7.3)."""

    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data[:8].tobytes().ljust(8, b"\0"), "big")
        self._range, self._scale = 255, 56

    def bit(self) -> int:
        """Return the next flag; valid for the first few dozen."""
        split = (1 + ((self._range - 1) >> 1)) << self._scale
        is_set = self._value >= split
        if is_set:
            self._value -= split
            self._range -= split >> self._scale
        else:
            self._range = split >> self._scale
        while self._range < 128:
            self._range <<= 1
            self._scale -= 1
        return int(is_set)


class Vp9Inspector:
    """Reads uncompressed headers of VP9, in superframes too (VP9 bitstream, 6.2 and annex B)."""

    def __init__(self, extradata: bytes) -> None:
        del extradata  # what a configuration record says is in each key frame too

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet.

        A frame leaves more to the next than the slots that it refreshes: probabilities, motion vectors,
        segments, filter strengths. A frame that is error resilient takes none of it over, and leaves none of
        it behind (7.2, reset_frame_context, and 6.4.4), so that of such frames the slots decide.
        """
        headers = [_vp9_header(frame) for frame in _superframe(data)]
        return Traits(
            random_access=bool(headers) and headers[0].is_key,
            displayed=any(header.is_displayed for header in headers),
            discardable=bool(headers) and not any(header.leaves_something for header in headers),
            uncertain=not all(header.is_valid for header in headers),
            depends_on_previous_state=any(header.depends_on_previous_state for header in headers),
            restartable=True,
        )


class _Vp9Header(NamedTuple):
    is_key: bool
    is_displayed: bool
    leaves_something: bool
    depends_on_previous_state: bool
    is_valid: bool = True


def _vp9_header(frame: memoryview) -> _Vp9Header:
    """Read an uncompressed header up to refresh_frame_flags (6.2)."""
    reader = BitReader(bytes(frame[:12]))
    if reader.bits(2) != 2:  # frame_marker
        return _Vp9Header(
            is_key=False,
            is_displayed=True,
            leaves_something=True,
            depends_on_previous_state=True,
            is_valid=False,
        )
    profile = reader.bits(1) | reader.bits(1) << 1
    if profile == 3:
        reader.bits(1)
    if reader.bits(1):  # show_existing_frame
        return _Vp9Header(
            is_key=False, is_displayed=True, leaves_something=True, depends_on_previous_state=True
        )
    is_key, is_displayed, is_resilient = not reader.bits(1), bool(reader.bits(1)), bool(reader.bits(1))
    if is_key:
        is_valid = reader.bits(24) == _VP9_SYNC_CODE
        return _Vp9Header(
            is_valid, is_displayed, leaves_something=True, depends_on_previous_state=False, is_valid=is_valid
        )
    if not is_resilient:
        return _Vp9Header(is_key, is_displayed, leaves_something=True, depends_on_previous_state=True)
    is_intra_only = False if is_displayed else bool(reader.bits(1))
    if is_intra_only:  # rare, and its header has more before the flags
        return _Vp9Header(is_key, is_displayed, leaves_something=True, depends_on_previous_state=False)
    return _Vp9Header(
        is_key, is_displayed, leaves_something=reader.bits(8) != 0, depends_on_previous_state=False
    )


def _superframe(data: memoryview) -> Iterator[memoryview]:
    """Yield the frames of a packet; without a valid superframe index it is one frame."""
    if not len(data):
        return
    marker = data[-1]
    frames, size_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_bytes = 2 + frames * size_bytes
    if marker & 0xE0 != 0xC0 or len(data) < index_bytes or data[-index_bytes] != marker:
        yield data
        return
    sizes = data[len(data) - index_bytes + 1 : -1]
    position = 0
    for i in range(frames):
        size = int.from_bytes(sizes[i * size_bytes : (i + 1) * size_bytes], "little")
        if size:
            yield data[position : position + size]
        position += size


class Ffv1Inspector:
    """Reads the first range-coded bit of FFV1, its keyframe flag (RFC 9043, 4.3 and 3.8.1)."""

    def __init__(self, extradata: bytes) -> None:
        del extradata

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        return Traits(random_access=int.from_bytes(data[:2], "big") >= 0x7F80, displayed=len(data) > 0)
