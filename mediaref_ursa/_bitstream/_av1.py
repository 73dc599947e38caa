"""AV1: shown key frames in temporal units (AV1 bitstream specification, 5.3, 5.9 and 7.6)."""

from __future__ import annotations

from collections.abc import Iterator

from mediaref_ursa._bitstream._bits import BitReader
from mediaref_ursa._bitstream._traits import Traits

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY_FRAME = 0


class Av1Inspector:
    """Reads AV1 temporal units.

    Only a shown key frame at the head of its unit counts as a random access point, and only where a
    decoder that begins there knows the sequence header; a delayed one (hidden, shown later) would
    need frames between to be left out, so that decoding begins earlier instead.
    """

    def __init__(self, extradata: bytes) -> None:
        configuration = extradata[4:] if extradata[:1] == b"\x81" else extradata
        self._configured = _sequence_header(memoryview(configuration))
        self._in_force = self._configured

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        found = b""
        headers: list[tuple[bool, bool]] = []
        for kind, payload in _obus(data):
            if kind == _SEQUENCE_HEADER:
                found = self._in_force = bytes(payload)
            elif kind in (_FRAME_HEADER, _FRAME):
                headers.append(self._frame_header(payload))
        knows_sequence = (found or self._configured) == self._in_force
        key = bool(headers) and headers[0] == (True, True)
        return Traits(random_access=key and knows_sequence, shown=any(shown for _, shown in headers))

    def _frame_header(self, payload: memoryview) -> tuple[bool, bool]:
        """Return whether the frame is a key frame that is coded here, and whether it is shown."""
        if _is_reduced_still_picture(self._in_force):
            return True, True
        reader = BitReader(bytes(payload[:1]))
        if reader.bits(1):  # show_existing_frame
            return False, True
        return reader.bits(2) == _KEY_FRAME, bool(reader.bits(1))


def _is_reduced_still_picture(sequence_header: bytes) -> bool:
    reader = BitReader(sequence_header[:1])
    reader.bits(4)  # seq_profile, still_picture
    return bool(reader.bits(1))


def _sequence_header(data: memoryview) -> bytes:
    return next((bytes(payload) for kind, payload in _obus(data) if kind == _SEQUENCE_HEADER), b"")


def _obus(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and payload of each OBU; one without a size runs to the end."""
    position, end = 0, len(data)
    while position < end:
        header = data[position]
        position += 2 if header & 4 else 1
        size = end - position
        if header & 2:
            size, position = _leb128(data, position)
        if size > end - position:
            return
        yield header >> 3 & 15, data[position : position + size]
        position += size


def _leb128(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << 7 * i
        if not byte & 128:
            break
    return value, position
