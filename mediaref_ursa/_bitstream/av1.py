"""AV1: displayed key frames in temporal units (AV1 bitstream specification, 5.3, 5.9 and 7.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mediaref_ursa._bitstream.bits import BitReader
from mediaref_ursa._bitstream.traits import Traits

_SEQUENCE_HEADER, _FRAME_HEADER, _TILE_GROUP, _FRAME = 1, 3, 4, 6
_KEY_FRAME, _INTRA_ONLY_FRAME, _SWITCH_FRAME = 0, 2, 3
_SELECT = 2  # SELECT_SCREEN_CONTENT_TOOLS and SELECT_INTEGER_MV: each frame says it
_HEADER_BYTES = 24  # more than any frame header takes up to refresh_frame_flags


@dataclass(frozen=True)
class _Sequence:
    """The fields of a sequence header that a frame header's reader needs.

    Attributes:
        reduced: Still pictures with short headers.
        timed: Frame headers hold what a decoder model needs.
        frame_id_bits: 0 where frames have no ids.
        screen_content: seq_force_screen_content_tools.
        integer_mv: seq_force_integer_mv.
        order_hint_bits: 0 where frames have no order hints.
    """

    reduced: bool = False
    timed: bool = False
    frame_id_bits: int = 0
    screen_content: int = _SELECT
    integer_mv: int = _SELECT
    order_hint_bits: int = 0


class Av1Inspector:
    """Reads AV1 temporal units.

    Only a displayed key frame at the beginning of its unit counts as a random access point, and only where a
    decoder that begins there knows the sequence header; a delayed one (never output, displayed later) would
    need frames between to be left out, so that decoding begins earlier instead.
    """

    def __init__(self, extradata: bytes) -> None:
        configuration = extradata[4:] if extradata[:1] == b"\x81" else extradata
        self._configured = _sequence_header(memoryview(configuration))
        self._in_force = self._configured
        self._sequence = _read_sequence(self._configured)
        self._has_changed = self._relies_on_configuration = False

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        found = b""
        headers: list[_Header] = []
        has_tiles: list[bool] = []
        for kind, payload in _obus(data):
            if kind == _SEQUENCE_HEADER:
                found = bytes(payload)
                self._force(found)
            elif kind in (_FRAME_HEADER, _FRAME):
                headers.append(_frame_header(payload, self._sequence))
                has_tiles.append(kind == _FRAME or headers[-1].repeats)
            elif kind == _TILE_GROUP and has_tiles:
                has_tiles[-1] = True
        knows_sequence = (found or self._configured) == self._in_force
        key = bool(headers) and headers[0].is_key and headers[0].is_displayed and has_tiles[0]
        self._relies_on_configuration |= key and not found
        return Traits(
            random_access=key and knows_sequence,
            displayed=any(header.is_displayed for header in headers),
            discardable=_all_discardable(headers),
            uncertain=not all(has_tiles),
            restartable=not (self._has_changed and self._relies_on_configuration),
        )

    def _force(self, header: bytes) -> None:
        if header != self._in_force:
            self._has_changed = True
            self._in_force, self._sequence = header, _read_sequence(header)


@dataclass(frozen=True)
class _Header:
    """The fields of a frame header; ``refreshes`` is None if the header was not read that far.

    Attributes:
        is_key: A key frame that is coded here.
        is_displayed: The frame is displayed.
        refreshes: The frame is kept for other frames to refer to.
        repeats: It displays a frame that was decoded before (show_existing_frame), and has no tiles.
    """

    is_key: bool
    is_displayed: bool
    refreshes: bool | None
    repeats: bool = False


def _all_discardable(headers: list[_Header]) -> bool | None:
    if any(header.refreshes is None for header in headers):
        return None
    return bool(headers) and not any(header.refreshes for header in headers)


def _frame_header(payload: memoryview, sequence: _Sequence) -> _Header:
    """Read a frame header up to refresh_frame_flags (5.9.2).

    All that a frame leaves to others lies in the slots that it refreshes (7.20): entropy contexts, motion
    vectors and segments too. So a frame that refreshes none may be left out.
    """
    if sequence.reduced:
        return _Header(is_key=True, is_displayed=True, refreshes=True)
    reader = BitReader(bytes(payload[:_HEADER_BYTES]))
    if reader.bits(1):  # show_existing_frame: of a key frame, it refreshes all slots
        return _Header(is_key=False, is_displayed=True, refreshes=True, repeats=True)
    kind, displayed = reader.bits(2), bool(reader.bits(1))
    is_key = kind == _KEY_FRAME
    if is_key and displayed:
        return _Header(is_key, displayed, refreshes=True)
    if sequence.timed:
        return _Header(is_key, displayed, refreshes=None)
    if not displayed:
        reader.bits(1)  # showable_frame
    resilient = kind == _SWITCH_FRAME or bool(reader.bits(1))
    reader.bits(1)  # disable_cdf_update
    screen_content = reader.bits(1) if sequence.screen_content == _SELECT else sequence.screen_content
    if screen_content and sequence.integer_mv == _SELECT:
        reader.bits(1)
    reader.bits(sequence.frame_id_bits)
    if kind != _SWITCH_FRAME:
        reader.bits(1)  # frame_size_override_flag
    reader.bits(sequence.order_hint_bits)
    if not (resilient or kind in (_KEY_FRAME, _INTRA_ONLY_FRAME)):
        reader.bits(3)  # primary_ref_frame
    return _Header(is_key, displayed, kind == _SWITCH_FRAME or reader.bits(8) != 0)


def _read_sequence(header: bytes) -> _Sequence:
    """Read a sequence header (5.5.1)."""
    reader = BitReader(header)
    reader.bits(4)  # seq_profile, still_picture
    if reader.bits(1):
        return _Sequence(reduced=True)
    if reader.bits(1):  # timing_info_present_flag: what a frame header holds then is not read
        return _Sequence(timed=True)
    delays_known = reader.bits(1)
    for _ in range(reader.bits(5) + 1):  # operating points
        reader.bits(12)
        if reader.bits(5) > 7:
            reader.bits(1)
        if delays_known and reader.bits(1):
            reader.bits(4)
    width_bits, height_bits = reader.bits(4) + 1, reader.bits(4) + 1
    reader.bits(width_bits + height_bits)
    frame_id_bits = reader.bits(4) + 2 + reader.bits(3) + 1 if reader.bits(1) else 0
    reader.bits(3 + 4)  # of blocks and intra prediction; of compound modes, warped motion and filters
    has_order_hints = reader.bits(1)
    if has_order_hints:
        reader.bits(2)
    screen_content = _SELECT if reader.bits(1) else reader.bits(1)
    integer_mv = _SELECT
    if screen_content:
        integer_mv = _SELECT if reader.bits(1) else reader.bits(1)
    order_hint_bits = reader.bits(3) + 1 if has_order_hints else 0
    return _Sequence(False, False, frame_id_bits, screen_content, integer_mv, order_hint_bits)


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
