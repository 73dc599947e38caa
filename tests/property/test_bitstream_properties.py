"""Readers of bits against naive ones, and against bytes of every kind: never an error, never without end."""

from __future__ import annotations

import tracemalloc

import pytest
from _tables import (
    PATIENT,
    Bits,
    annex_b,
    av1_frame,
    avcc,
    h264_slice,
    hevc,
    hevc_sps,
    hvcc,
    mpeg2,
    obu,
    pps,
    prefixed,
    recovery,
    sps,
    superframe,
    vop,
    vp9,
)
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._bitstream import Traits, inspector_for
from mediaref_ursa._bitstream.av1 import _obus
from mediaref_ursa._bitstream.bits import BitReader, annex_b_nals, length_prefixed_nals, unescape
from mediaref_ursa._bitstream.vpx import _superframe

CODECS = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "ffv1")
VALID = {
    "h264": [
        avcc(sps(), pps()),
        avcc(sps(interlaced=True, high=True), pps()),
        annex_b(sps(), pps()),
        prefixed(recovery(), h264_slice(2)),
        prefixed(h264_slice(0, field=1, interlaced=True)),
        annex_b(sps(interlaced=True), pps(), h264_slice(2, idr=True)),
    ],
    "hevc": [hvcc(hevc_sps(sub_layers=3)), prefixed(hevc(21), hevc(36)), annex_b(hevc_sps(), hevc(8))],
    "av1": [b"\x81\x04\x0c\0" + obu(1, b"\0\0\0\x12"), obu(2) + obu(6, av1_frame(0)), obu(3, av1_frame(1))],
    "vp8": [b"\x10\0\0\x9d\x01\x2a"],
    "vp9": [vp9(key=True), superframe(vp9(displayed=False), vp9())],
    "mpeg1video": [b"\0\0\1\xb3\x28\x01\x68\x13" + mpeg2(1, extension=False)],
    "mpeg2video": [b"\0\0\1\xb3\x28\x01\x68\x13" + mpeg2(1, 1), mpeg2(3) + b"\0\0\1\xb5\x38"],
    "mpeg4": [b"\0\0\1\x20\0" + vop(0), vop(1, 8) + vop(2)],
    "ffv1": [b"\x7f\x80\0"],
}


