"""VP8, VP9, FFV1 and intra-only codecs: the few bits at the head of each frame."""

from __future__ import annotations

from collections.abc import Iterator

from mediaref_ursa._bitstream._bits import BitReader
from mediaref_ursa._bitstream._traits import Traits


class Vp8Inspector:
    """Reads the frame tag of VP8 (RFC 6386, 9.1)."""

    def __init__(self, extradata: bytes) -> None:
        del extradata  # VP8 has none

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        if not len(data):
            return Traits(random_access=False, shown=False)
        return Traits(random_access=not data[0] & 1, shown=bool(data[0] & 0x10))


class Vp9Inspector:
    """Reads uncompressed headers of VP9, in superframes too (VP9 bitstream, 6.2 and annex B)."""

    def __init__(self, extradata: bytes) -> None:
        del extradata  # what a configuration record says is in each key frame too

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        key = shown = False
        for number, frame in enumerate(_superframe(data)):
            is_key, is_shown = _vp9_header(frame)
            key |= is_key and number == 0
            shown |= is_shown
        return Traits(random_access=key, shown=shown)


def _vp9_header(frame: memoryview) -> tuple[bool, bool]:
    """Return whether a frame is a key frame and whether it is shown."""
    reader = BitReader(bytes(frame[:4]))
    reader.bits(2)
    profile = reader.bits(1) | reader.bits(1) << 1
    if profile == 3:
        reader.bits(1)
    if reader.bits(1):  # show_existing_frame
        return False, True
    return not reader.bits(1), bool(reader.bits(1))


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
        return Traits(random_access=int.from_bytes(data[:2], "big") >= 0x7F80, shown=len(data) > 0)


class IntraInspector:
    """Codecs without prediction between frames: each packet stands alone."""

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        return Traits(random_access=True, shown=len(data) > 0, discardable=True)
