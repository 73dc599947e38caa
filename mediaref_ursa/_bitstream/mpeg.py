"""MPEG-1 and MPEG-2: start codes and picture types."""

from __future__ import annotations

from dataclasses import dataclass, field

from mediaref_ursa._bitstream.carried import CarriedHeaders
from mediaref_ursa._bitstream.traits import Traits

_SEQUENCE, _PICTURE, _EXTENSION, _USER_DATA = 0xB3, 0x00, 0xB5, 0xB2
_SLICE_FIRST, _SLICE_LAST = 0x01, 0xAF
_SEQUENCE_EXTENSION, _DISPLAY_EXTENSION, _QUANT_MATRIX_EXTENSION, _PICTURE_CODING_EXTENSION = 1, 2, 3, 8
_INTRA, _BIDIRECTIONAL = 1, 3
_FRAME = 3  # picture_structure
_TMPGENC = b"TMPGEXS"  # FFmpeg decodes the DC coefficients of this encoder's pictures in its own way


@dataclass
class _Headers:
    """The headers of one packet.

    Attributes:
        sequence: A sequence header.
        sequence_extension: Its extension, which only MPEG-2 has.
        matrices: A quantiser matrix extension.
        kind: Picture type of the first picture, -1 without one.
        temporal_reference: Of the first picture.
        structures: picture_structure of each picture that says it.
        pictures: How many picture headers.
        is_cut: Whether a picture lacks its first slice, or has none.
        display: A sequence display extension, which says the colours.
        carried: User data that stay in force.
    """

    sequence: bool = False
    sequence_extension: bool = False
    matrices: bool = False
    kind: int = -1
    temporal_reference: int = -1
    structures: list[int] = field(default_factory=list)
    pictures: int = 0
    is_cut: bool = False
    _awaits_slice: bool = False
    display: bytes = b""
    carried: dict[str, bytes] = field(default_factory=dict)

    def add(self, code: int, body: bytes, unit: bytes) -> None:
        if code == _SEQUENCE:
            self.sequence = True
        elif code == _PICTURE and len(body) > 1:
            if not self.pictures:
                self.kind, self.temporal_reference = body[1] >> 3 & 7, body[0] << 2 | body[1] >> 6
            self.pictures += 1
            self.is_cut |= self._awaits_slice
            self._awaits_slice = True
        elif code == _EXTENSION and body:
            self._add_extension(body)
        elif _SLICE_FIRST <= code <= _SLICE_LAST:
            self.is_cut |= self._awaits_slice and code != _SLICE_FIRST
            self._awaits_slice = False
        elif code == _USER_DATA and _TMPGENC in unit:
            self.carried["encoder"] = unit

    def _add_extension(self, body: bytes) -> None:
        kind = body[0] >> 4
        self.sequence_extension |= kind == _SEQUENCE_EXTENSION
        self.matrices |= kind == _QUANT_MATRIX_EXTENSION
        if kind == _DISPLAY_EXTENSION:
            self.display = body
        if kind == _PICTURE_CODING_EXTENSION:
            self.structures.append(body[2] & 3 if len(body) > 2 else _FRAME)

    @property
    def is_whole(self) -> bool:
        """Whether each picture begins with its first slice."""
        return not (self.is_cut or self._awaits_slice)

    @property
    def single_parity(self) -> int | None:
        """1 or 2 where the packet holds only top or bottom fields."""
        found = set(self.structures)
        return found.pop() if len(found) == 1 and _FRAME not in found else None


class Mpeg2Inspector:
    """Reads picture headers of MPEG-1 and MPEG-2 (ISO/IEC 13818-2, 6.2).

    A sequence header resets the quantiser matrices, so that an intra picture without one is a random
    access point only where no packet carries one, nor other matrices.
    """

    def __init__(self, extradata: bytes) -> None:
        self._headers_in_band = False
        self._is_mpeg2 = _finds_sequence_extension(extradata)
        self._carried = CarriedHeaders()
        self._first_field: tuple[int, int] | None = None
        self._displays: set[bytes] = set()

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        headers = _read_headers(bytes(data))
        self._headers_in_band |= headers.sequence or headers.matrices
        self._is_mpeg2 |= headers.sequence_extension
        missing = self._carried.begin_packet(headers.carried)
        if headers.sequence or headers.display:
            self._displays.add(headers.display)
        is_second = self._is_second_field(headers)
        random_access = headers.kind == _INTRA and not is_second and self._knows_sequence(headers)
        random_access &= headers.is_whole
        changes = headers.sequence or headers.matrices or self._carried.changed
        return Traits(
            random_access=random_access,
            displayed=headers.pictures > 0,
            discardable=headers.kind == _BIDIRECTIONAL and not changes,
            uncertain=self._is_uncertain(headers),
            single_field=headers.single_parity is not None,
            start_headers=b"".join(missing) if random_access else b"",
        )

    def _is_uncertain(self, headers: _Headers) -> bool:
        """Whether a trial decode is needed to know the packet's frames: a part of a picture, or several.

        Decoders keep the colours of a sequence display extension where later sequences have none.
        """
        several = headers.pictures > 1 + _is_field_pair(headers)
        return several or not headers.is_whole or len(self._displays) > 1

    def _knows_sequence(self, headers: _Headers) -> bool:
        if headers.sequence:
            return headers.sequence_extension or not self._is_mpeg2
        return not self._headers_in_band

    def _is_second_field(self, headers: _Headers) -> bool:
        """Return whether a single field completes the frame that the packet before began."""
        before, self._first_field = self._first_field, None
        parity = headers.single_parity
        if parity is None or headers.pictures != 1:
            return False
        if before != (headers.temporal_reference, 3 - parity):
            self._first_field = headers.temporal_reference, parity
            return False
        return True


def _is_field_pair(headers: _Headers) -> bool:
    return sorted(headers.structures) == [1, 2] and headers.pictures == 2


def _read_headers(raw: bytes) -> _Headers:
    headers = _Headers()
    position = raw.find(b"\0\0\1")
    while 0 <= position < len(raw) - 4:
        code = raw[position + 3]
        following = raw.find(b"\0\0\1", position + 4)
        is_user_data = code == _USER_DATA
        end = following if following >= 0 else len(raw)
        unit = raw[position:end] if is_user_data else b""
        headers.add(code, raw[position + 4 : position + 10], unit)
        position = following
    return headers


def _finds_sequence_extension(extradata: bytes) -> bool:
    return _read_headers(extradata).sequence_extension
