"""MPEG-1, MPEG-2 and MPEG-4 part 2: start codes and picture types."""

from __future__ import annotations

from mediaref_ursa._bitstream._bits import BitReader
from mediaref_ursa._bitstream._traits import Traits

_SEQUENCE, _PICTURE, _EXTENSION = 0xB3, 0x00, 0xB5
_PICTURE_CODING_EXTENSION, _QUANT_MATRIX_EXTENSION = 8, 3
_VOL_FIRST, _VOL_LAST = 0x20, 0x2F
_INTRA, _BIDIRECTIONAL = 1, 3
_LARGEST_EMPTY_VOP = 24
_VOL_HEAD_BYTES = 64
_EXTENDED_ASPECT_RATIO = 15
_VBV_BITS = 79


class Mpeg2Inspector:
    """Reads picture headers of MPEG-1 and MPEG-2 (ISO/IEC 13818-2, 6.2).

    A sequence header resets the quantiser matrices, so that an intra picture without one is a random
    access point only where no packet carries one.
    """

    def __init__(self, extradata: bytes) -> None:
        del extradata
        self._headers_in_band = False

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        raw = bytes(data)
        sequence, matrices, picture, fields = False, False, -1, set()
        position = raw.find(b"\0\0\1")
        while 0 <= position < len(raw) - 4:
            code = raw[position + 3]
            body = raw[position + 4 : position + 10]
            if code == _SEQUENCE:
                sequence = self._headers_in_band = True
            elif code == _PICTURE and picture < 0 and len(body) > 1:
                picture = body[1] >> 3 & 7
            elif code == _EXTENSION and body[0] >> 4 == _PICTURE_CODING_EXTENSION:
                fields.add(body[2] & 3 if len(body) > 2 else 3)
            elif code == _EXTENSION and body[0] >> 4 == _QUANT_MATRIX_EXTENSION:
                matrices = True  # they stay in force for the pictures that follow
            position = raw.find(b"\0\0\1", position + 4)
        return Traits(
            random_access=picture == _INTRA and (sequence or not self._headers_in_band),
            shown=picture >= 0,
            discardable=picture == _BIDIRECTIONAL and not (sequence or matrices),
            lone_field=len(fields) == 1 and 3 not in fields,
        )


class Mpeg4Inspector:
    """Reads VOP headers of MPEG-4 part 2 (ISO/IEC 14496-2, 6.2.5).

    Some encoders pack two VOPs into a packet and an empty one into the next, or send empty VOPs for
    repeated frames: which packets give frames is then learnt by decoding once.

    In interlaced video with B-VOPs, FFmpeg scales motion vectors by a time that it takes from the first
    B-VOP it meets: such streams are decoded from their first packet, without leaving any out.
    """

    def __init__(self, extradata: bytes) -> None:
        self._vol = _find_vol(extradata)
        self._configured = self._vol is not None
        self._has_bidirectional = False

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        raw = bytes(data)
        vops: list[int] = []
        position = raw.find(b"\0\0\1\xb6")
        while 0 <= position < len(raw) - 4:
            vops.append(raw[position + 4] >> 6)
            position = raw.find(b"\0\0\1\xb6", position + 4)
        intra = vops[:1] == [0]
        vol = _find_vol(raw)
        self._vol = vol or self._vol
        self._has_bidirectional |= 2 in vops
        bound_to_the_first = self._has_bidirectional and _is_interlaced(self._vol)
        return Traits(
            random_access=intra and (self._configured or vol is not None) and not bound_to_the_first,
            shown=bool(vops),
            discardable=vops == [2] and not bound_to_the_first,
            uncertain=len(vops) != 1 or (not intra and len(raw) <= _LARGEST_EMPTY_VOP),
        )


def _find_vol(data: bytes) -> bytes | None:
    """Return the head of the first video object layer header, without its start code."""
    position = data.find(b"\0\0\1")
    while 0 <= position < len(data) - 3:
        if _VOL_FIRST <= data[position + 3] <= _VOL_LAST:
            return data[position + 4 : position + 4 + _VOL_HEAD_BYTES]
        position = data.find(b"\0\0\1", position + 3)
    return None


def _is_interlaced(vol: bytes | None) -> bool:
    """Read a video object layer header up to its interlaced flag (ISO/IEC 14496-2, 6.2.3)."""
    if vol is None:
        return False
    reader = BitReader(vol)
    reader.bits(9)  # random_accessible_vol, video_object_type_indication
    if reader.bits(1):
        reader.bits(7)  # version, priority
    if reader.bits(4) == _EXTENDED_ASPECT_RATIO:
        reader.bits(16)
    if reader.bits(1):
        reader.bits(3)  # chroma_format, low_delay
        if reader.bits(1):
            reader.bits(_VBV_BITS)
    if reader.bits(2):  # a shape that is not rectangular
        return False
    reader.bits(1)
    resolution = reader.bits(16)
    reader.bits(1)
    if reader.bits(1):  # fixed_vop_rate
        reader.bits(max(1, (resolution - 1).bit_length()))
    reader.bits(29)  # width and height with their markers
    return bool(reader.bits(1))