@st.composite
def damaged(draw: st.DrawFn, codec: str) -> bytes:
    """Bytes of any kind, or a packet of the codec that is cut off, spoilt or followed by others."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=60))
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(VALID[codec]), min_size=1, max_size=3))))
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6)
    ):
        data[place] = value
    return bytes(data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=6)))


@PATIENT
@given(st.data(), st.sampled_from(CODECS))
def test_no_bytes_are_an_error(data: st.DataObject, codec: str) -> None:
    """Configurations and packets come from files: whatever they hold, each packet gets its facts."""
    inspector = inspector_for(codec, data.draw(damaged(codec)))
    assert inspector is not None

    for packet in data.draw(st.lists(damaged(codec), max_size=6)):
        traits = inspector.inspect(memoryview(packet))

        assert isinstance(traits, Traits)
        assert traits.discardable in (True, False, None)
        assert not (traits.random_access and not packet)


@PATIENT
@given(st.data(), st.sampled_from(CODECS))
def test_a_packet_is_read_alike_as_bytes_and_as_part_of_a_larger_buffer(
    data: st.DataObject, codec: str
) -> None:
    extradata, packet = data.draw(damaged(codec)), data.draw(damaged(codec))
    first, second = (inspector_for(codec, extradata) for _ in range(2))
    assert first is not None
    assert second is not None

    part = memoryview(b"before" + packet + b"after")[6 : 6 + len(packet)]

    assert first.inspect(memoryview(packet)) == second.inspect(part)


LIES = {
    "the largest frame number": ("h264", Bits().u(8, 77).u(16).ue(0, 2**31, 2, 4).u(1).ue(39, 22).u(1, 0)),
    "a picture order of very many frames": ("h264", Bits().u(8, 77).u(16).ue(0, 0, 1).u(1).ue(0, 0, 2**31)),
    "scaling lists without end": (
        "h264",
        Bits().u(8, 100).u(16).ue(0, 3).u(1).ue(0, 0).u(1).u(13, 2**13 - 1),
    ),
}


@pytest.mark.parametrize(("codec", "lie"), LIES.values(), ids=LIES)
def test_a_configuration_that_lies_takes_no_memory(codec: str, lie: Bits) -> None:
    extradata = avcc(b"\x67" + lie.payload() + bytes(60_000), pps())
    tracemalloc.start()
    try:
        inspector = inspector_for(codec, extradata)
        assert inspector is not None
        inspector.inspect(memoryview(prefixed(h264_slice(0) + bytes(100))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**21


@PATIENT
@given(st.binary(max_size=12), st.lists(st.integers(0, 40), max_size=10))
def test_bits_are_those_of_the_binary_numeral(data: bytes, counts: list[int]) -> None:
    """And zeros past the end."""
    reader = BitReader(data)
    numeral = "".join(f"{byte:08b}" for byte in data) + "0" * 500
    position = 0
    for count in counts:
        assert reader.bits(count) == int(numeral[position : position + count] or "0", 2)
        position += count
        assert reader._left == 8 * len(data) - position


@PATIENT
@given(st.lists(st.tuples(st.sampled_from("us"), st.integers(-(2**30), 2**30)), max_size=8))
def test_exp_golomb_codes_come_back(numbers: list[tuple[str, int]]) -> None:
    bits = Bits()
    for kind, number in numbers:
        bits.ue(abs(number)) if kind == "u" else bits.se(number)

    reader = BitReader(unescape(bits.payload()))

    for kind, number in numbers:
        assert (reader.ue() if kind == "u" else reader.se()) == (abs(number) if kind == "u" else number)


@PATIENT
@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=20).map(bytes))
def test_emulation_prevention_comes_out_again(data: bytes) -> None:
    written = Bits()
    for byte in data:
        written.u(8, byte)

    assert unescape(written.payload()) == data + b"\x80"


# no zero at the end, no start code within: what emulation prevention makes of any payload
nals = st.binary(min_size=1, max_size=8).map(lambda data: data.replace(b"\0", b"\x04"))


@PATIENT
@given(st.lists(nals, max_size=5), st.sampled_from([1, 2, 4]), st.integers(0, 3))
def test_nals_come_back_from_both_ways_of_packing(found: list[bytes], size: int, zeros: int) -> None:
    in_annex_b = memoryview(annex_b(*found) + bytes(zeros))
    in_mp4 = memoryview(prefixed(*found, size=size))

    assert [bytes(nal) for nal in annex_b_nals(in_annex_b)] == found
    assert [bytes(nal) for nal in length_prefixed_nals(in_mp4, size)] == found


@PATIENT
@given(st.lists(nals, min_size=1, max_size=4), st.sampled_from([1, 2, 4]), st.integers(0, 60))
def test_a_packet_that_is_cut_off_gives_its_whole_nals(found: list[bytes], size: int, cut: int) -> None:
    whole = prefixed(*found, size=size)

    read = [bytes(nal) for nal in length_prefixed_nals(memoryview(whole[:cut]), size)]

    assert read == found[: len(read)]
    assert len(prefixed(*read, size=size)) <= cut


payloads = st.binary(max_size=300)


@PATIENT
@given(
    st.lists(st.tuples(st.integers(0, 15), payloads, st.booleans(), st.integers(0, 6)), max_size=5), payloads
)
def test_obus_come_back(found: list[tuple[int, bytes, bool, int]], last: bytes) -> None:
    """With sizes of any length, with extensions, and the last one without a size."""
    data = b"".join(obu(kind, load, extension=extension, padding=pad) for kind, load, extension, pad in found)

    read = [(kind, bytes(payload)) for kind, payload in _obus(memoryview(data + obu(6, last, sized=False)))]

    assert read == [*((kind, load) for kind, load, _, _ in found), (6, last)]


@PATIENT
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8), st.integers(1, 4))
def test_frames_of_a_superframe_come_back(found: list[bytes], size_bytes: int) -> None:
    data = superframe(*found, size_bytes=size_bytes)

    assert [bytes(frame) for frame in _superframe(memoryview(data))] == found


@PATIENT
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.booleans()), max_size=10))
def test_a_random_access_point_knows_all_sets_in_force(packets: list[tuple[bool, int, bool]]) -> None:
    """A decoder that begins at a packet knows the container's sets and the packet's own: is that all?"""
    container = {0: 0, 1: 0}
    inspector = inspector_for("h264", avcc(sps(), pps(0), pps(1)))
    assert inspector is not None
    in_force = dict(container)
    for brings_set, pps_id, changed in packets:
        own = {pps_id: int(changed)} if brings_set else {}
        in_force |= own
        sets = [pps(number, variant=variant) for number, variant in own.items()]

        traits = inspector.inspect(memoryview(prefixed(*sets, h264_slice(2, idr=True))))

        assert traits.random_access == (container | own == in_force)
