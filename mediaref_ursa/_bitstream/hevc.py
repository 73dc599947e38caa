"""HEVC: IRAP pictures, skipped leading pictures, sub-layers (ITU-T H.265, clauses 7.3 and 8.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mediaref_ursa._bitstream.bits import (
    BitReader,
    annex_b_nals,
    length_prefixed_nals,
    unescape,
)
from mediaref_ursa._bitstream.carried import CarriedHeaders
from mediaref_ursa._bitstream.parameter_sets import Key, ParameterSets
from mediaref_ursa._bitstream.sei import Carried, carried_message, sei_messages, sei_units
from mediaref_ursa._bitstream.traits import Traits

_RASL = (8, 9)
_BLA = (16, 17, 18)
_CRA = 21
_LAST_IRAP = 23
_VPS, _SPS, _PPS = 32, 33, 34
_END_OF_SEQUENCE = (36, 37)
_PREFIX_SEI = 39
_ALPHA_CHANNEL = 165  # payload type of alpha channel information (ITU-T H.265, F.14.2.8)
_SEI_HEADER = bytes([_PREFIX_SEI << 1, 1])
_FIRST_SLICE, _NO_OUTPUT_OF_PRIOR_PICTURES = 0x80, 0x40  # in the first byte of a slice header


@dataclass
class _Units:
    """The NAL units of a packet that the reader uses.

    Attributes:
        kind: Of its first slice, -1 without one.
        layer: Temporal layer of its first slice.
        first_slices: How many slices say that a picture begins with them.
        drops_pictures: Whether a picture that begins a sequence drops those that are not displayed yet.
        sets: Parameter sets by key.
        carried: SEI messages that stay in force, by kind.
        ends: Whether the sequence ends after the picture.
        ended: Whether it ended before the picture.
        has_alpha_layer: Whether a message says that another layer is the alpha of this one.
        is_junk: There is no NAL unit at all: the packet is damaged, and should give a picture.
    """

    kind: int = -1
    layer: int = -1
    first_slices: int = 0
    drops_pictures: bool = False
    sets: dict[Key, bytes] = field(default_factory=dict)
    carried: dict[Carried, bytes] = field(default_factory=dict)
    ends: bool = False
    ended: bool = False
    has_alpha_layer: bool = False
    is_junk: bool = True

    @property
    def begins_irap(self) -> bool:
        """Whether the packet holds an IRAP picture with its first slice."""
        return self.first_slices > 0 and _BLA[0] <= self.kind <= _LAST_IRAP

    def add(self, nal: memoryview) -> None:
        kind = (nal[0] >> 1) & 63
        if kind < _VPS:
            self._add_slice(kind, nal)
        elif kind <= _PPS:
            self.sets[_set_key(bytes(nal))] = bytes(nal)
        elif kind in _END_OF_SEQUENCE:
            self.ends |= self.kind >= 0
            self.ended |= self.kind < 0
        elif kind == _PREFIX_SEI:
            for message, payload in sei_messages(unescape(nal[2:])):
                self.has_alpha_layer |= _is_alpha_channel(message, payload)
                if (carried := carried_message(message, payload, is_hevc=True)) is not None:
                    self.carried[carried[0]] = carried[1]

    def _add_slice(self, kind: int, nal: memoryview) -> None:
        if self.kind < 0:
            self.kind, self.layer = kind, (nal[1] & 7) - 1
        flags = nal[2] if len(nal) > 2 else 0
        self.first_slices += bool(flags & _FIRST_SLICE)
        if _BLA[0] <= kind < _CRA and flags & _NO_OUTPUT_OF_PRIOR_PICTURES:
            self.drops_pictures = True


class HevcInspector:
    """Reads HEVC packets, length-prefixed or in Annex B form, as the configuration says.

    Attributes:
        has_alpha_layer: Whether the configuration or a packet so far says that another layer is the alpha.
    """

    def __init__(self, extradata: bytes) -> None:
        self.has_alpha_layer = False
        self._sets = ParameterSets()
        self._carried = CarriedHeaders()
        self._may_hide_pictures = self._has_grain = False
        self._length_size = 0
        self._sequence_begins = True
        self._skips_leading = False
        if extradata[:2] > b"\0\0" or extradata[2:3] > b"\1":  # a configuration record, no start code
            self._length_size = (extradata[21] & 3) + 1 if len(extradata) > 22 else 4
            nals = list(_hvcc_nals(extradata))
        else:
            nals = [bytes(nal) for nal in annex_b_nals(memoryview(extradata))]
        for nal in nals:
            if (nal[0] >> 1) & 63 in (_VPS, _SPS, _PPS):
                self._sets.add_container(_set_key(nal), nal)
                self._may_hide_pictures |= _may_hide_pictures(nal)
            elif (nal[0] >> 1) & 63 == _PREFIX_SEI:
                messages = sei_messages(unescape(memoryview(nal)[2:]))
                self.has_alpha_layer |= any(_is_alpha_channel(*message) for message in messages)

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        units = _Units()
        for nal in self._nals(data):
            units.is_junk = False
            if len(nal) < 2 or (nal[0] & 1) << 5 | nal[1] >> 3:  # another layer of a multi-view stream
                continue
            units.add(nal)
        self._sequence_begins |= units.ended
        self.has_alpha_layer |= units.has_alpha_layer
        knows_sets = self._sets.begin_packet(units.sets)
        missing = self._carried.begin_packet(units.carried)
        if self._sets.changed:
            self._may_hide_pictures |= any(_may_hide_pictures(nal) for nal in units.sets.values())
        headers = sei_units(_SEI_HEADER, missing, self._length_size)
        random_access = knows_sets and headers is not None and units.begins_irap
        if random_access:
            self._sets.begin_at(units.sets)
        traits = self._traits(units, random_access, headers)
        if units.kind >= 0:
            self._sequence_begins = units.ends
        return traits

    def _traits(self, units: _Units, random_access: bool, headers: bytes | None) -> Traits:
        kind = units.kind
        restartable = self._sets.restartable and self._carried.is_empty
        uncertain = kind >= 0 and units.first_slices != 1
        self._has_grain |= Carried.FILM_GRAIN in units.carried
        uncertain |= self._may_hide_pictures or units.drops_pictures
        # Grain is seeded by the number of a picture, which a decoder counts from where it began.
        uncertain |= self._has_grain or self._sets.has_several(_SPS)
        if kind < 0:
            return Traits(
                random_access=False, displayed=units.is_junk, uncertain=uncertain, restartable=restartable
            )
        if _BLA[0] <= kind <= _LAST_IRAP:
            self._skips_leading = kind in _BLA or (kind == _CRA and self._sequence_begins)
        return Traits(
            random_access=random_access,
            displayed=not (kind in _RASL and self._skips_leading),
            discardable=kind < 16 and kind % 2 == 0 and not (self._sets.changed or self._carried.changed),
            layer=units.layer,
            uncertain=uncertain,
            restartable=restartable,
            start_headers=headers if random_access and headers else b"",
        )

    def _nals(self, data: memoryview) -> Iterator[memoryview]:
        if self._length_size:
            return length_prefixed_nals(data, self._length_size)
        return annex_b_nals(data)


def _hvcc_nals(extradata: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3)."""
    if len(extradata) < 23:
        return
    position = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            nal = extradata[position + 2 : position + 2 + size]
            position += 2 + size
            if len(nal) < 2:
                return
            yield nal


