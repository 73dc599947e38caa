"""H.264: IDR pictures, recovery points, reference flags and single fields (ITU-T H.264, clause 7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mediaref_ursa._bitstream.bits import (
    BitReader,
    annex_b_nals,
    length_prefixed_nals,
    unescape,
)
from mediaref_ursa._bitstream.carried import CarriedHeaders
from mediaref_ursa._bitstream.parameter_sets import Key, ParameterSets
from mediaref_ursa._bitstream.sei import RECOVERY_POINT, Carried, carried_message, sei_messages, sei_units
from mediaref_ursa._bitstream.traits import Traits

_IDR, _SEI, _SPS, _PPS = 5, 6, 7, 8
_SLICES = (1, 2, _IDR)  # those of data partitions B and C have no header of their own
_SEI_HEADER = bytes([_SEI])
_INTRA_SLICES = (2, 4, 7, 9)
_B_SLICES = (1, 6)
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_HEADER_BYTES = 64
_SPS_BYTES = 4096  # more than scaling lists and picture order offsets can take
_MAX_FRAME_NUM_BITS = 16
_MIN_PICTURE_BYTES = 12  # in fewer a picture may hold nothing, or be empty


class _Sps(NamedTuple):
    """The fields of a sequence parameter set that a slice header's reader needs."""

    separate_colour_planes: bool
    frame_num_bits: int
    frames_only: bool


class _SliceHeader(NamedTuple):
    """The first fields of a slice header; ``parity`` is 0 in a top field, 1 in a bottom field, else None."""

    frame_num: int
    frame_num_bits: int
    parity: int | None


@dataclass
class _Units:
    """The NAL units of a packet that the reader uses.

    Attributes:
        slices: Slices, in order.
        sets: Parameter sets by key.
        carried: SEI messages that stay in force, by kind.
        recovers: Whether an SEI message promises exact pictures from this one on (ITU-T H.264, D.2.8).
        is_junk: There is no NAL unit at all: the packet is damaged, and should give a picture.
    """

    slices: list[memoryview] = field(default_factory=list)
    sets: dict[Key, bytes] = field(default_factory=dict)
    carried: dict[Carried, bytes] = field(default_factory=dict)
    recovers: bool = False
    is_junk: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether the packet holds the first slice of its picture."""
        return any(_is_first_slice(nal) for nal in self.slices)

    def add_sei(self, nal: memoryview) -> None:
        for kind, payload in sei_messages(unescape(nal[1:])):
            if kind == RECOVERY_POINT:
                reader = BitReader(payload)
                self.recovers |= reader.ue() == 0 and reader.bits(1) == 1
            elif (carried := carried_message(kind, payload, is_hevc=False)) is not None:
                self.carried[carried[0]] = carried[1]


class H264Inspector:
    """Reads H.264 packets, length-prefixed or in Annex B form, as the configuration says."""

    def __init__(self, extradata: bytes) -> None:
        self._sets = ParameterSets()
        self._carried = CarriedHeaders()
        self._has_grain = False
        self._first_field: tuple[int, int] | None = None
        self._sps: dict[int, _Sps] = {}
        self._sps_of_pps: dict[int, int] = {}
        self._length_size = 0
        self._reference_num: int | None = None
        if extradata[:1] == b"\x01" and len(extradata) >= 7:
            self._length_size = (extradata[4] & 3) + 1
            nals = list(_avcc_nals(extradata))
        else:
            nals = [bytes(nal) for nal in annex_b_nals(memoryview(extradata))]
        for nal in nals:
            if nal[0] & 31 in (_SPS, _PPS):
                self._sets.add_container(self._take_set(nal), nal)

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        units = _Units()
        for nal in self._nals(data):
            units.is_junk = False
            kind = nal[0] & 31
            if kind in _SLICES and len(nal) > 1:
                units.slices.append(nal)
            elif kind == _SEI:
                units.add_sei(nal)
            elif kind in (_SPS, _PPS):
                units.sets[self._take_set(bytes(nal))] = bytes(nal)
        knows_sets = self._sets.begin_packet(units.sets)
        missing = self._carried.begin_packet(units.carried)
        slices, idr = units.slices, any(nal[0] & 31 == _IDR for nal in units.slices)
        reference = any(nal[0] & 0x60 for nal in slices)
        parity = self._single_parity(slices)
        headers = sei_units(_SEI_HEADER, missing, self._length_size)
        random_access = idr or (units.recovers and all(_slice_type(nal) in _INTRA_SLICES for nal in slices))
        random_access &= units.is_whole and not self._is_second_field(slices, parity)
        random_access &= knows_sets and headers is not None
        if random_access:
            self._sets.begin_at(units.sets)
        return Traits(
            random_access=random_access,
            displayed=bool(slices) or units.is_junk,
            discardable=not (reference or units.is_junk or self._sets.changed or self._carried.changed),
            uncertain=self._is_uncertain(units, is_field=parity is not None),
            has_gap=self._follows_a_gap(slices, idr=idr, reference=reference),
            single_field=parity is not None,
            restartable=self._sets.restartable and self._carried.is_empty,
            start_headers=headers if random_access and headers else b"",
        )

    def _is_uncertain(self, units: _Units, *, is_field: bool) -> bool:
        """Whether a trial decode is needed to know a packet's frames: part of a picture, several, film grain.

        Grain is seeded by the number of a picture, which a decoder counts from where it began.
        """
        self._has_grain |= Carried.FILM_GRAIN in units.carried
        if self._has_grain or self._sets.has_several(_SPS):
            return True
        if not units.slices or not units.is_whole:
            return bool(units.slices)
        if len(units.slices) == 1:
            return len(units.slices[0]) < _MIN_PICTURE_BYTES and units.slices[0][0] & 31 == _IDR
        first = [nal for nal in units.slices if _is_first_slice(nal)]
        if len(first) == 1:
            return False
        parities = [header.parity for nal in first if (header := self._slice_header(nal))]
        return is_field or len(parities) != len(set(parities)) or None in parities

    def _nals(self, data: memoryview) -> Iterator[memoryview]:
        if self._length_size:
            return length_prefixed_nals(data, self._length_size)
        return annex_b_nals(data)

    def _take_set(self, nal: bytes) -> Key:
        """Record a parameter set's fields that slice headers depend on; return its key."""
        kind = nal[0] & 31
        if kind == _PPS:
            reader = BitReader(unescape(nal[1:_HEADER_BYTES]))
            pps_id = reader.ue()
            self._sps_of_pps[pps_id] = reader.ue()
            return kind, pps_id
        sps_id, sps = _parse_sps(unescape(nal[1:_SPS_BYTES]))
        self._sps[sps_id] = sps
        return kind, sps_id

    def _single_parity(self, slices: list[memoryview]) -> int | None:
        """Return 0 or 1 where a packet holds only a top or a bottom field."""
        if all(sps.frames_only for sps in self._sps.values()):
            return None
        parities = {header.parity for nal in slices if (header := self._slice_header(nal))}
        return parities.pop() if len(parities) == 1 else None

    def _is_second_field(self, slices: list[memoryview], parity: int | None) -> bool:
        """Return whether a single field completes the frame that the packet before began."""
        header = self._slice_header(slices[0]) if parity is not None else None
        before, self._first_field = self._first_field, None
        if header is None or header.parity is None:
            return False
        if before != (header.frame_num, 1 - header.parity):
            self._first_field = header.frame_num, header.parity
            return False
        return True

    def _follows_a_gap(self, slices: list[memoryview], *, idr: bool, reference: bool) -> bool:
        """Return whether reference pictures are missing before this one (ITU-T H.264, 7.4.3, frame_num)."""
        header = self._slice_header(slices[0]) if slices else None
        if header is None:
            return False
        before = header.frame_num if idr or self._reference_num is None else self._reference_num
        if reference:
            self._reference_num = header.frame_num
        return (header.frame_num - before) % (1 << header.frame_num_bits) > 1

    def _slice_header(self, nal: memoryview) -> _SliceHeader | None:
        """Read a slice header up to its field flags (ITU-T H.264, 7.3.3)."""
        reader = BitReader(unescape(nal[1:_HEADER_BYTES]))
        reader.ue(), reader.ue()  # first_mb_in_slice, slice_type
        sps = self._sps.get(self._sps_of_pps.get(reader.ue(), -1))
        if sps is None:
            return None
        reader.bits(2 * sps.separate_colour_planes)
        frame_num = reader.bits(sps.frame_num_bits)
        is_field = not sps.frames_only and bool(reader.bits(1))
        return _SliceHeader(frame_num, sps.frame_num_bits, reader.bits(1) if is_field else None)


