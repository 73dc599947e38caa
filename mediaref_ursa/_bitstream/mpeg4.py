"""MPEG-4 part 2: VOP headers, VOPs that are not coded, and headers that stay in force."""

from __future__ import annotations

from collections.abc import Iterator

from mediaref_ursa._bitstream.bits import BitReader
from mediaref_ursa._bitstream.carried import CarriedHeaders
from mediaref_ursa._bitstream.traits import Traits

_START_CODE = b"\0\0\1"
_VOL_FIRST, _VOL_LAST = 0x20, 0x2F
_SEQUENCE, _VISUAL_OBJECT, _USER_DATA, _VOP = 0xB0, 0xB5, 0xB2, 0xB6
_VOL_HEAD_BYTES = 64
_EXTENDED_ASPECT_RATIO = 15
_VBV_BITS = 79
_INTRA, _BIDIRECTIONAL = 0, 2


class Mpeg4Inspector:
    """Reads VOP headers of MPEG-4 part 2 (ISO/IEC 14496-2, 6.2.5).

    Some encoders pack two VOPs into a packet and send one that is not coded in the next, or send such VOPs
    for repeated frames: which packets give frames, and from where they can be decoded, is then learnt by
    decoding. A VOP that is not coded carries no picture, whatever its type says.

    User data say which encoder it was; decoders choose the inverse transform by that. They and the video
    object layer stay in force until others come.

    In interlaced video with B-VOPs, FFmpeg scales motion vectors by a time that it takes from the first
    B-VOP it meets: such streams are decoded from their first packet, without leaving any out.
    """

    def __init__(self, extradata: bytes) -> None:
        self._configured = dict(_headers(extradata))
        self._carried = CarriedHeaders()
        self._carried.begin_packet(self._configured)
        self._vol = _find_vol(extradata)
        self._has_bidirectional = False
        self._configurations = {
            (key, header) for key, header in self._configured.items() if key[0] != "user data"
        }

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        raw = bytes(data)
        vops = list(_vops(raw))
        headers = list(_headers(raw[: vops[0] if vops else len(raw)]))
        found = dict(headers)
        missing = self._carried.begin_packet(found)
        self._configurations |= {(key, header) for key, header in headers if key[0] != "user data"}
        self._vol = _find_vol(raw) or self._vol
        types = [raw[position] >> 6 for position in vops]
        coded = all(self._is_coded(raw[position : position + 16]) for position in vops)
        self._has_bidirectional |= _BIDIRECTIONAL in types
        bound_to_the_first = self._has_bidirectional and _is_interlaced(self._vol)
        random_access = types[:1] == [_INTRA] and coded and self._vol is not None and not bound_to_the_first
        return Traits(
            random_access=random_access,
            displayed=bool(vops),
            discardable=types == [_BIDIRECTIONAL] and not (bound_to_the_first or self._carried.changed),
            uncertain=len(vops) != 1 or not coded or self._changes_configuration,
            start_headers=self._not_configured(missing) if random_access else b"",
        )

    @property
    def _changes_configuration(self) -> bool:
        """Whether headers of one kind differ: decoders keep the colours of one where another states none."""
        return len(self._configurations) > len({key for key, _ in self._configurations})

    def _not_configured(self, headers: tuple[bytes, ...]) -> bytes:
        return b"".join(header for header in headers if header not in self._configured.values())

    def _is_coded(self, vop: bytes) -> bool:
        """Read a VOP header up to vop_coded (6.2.5); False too where a marker bit is missing."""
        reader = BitReader(vop)
        reader.bits(2)
        for _ in range(8 * len(vop)):  # modulo_time_base
            if not reader.bits(1):
                break
        reader.bits(1 + _time_bits(self._vol))  # a marker bit, vop_time_increment
        return bool(reader.bits(1) and reader.bits(1))


def _vops(raw: bytes) -> Iterator[int]:
    """Yield where the header of each VOP begins, after its start code."""
    code = _START_CODE + bytes([_VOP])
    position = raw.find(code)
    while 0 <= position < len(raw) - len(code):
        yield position + len(code)
        position = raw.find(code, position + len(code))


def _headers(raw: bytes) -> Iterator[tuple[tuple[str, int], bytes]]:
    """Yield the kind and the bytes of each header that stays in force; of user data, the number too."""
    position = raw.find(_START_CODE)
    number = 0
    while 0 <= position < len(raw) - 3:
        following = raw.find(_START_CODE, position + 3)
        header = raw[position : following if following >= 0 else len(raw)]
        code = header[3]
        if code in (_SEQUENCE, _VISUAL_OBJECT):
            yield ("object", code), header
        elif code <= _VOL_LAST:
            yield ("layer", int(code >= _VOL_FIRST)), header
        elif code == _USER_DATA:
            yield ("user data", number), header
            number += 1
        position = following


def _find_vol(data: bytes) -> bytes | None:
    """Return the beginning of the last video object layer header, without its start code."""
    found = None
    for (kind, is_layer), header in _headers(data):
        if kind == "layer" and is_layer:
            found = header[4 : 4 + _VOL_HEAD_BYTES]
    return found


def _read_vol(vol: bytes) -> tuple[BitReader, int] | None:
    """Read a video object layer header up to its time resolution (6.2.3); None for shapes."""
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
        return None
    reader.bits(1)
    resolution = reader.bits(16)
    reader.bits(1)
    return reader, max(1, (resolution - 1).bit_length())


def _time_bits(vol: bytes | None) -> int:
    """Return how many bits vop_time_increment takes."""
    read = None if vol is None else _read_vol(vol)
    return 1 if read is None else read[1]


def _is_interlaced(vol: bytes | None) -> bool:
    """Return the interlaced flag of a video object layer header (6.2.3)."""
    read = None if vol is None else _read_vol(vol)
    if read is None:
        return False
    reader, time_bits = read
    if reader.bits(1):  # fixed_vop_rate
        reader.bits(time_bits)
    reader.bits(29)  # width and height with their markers
    return bool(reader.bits(1))