def _is_alpha_channel(message: int, payload: bytes) -> bool:
    """Whether a message says that there is a layer of alpha, and does not end one."""
    return message == _ALPHA_CHANNEL and len(payload) > 0 and not payload[0] & 0x80


def _may_hide_pictures(nal: bytes) -> bool:
    """Whether a picture parameter set lets slices say that their picture is not displayed (7.3.2.3.1)."""
    if (nal[0] >> 1) & 63 != _PPS:
        return False
    reader = BitReader(unescape(nal[2:16]))
    reader.ue(), reader.ue(), reader.bits(1)  # ids, dependent_slice_segments_enabled_flag
    return bool(reader.bits(1))  # output_flag_present_flag


def _set_key(nal: bytes) -> Key:
    """Return the NAL type and the id of a parameter set."""
    kind = (nal[0] >> 1) & 63
    reader = BitReader(unescape(nal[2:200]))
    if kind == _VPS:
        return kind, reader.bits(4)
    if kind == _SPS:
        reader.bits(4)
        _skip_profile_tier_level(reader, reader.bits(3))
        return kind, reader.ue()
    return kind, reader.ue()


def _skip_profile_tier_level(reader: BitReader, sub_layers: int) -> None:
    """Skip temporal_id_nesting_flag and profile_tier_level (ITU-T H.265, 7.3.3)."""
    reader.bits(1 + 88 + 8)
    present = [(reader.bits(1), reader.bits(1)) for _ in range(sub_layers)]
    if sub_layers:
        reader.bits(2 * (8 - sub_layers))
    for profile, level in present:
        reader.bits(88 * profile + 8 * level)