def _avcc_nals(extradata: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3)."""
    position = 5
    for mask in (31, 255):
        if position >= len(extradata):
            return
        count = extradata[position] & mask
        position += 1
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            nal = extradata[position + 2 : position + 2 + size]
            position += 2 + size
            if nal:
                yield nal


def _is_first_slice(nal: memoryview) -> bool:
    """Whether first_mb_in_slice is 0, which Exp-Golomb codes write as one bit."""
    return bool(nal[1] & 0x80)


def _slice_type(nal: memoryview) -> int:
    reader = BitReader(unescape(nal[1:16]))
    reader.ue()  # first_mb_in_slice
    return reader.ue()


def _parse_sps(data: bytes) -> tuple[int, _Sps]:
    """Read an SPS up to frame_mbs_only_flag (ITU-T H.264, 7.3.2.1.1)."""
    reader = BitReader(data)
    profile = reader.bits(8)
    reader.bits(16)  # constraint flags, level
    sps_id = reader.ue()
    separate = False
    if profile in _HIGH_PROFILES:
        chroma_format = reader.ue()
        separate = chroma_format == 3 and bool(reader.bits(1))
        reader.ue(), reader.ue(), reader.bits(1)  # bit depths, transform bypass
        if reader.bits(1):
            for i in range(8 if chroma_format != 3 else 12):
                if reader.bits(1):
                    _skip_scaling_list(reader, 16 if i < 6 else 64)
    frame_num_bits = min(reader.ue() + 4, _MAX_FRAME_NUM_BITS)
    order_count_type = reader.ue()
    if order_count_type == 0:
        reader.ue()
    elif order_count_type == 1:
        reader.bits(1), reader.se(), reader.se()
        for _ in range(min(reader.ue(), 255)):
            reader.se()
    reader.ue(), reader.bits(1), reader.ue(), reader.ue()  # references, gaps, width, height
    return sps_id, _Sps(separate, frame_num_bits, bool(reader.bits(1)))


def _skip_scaling_list(reader: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + reader.se()) % 256
        last = following or last


def has_b_slices(data: memoryview) -> bool:
    """Return whether a packet in Annex B form has slices that are predicted from two lists of pictures."""
    return any(_slice_type(nal) in _B_SLICES for nal in annex_b_nals(data) if nal[0] & 31 in _SLICES)
