"""HEVC: IRAP pictures, skipped leading pictures, sub-layers (ITU-T H.265, clauses 7.3 and 8.1)."""

from __future__ import annotations

from collections.abc import Iterator

from mediaref_ursa._bitstream._bits import (
    BitReader,
    annex_b_nals,
    length_prefixed_nals,
    unescape,
)
from mediaref_ursa._bitstream._parameter_sets import Key, ParameterSets
from mediaref_ursa._bitstream._traits import Traits

_RASL = (8, 9)
_BLA = (16, 17, 18)
_CRA = 21
_LAST_IRAP = 23
_VPS, _SPS, _PPS = 32, 33, 34
_END_OF_SEQUENCE = (36, 37)


class HevcInspector:
    """Reads HEVC packets, length-prefixed or in Annex B form, as the configuration says."""

    def __init__(self, extradata: bytes) -> None:
        self._sets = ParameterSets()
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

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        kind = layer = -1
        ends = False
        found: dict[Key, bytes] = {}
        for nal in self._nals(data):
            if len(nal) < 2 or (nal[0] & 1) << 5 | nal[1] >> 3:  # another layer of a multi-view stream
                continue
            nal_kind = (nal[0] >> 1) & 63
            if nal_kind < 32:
                if kind < 0:
                    kind, layer = nal_kind, (nal[1] & 7) - 1
            elif nal_kind <= _PPS:
                found[_set_key(bytes(nal))] = bytes(nal)
            elif nal_kind in _END_OF_SEQUENCE:
                ends = ends or kind >= 0
                self._sequence_begins |= kind < 0
        knows_sets = self._sets.begin_packet(found)
        if knows_sets and 16 <= kind <= _LAST_IRAP:
            self._sets.begin_at(found)
        traits = self._traits(kind, layer, knows_sets)
        if kind >= 0:
            self._sequence_begins = ends
        return traits

    def _traits(self, kind: int, layer: int, knows_sets: bool) -> Traits:
        if kind < 0:
            return Traits(random_access=False, shown=False, restartable=self._sets.restartable)
        irap = 16 <= kind <= _LAST_IRAP
        if irap:
            self._skips_leading = kind in _BLA or (kind == _CRA and self._sequence_begins)
        return Traits(
            random_access=irap and knows_sets,
            shown=not (kind in _RASL and self._skips_leading),
            discardable=kind < 16 and kind % 2 == 0 and not self._sets.changed,
            layer=layer,
            restartable=self._sets.restartable,
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
