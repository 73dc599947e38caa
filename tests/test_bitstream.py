"""What a packet's bits say, read from packets written bit by bit after the standards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from _tables import (
    START,
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
    sei,
    sps,
    superframe,
    vop,
    vp9,
)

from mediaref_ursa._bitstream import Traits, inspector_for

INTRA, PREDICTED, BIDIRECTIONAL = 2, 0, 1  # slice types of H.264
TOP, BOTTOM = 0, 1


def run(codec: str, packets: Sequence[bytes], extradata: bytes = b"") -> list[Traits]:
    inspector = inspector_for(codec, extradata)
    assert inspector is not None
    return [inspector.inspect(memoryview(packet)) for packet in packets]


def flags(found: Sequence[Traits], fact: str) -> str:
    """Return one fact of each packet, ``1`` where it is true."""
    return "".join("1" if getattr(traits, fact) else "0" for traits in found)


def starts(codec: str, packets: Sequence[bytes], extradata: bytes = b"") -> str:
    return flags(run(codec, packets, extradata), "random_access")


# --- H.264 -------------------------------------------------------------------------------------

IDR, I_SLICE, P_SLICE = h264_slice(INTRA, idr=True), h264_slice(INTRA), h264_slice(PREDICTED)
B_SLICE = h264_slice(BIDIRECTIONAL, reference=0)
SECOND = h264_slice(BIDIRECTIONAL, reference=0, first_mb=20)
SETS = (sps(), pps())


@pytest.mark.parametrize("size", [1, 2, 4])
def test_h264_length_prefixed(size: int) -> None:
    packets = [prefixed(*nals, size=size) for nals in ([IDR], [P_SLICE], [B_SLICE, SECOND], [I_SLICE])]

    found = run("h264", packets, avcc(*SETS, size=size))

    assert flags(found, "random_access") == "1000"
    assert flags(found, "discardable") == "0010"
    assert all(traits.displayed and not traits.single_field and not traits.uncertain for traits in found)


@pytest.mark.parametrize("extradata", [b"", annex_b(*SETS)], ids=["without extradata", "with extradata"])
def test_h264_annex_b(extradata: bytes) -> None:
    first, second = annex_b(b"\x09\x10", *SETS, IDR), annex_b(b"\x09\x30", B_SLICE) + b"\0\0\0"
    packets = [first, second, annex_b(*SETS, IDR)]

    found = run("h264", packets, extradata)

    assert flags(found, "random_access") == "101"
    assert flags(found, "discardable") == "010"


@pytest.mark.parametrize(
    ("nals", "expected"),
    [
        ((recovery(), I_SLICE), True),
        ((recovery(), I_SLICE, I_SLICE), True),
        ((sei((5, bytes(700)), (6, b"\xc4")), I_SLICE), True),
        ((sei((4, b"other")), recovery(), I_SLICE), True),
        ((recovery(exact=False), I_SLICE), False),
        ((recovery(count=1), I_SLICE), False),
        ((recovery(count=40), P_SLICE), False),
        ((recovery(), P_SLICE), False),
        ((recovery(), I_SLICE, P_SLICE), False),
        ((sei((5, recovery())), I_SLICE), False),
        ((I_SLICE,), False),
        ((recovery(),), False),
        ((recovery(count=3), IDR), True),
    ],
)  # fmt: skip
def test_h264_recovery_points(nals: tuple[bytes, ...], expected: bool) -> None:
    """Only an exact one that needs no frame before, and whose picture is intra throughout."""
    assert starts("h264", [prefixed(*nals)], avcc(*SETS)) == "01"[expected]


def test_h264_parameter_sets_that_change_between_pictures() -> None:
    """A decoder that begins later does not know them, unless the packet repeats them."""
    changed = pps(variant=7)
    packets = [[IDR], [changed, P_SLICE], [IDR], [changed, IDR], [*SETS, IDR], [P_SLICE], [IDR]]

    found = starts("h264", [prefixed(*nals) for nals in packets], avcc(*SETS))

    assert found == "1001101"


def test_h264_a_further_parameter_set_is_needed_too() -> None:
    packets = [prefixed(pps(1), IDR), prefixed(IDR), prefixed(*SETS, IDR), prefixed(pps(1), IDR)]

    assert starts("h264", packets, avcc(*SETS)) == "1001"


def test_h264_a_picture_that_brings_a_new_parameter_set_is_not_left_out() -> None:
    """Nobody refers to the picture, but the pictures that follow use the set; a repeated one is old news."""
    packets = [[IDR], [pps(variant=7), B_SLICE], [pps(variant=7), B_SLICE], [pps(variant=9)]]

    found = run("h264", [prefixed(*nals) for nals in packets], avcc(*SETS))

    assert flags(found, "discardable") == "0010"
    assert flags(found, "displayed") == "1110"


def field(parity: int | None, kind: int = PREDICTED, **options: Any) -> bytes:
    return h264_slice(kind, field=parity, interlaced=True, **options)


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("bits", [4, 9, 16])
def test_h264_fields(bits: int, high: bool) -> None:
    """A lone field, both fields in one packet, and frames (progressive or macroblock-adaptive)."""
    sets = avcc(sps(interlaced=True, high=high, frame_num_bits=bits), pps())
    top, bottom, frame = (field(parity, frame_num_bits=bits) for parity in (TOP, BOTTOM, None))
    packets = [[top], [bottom], [top, top], [top, bottom], [frame], [frame, frame], [recovery()]]

    found = run("h264", [prefixed(*nals) for nals in packets], sets)

    assert flags(found, "single_field") == "1110000"


def test_h264_fields_of_one_of_two_sequences() -> None:
    sets = avcc(sps(0), sps(1, interlaced=True), pps(0, 0), pps(1, 1))

    found = run("h264", [prefixed(P_SLICE), prefixed(field(TOP, pps_id=1))], sets)

    assert flags(found, "single_field") == "01"


NOTHING = bytes([0x65]) + b"\x88\x80"  # a slice of an IDR picture, cut off within its header


@pytest.mark.parametrize(
    ("nals", "uncertain", "random_access"),
    [
        ((IDR,), False, True),
        ((IDR, h264_slice(INTRA, idr=True, first_mb=20)), False, True),
        ((h264_slice(INTRA, idr=True, first_mb=20),), True, False),
        ((IDR, IDR), True, True),
        ((NOTHING,), True, True),
        ((recovery(),), False, False),
        ((IDR[:1],), False, False),
    ],
)  # fmt: skip
def test_h264_packets_that_hold_no_picture_or_not_the_whole_of_one(
    nals: tuple[bytes, ...], uncertain: bool, random_access: bool
) -> None:
    """Which frames they give, and whether decoding can begin there, is learnt by decoding."""
    found = run("h264", [prefixed(*nals)], avcc(*SETS))[0]

    assert (found.uncertain, found.random_access) == (uncertain, random_access)


def test_h264_decoding_does_not_begin_with_the_second_field_of_a_frame() -> None:
    sets = avcc(sps(interlaced=True), pps())
    first, second = (recovery(), field(TOP, INTRA)), (recovery(), field(BOTTOM, INTRA))

    found = run("h264", [prefixed(*nals) for nals in (first, second, first, first, second)], sets)

    assert flags(found, "random_access") == "10110"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_start_codes_inside_a_length_prefixed_unit_end_it(size: int) -> None:
    """Decoders split there, whatever the length field says."""
    packets = [
        prefixed(annex_b(b"\x09\x10", IDR)[4:], size=size),
        prefixed(recovery() + START + B_SLICE + START, size=size),
        prefixed(b"\x09\x30" + START + P_SLICE, recovery(), size=size),
    ]
    found = run("h264", packets, avcc(*SETS, size=size))

    assert flags(found, "displayed") == "111"
    assert flags(found, "random_access") == "100"
    assert flags(found, "discardable") == "010"

    packets = [
        prefixed(hevc(35) + START + hevc(IDR_N_LP), size=size),
        prefixed(hevc(35) + START + hevc(TRAIL_N) + START + hevc(TRAIL_N, SECOND_SLICE), size=size),
    ]
    found = run("hevc", packets, hvcc(*HEVC_SETS, size=size))

    assert flags(found, "displayed") == "11"
    assert flags(found, "random_access") == "10"
    assert flags(found, "discardable") == "01"
    assert not any(traits.uncertain for traits in found)


def x264_sei(build: int) -> bytes:
    uuid = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")
    return sei((5, uuid + b"x264 - core %d r1 - H.264/MPEG-4 AVC codec" % build))


def grain(*, cancel: bool = False, persists: bool = True, is_hevc: bool = False) -> tuple[int, bytes]:
    """Film grain characteristics of one component, two intervals, one value each."""
    bits = Bits().u(1, cancel)
    if not cancel:
        bits.u(2).u(1).u(2).u(4, 2).u(3, 4).u(8, 1).u(3, 0)
        for bounds in (0x0040, 0x41FF):
            bits.u(16, bounds).se(20)
        if is_hevc:
            bits.u(1, persists)
        else:
            bits.ue(int(persists))
    return 19, bits.payload()


def test_h264_the_build_of_an_old_x264_is_fed_at_every_start() -> None:
    """Decoders work around faults of builds up to 150; it stands in the first packet only."""
    packets = [[x264_sei(148), IDR], [P_SLICE], [IDR], [x264_sei(164), IDR], [IDR], [P_SLICE]]

    found = run("h264", [prefixed(*nals, size=1) for nals in packets], avcc(*SETS, size=1))

    trimmed = sei((5, bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef") + b"x264 - core 148"))
    assert [traits.start_headers for traits in found] == [b"", b"", prefixed(trimmed, size=1), b"", b"", b""]
    assert flags(found, "restartable") == "000111", "decoders with threads do not all see it"

    annexed = run("h264", [annex_b(*SETS, *nals) for nals in packets])
    assert annexed[2].start_headers == START + trimmed


@pytest.mark.parametrize("is_hevc", [False, True])
def test_film_grain_that_persists_is_fed_at_every_start_and_settled_by_decoding(is_hevc: bool) -> None:
    def unit(**options: bool) -> bytes:
        kind, payload = grain(is_hevc=is_hevc, **options)
        return (
            bytes([39 << 1]) + sei((kind, payload)).replace(b"\x06", b"\x01", 1)
            if is_hevc
            else sei((kind, payload))
        )

    key, inter = (hevc(IDR_N_LP), hevc(TRAIL_N)) if is_hevc else (IDR, B_SLICE)
    packets = [
        [unit(persists=False), key],
        [key],
        [unit(), inter],
        [inter],
        [key],
        [unit(cancel=True), key],
        [key],
    ]
    codec, sets = ("hevc", hvcc(*HEVC_SETS)) if is_hevc else ("h264", avcc(*SETS))

    found = run(codec, [prefixed(*nals) for nals in packets], sets)

    assert [traits.start_headers for traits in found] == [b"", b"", b"", b"", prefixed(unit()), b"", b""]
    assert flags(found, "discardable") == "0001000"
    assert flags(found, "uncertain") == "1111111", "grain is seeded by a picture's number"


# --- HEVC --------------------------------------------------------------------------------------

TRAIL_N, TRAIL_R, RADL_N, RASL_N, RASL_R = 0, 1, 6, 8, 9
BLA, IDR_W_RADL, IDR_N_LP, CRA, EOS = 16, 19, 20, 21, 36
SECOND_SLICE = b"\x2f\x80\x55\x55"
HEVC_SETS = (hevc(32, b"\x0c\x01"), hevc_sps(), hevc(34, Bits().ue(0, 0).payload()))


def hevc_run(*kinds: int | tuple[bytes, ...]) -> list[Traits]:
    packets = [prefixed(hevc(nals)) if isinstance(nals, int) else prefixed(*nals) for nals in kinds]
    return run("hevc", packets, hvcc(*HEVC_SETS))


@pytest.mark.parametrize("kind", range(32))
def test_hevc_random_access_points_and_discardable_pictures(kind: int) -> None:
    found = hevc_run(IDR_N_LP, kind)[1]

    assert found.random_access == (16 <= kind <= 23)
    assert found.discardable == (kind in (0, 2, 4, 6, 8, 10, 12, 14))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_hevc_length_sizes_and_annex_b(size: int) -> None:
    nals = [(IDR_W_RADL,), (TRAIL_R, TRAIL_R), (TRAIL_N,)]
    expected = [(True, False), (False, False), (False, True)]
    cases = [
        (hvcc(*HEVC_SETS, size=size), [prefixed(*map(hevc, kinds), size=size) for kinds in nals]),
        (annex_b(*HEVC_SETS), [annex_b(*map(hevc, kinds)) for kinds in nals]),
        (b"", [annex_b(*HEVC_SETS * (not i), *map(hevc, kinds)) for i, kinds in enumerate(nals)]),
    ]
    for extradata, packets in cases:
        found = run("hevc", packets, extradata)
        assert [(traits.random_access, traits.discardable) for traits in found] == expected


@pytest.mark.parametrize("rasl", [RASL_N, RASL_R])
def test_hevc_skipped_leading_pictures(rasl: int) -> None:
    """They are shown only where the pictures before the random access point were decoded."""
    skipped = [
        (CRA, rasl),
        (IDR_N_LP, TRAIL_R, BLA, rasl),
        (IDR_N_LP, BLA + 1, TRAIL_R, rasl),
        (IDR_N_LP, (hevc(TRAIL_R), hevc(EOS)), CRA, rasl),
        (IDR_N_LP, (hevc(EOS), hevc(CRA)), rasl),
        (IDR_N_LP, (hevc(EOS + 1),), CRA, rasl),
    ]
    displayed = [
        (IDR_N_LP, CRA, rasl),
        (CRA, TRAIL_R, CRA, rasl),
        (CRA, RADL_N),
        (IDR_N_LP, BLA, CRA, rasl),
        (IDR_N_LP, (hevc(EOS),), TRAIL_R, CRA, rasl),
    ]
    assert [hevc_run(*kinds)[-1].displayed for kinds in skipped] == [False] * len(skipped)
    assert [hevc_run(*kinds)[-1].displayed for kinds in displayed] == [True] * len(displayed)


def test_hevc_temporal_layers() -> None:
    found = hevc_run(IDR_N_LP, (hevc(TRAIL_R, temporal=1),), (hevc(2, temporal=2),))

    assert [traits.layer for traits in found] == [0, 1, 2]
    assert flags(found, "discardable") == "001"


def test_hevc_pictures_of_other_views_do_not_count() -> None:
    found = hevc_run((hevc(IDR_N_LP), hevc(TRAIL_N, layer=1)), (hevc(IDR_N_LP, layer=33), hevc(TRAIL_R)))

    assert flags(found, "random_access") == "10"
    assert flags(found, "discardable") == "00"


@pytest.mark.parametrize("sub_layers", [0, 1, 6])
def test_hevc_parameter_sets_that_change(sub_layers: int) -> None:
    old, new = (hevc_sps(3, sub_layers=sub_layers, variant=variant) for variant in (1, 2))
    other = hevc_sps(4, sub_layers=sub_layers)
    pictures = [IDR_N_LP, CRA, TRAIL_N, IDR_N_LP, CRA, IDR_N_LP, TRAIL_N, IDR_N_LP]
    before = [(), (old,), (new,), (), (new,), (other, new), (new,), (other,)]
    packets = [prefixed(*nals, hevc(kind)) for nals, kind in zip(before, pictures, strict=True)]

    found = run("hevc", packets, hvcc(*HEVC_SETS, old))

    assert flags(found, "random_access") == "11001100"
    assert flags(found, "discardable") == "00000010"


# --- VP8, VP9, AV1 -----------------------------------------------------------------------------


def test_vp8() -> None:
    """A key frame that has no start code, or goes on with the segments of the frame before, is no start."""
    displayed, hidden = (bytes([flag, 0, 0]) + b"\x9d\x01\x2a\x60\0\x40\0" for flag in (0x10, 0))
    plain, segments, kept = (bytes([first]) + bytes(9) for first in (0x00, 0x30, 0x20))
    packets = [displayed + plain, b"\x11\0\0", b"\x01\0\0", hidden + plain, b"", b"\x10\0\0", displayed]
    packets += [displayed + segments, displayed + kept]

    found = run("vp8", packets)

    assert flags(found, "random_access") == "100100010"
    assert flags(found, "displayed") == "110001111"
    assert flags(found, "uncertain") == "000001101"


@pytest.mark.parametrize("profile", range(4))
@pytest.mark.parametrize("size_bytes", [1, 2, 4])
def test_vp9(profile: int, size_bytes: int) -> None:
    key, inter = vp9(key=True, profile=profile), vp9(profile=profile)
    hidden, hidden_key = (
        vp9(displayed=False, profile=profile),
        vp9(key=True, displayed=False, profile=profile),
    )
    existing = vp9(existing=True, profile=profile, size=1)
    pairs = [(key,), (hidden, inter), (hidden_key, inter), (inter, hidden_key)]
    pairs += [(hidden, existing), (hidden, hidden)]
    packets = [key, inter, hidden, hidden_key, existing, b""]
    packets += [superframe(*frames, size_bytes=size_bytes) for frames in pairs]

    found = run("vp9", packets)

    assert flags(found, "random_access") == "100100101000"
    assert flags(found, "displayed") == "110010111110"


def test_vp9_frames_that_leave_nothing_behind() -> None:
    key, spare, kept = vp9(key=True), vp9(refreshes=0), vp9(refreshes=4)
    found = run(
        "vp9",
        [
            *(key, spare, kept, vp9(refreshes=0, resilient=False), vp9(refreshes=0, displayed=False)),
            *(vp9(existing=True, size=1), superframe(spare, spare), superframe(spare, kept), b""),
            vp9(refreshes=0, displayed=False, intra_only=True),
        ],
    )
    assert flags(found, "discardable") == "0100101000"
    assert flags(found, "depends_on_previous_state") == "0001010000"


def test_vp9_what_a_frame_inherits_from_is_kept() -> None:
    import numpy as np
    from _tables import INFO

    from mediaref_ursa._scan.packet_collector import PacketCollector

    class Packet:
        pts = dts = duration = 0
        is_keyframe = is_corrupt = is_discard = False

    columns = PacketCollector()
    inspector = inspector_for("vp9", b"")
    spare, plain = vp9(refreshes=0), vp9(resilient=False)
    for data in (vp9(key=True), spare, spare, plain, spare, vp9(key=True)):
        columns.add(Packet(), data, inspector)  # type: ignore[arg-type]
    assert np.array_equal(columns.finish(INFO).is_reference, [1, 0, 1, 1, 0, 1])


def test_decoders_restart_where_sets_that_change_come_along() -> None:
    head, first, second = sps(), pps(), pps(variant=1)
    key, inter = h264_slice(2, idr=True), h264_slice(0)

    def restartable(*packets: bytes) -> str:
        return flags(run("h264", packets, avcc(head, first)), "restartable")

    assert restartable(prefixed(key), prefixed(inter), prefixed(key)) == "111"
    assert restartable(prefixed(head, first, key), prefixed(key)) == "11"
    assert restartable(prefixed(head, second, key), prefixed(inter), prefixed(head, first, key)) == "111"
    assert restartable(prefixed(head, second, key), prefixed(head, first, key), prefixed(key)) == "110"
    assert restartable(prefixed(key), prefixed(second, inter)) == "10"


def test_vp9_a_last_byte_that_looks_like_a_superframe_marker() -> None:
    assert run("vp9", [vp9(key=True) + b"\xc1", b"\xc1", vp9(displayed=False) + b"\xdf"])[0].random_access


SEQUENCE, FRAME_HEADER, FRAME, TILES, DELIMITER = 1, 3, 6, 4, 2
KEY, INTER = obu(FRAME, av1_frame(0)), obu(FRAME, av1_frame(1))
HIDDEN, HIDDEN_KEY = obu(FRAME, av1_frame(1, displayed=False)), obu(FRAME, av1_frame(0, displayed=False))
EXISTING = obu(FRAME_HEADER, av1_frame(existing=True, size=1))
SEQ = obu(SEQUENCE, b"\0\0\0\x12\x34")
AV1C = b"\x81\x04\x0c\0" + SEQ


@pytest.mark.parametrize(
    ("packet", "random_access", "displayed"),
    [
        (obu(DELIMITER) + SEQ + KEY, True, True),
        (KEY, True, True),
        (INTER, False, True),
        (HIDDEN, False, False),
        (HIDDEN + INTER, False, True),
        (HIDDEN_KEY, False, False),
        (HIDDEN_KEY + INTER, False, True),
        (INTER + KEY, False, True),
        (EXISTING, False, True),
        (HIDDEN + EXISTING, False, True),
        (obu(FRAME_HEADER, av1_frame(0)) + obu(TILES, bytes(300)), True, True),
        (obu(FRAME, av1_frame(2)), False, True),
        (obu(FRAME, av1_frame(0, size=20_000)), True, True),
        (obu(FRAME, av1_frame(0), padding=6), True, True),
        (obu(FRAME, av1_frame(0), extension=True), True, True),
        (obu(DELIMITER) + obu(FRAME, av1_frame(0), sized=False), True, True),
        (obu(DELIMITER), False, False),
        (b"", False, False),
    ],
)  # fmt: skip
def test_av1(packet: bytes, random_access: bool, displayed: bool) -> None:
    found = run("av1", [SEQ + KEY, packet], AV1C)[1]

    assert (found.random_access, found.displayed) == (random_access, displayed)


def test_av1_sequence_headers_that_change() -> None:
    other = obu(SEQUENCE, b"\0\0\0\x56\x78")

    assert starts("av1", [KEY, other + KEY, KEY, SEQ + KEY, KEY], AV1C) == "11011"
    assert starts("av1", [SEQ + KEY, KEY, SEQ + KEY]) == "101"


def test_av1_still_pictures() -> None:
    assert starts("av1", [obu(SEQUENCE, b"\x18\0") + obu(FRAME, b"\x55\x55")]) == "1"


# --- MPEG-1, MPEG-2, MPEG-4 part 2, FFV1, others -----------------------------------------------

SEQUENCE_HEADER = b"\0\0\1\xb3" + bytes([0x28, 0x01, 0x68, 0x13, 0xFF, 0xFF, 0xE0, 0x18])
GROUP = b"\0\0\1\xb8\0\x08\0\x40"


def test_mpeg2() -> None:
    first = SEQUENCE_HEADER + GROUP + mpeg2(1)
    packets = [first, mpeg2(2), mpeg2(3), GROUP + mpeg2(1), SEQUENCE_HEADER + mpeg2(1)]

    found = run("mpeg2video", packets)

    assert flags(found, "random_access") == "10001"
    assert flags(found, "discardable") == "00100"
    assert all(traits.displayed and not traits.single_field for traits in found)


def test_mpeg2_without_headers_in_band() -> None:
    intra, predicted = (mpeg2(kind, extension=False) for kind in (1, 2))
    packets = [intra, predicted, GROUP + intra, b"\0\0\1"]

    found = run("mpeg1video", packets, SEQUENCE_HEADER)

    assert flags(found, "random_access") == "1010"
    assert flags(found, "displayed") == "1110"


def test_mpeg2_fields() -> None:
    found = run("mpeg2video", [mpeg2(1, 1), mpeg2(2, 2), mpeg2(1, 1) + mpeg2(2, 2), mpeg2(3, 3)])

    assert flags(found, "single_field") == "1100"
    assert found[2].random_access


def test_mpeg2_a_picture_that_brings_quantiser_matrices_is_not_left_out() -> None:
    """They stay in force for the pictures that follow (ISO/IEC 13818-2, 6.3.11)."""
    matrices = b"\0\0\1\xb5\x38" + bytes(64)

    found = run("mpeg2video", [SEQUENCE_HEADER + mpeg2(1), mpeg2(3) + matrices, mpeg2(3)])

    assert flags(found, "discardable") == "001"


VOL = b"\0\0\1\0\0\0\1\x20\0\x84\x5d"


def test_mpeg4() -> None:
    found = run("mpeg4", [vop(0), vop(1), vop(2), vop(3), vop(0)], VOL)

    assert flags(found, "random_access") == "10001"
    assert flags(found, "discardable") == "00100"
    assert all(traits.displayed and not traits.uncertain for traits in found)


def test_mpeg4_a_configuration_that_came_with_an_earlier_packet_is_fed_at_later_starts() -> None:
    found = run("mpeg4", [vop(0), VOL + vop(0), vop(1), vop(0), VOL + vop(0)])

    assert flags(found, "random_access") == "01011"
    assert [traits.start_headers for traits in found] == [b"", b"", b"", VOL, b""]


def test_mpeg4_user_data_stay_in_force() -> None:
    xvid, lavc = b"\0\0\1\xb2XviD0046", b"\0\0\1\xb2Lavc58"
    packets = [xvid + vop(0), vop(0), xvid + vop(0), lavc + vop(2), vop(0), VOL + vop(0)]

    found = run("mpeg4", packets, VOL)

    assert [traits.start_headers for traits in found] == [b"", xvid, b"", b"", lavc, lavc]
    assert flags(found, "discardable") == "000000"


def test_mpeg4_packed_and_empty_pictures_are_settled_by_decoding() -> None:
    empty, empty_intra = vop(1, coded=False), vop(0, coded=False)
    found = run("mpeg4", [vop(1) + vop(2), empty, empty_intra, b"\x7f", vop(0) + vop(2), vop(0)], VOL)

    assert flags(found, "uncertain") == "111110"
    assert not any(traits.discardable for traits in found)
    assert flags(found, "random_access") == "000011"


def test_ffv1() -> None:
    """The first bit is range coded, with even odds: it splits the first two bytes at 0x7F80."""
    assert starts("ffv1", [b"\x7f\x80\0", b"\x7f\x7f\xff", b"\xff\xff", b"\0\0", b""]) == "10100"


def test_codecs_whose_packets_stand_alone() -> None:
    assert starts("prores", [b"frame", b""]) == "11"
    assert flags(run("prores", [b"frame", b""]), "displayed") == "10"


def dqt(*tables: tuple[int, int]) -> bytes:
    content = b"".join(bytes([number]) + bytes([value] * 64) for number, value in tables)
    return b"\xff\xdb" + (len(content) + 2).to_bytes(2, "big") + content


def dht(number: int, symbols: bytes) -> bytes:
    content = bytes([number]) + bytes([len(symbols)]) + bytes(15) + symbols
    return b"\xff\xc4" + (len(content) + 2).to_bytes(2, "big") + content


def jpeg(*tables: bytes, later: bytes = b"") -> bytes:
    return b"\xff\xd8" + b"".join(tables) + b"\xff\xda\0\4\0\0" + b"\x55\xff\0" + later + b"\xff\xd9"


def test_jpeg_tables_of_a_second_field_and_heeded_comments_stay_in_force() -> None:
    comment = b"\xff\xfe\0\x0cCS=ITU601\0"
    second = jpeg(dqt((0, 1)), later=dqt((0, 7)))

    found = run("mjpeg", [second, jpeg(), jpeg(comment), second, jpeg(dqt((0, 5)))])

    headers = [b"", dqt((0, 7)), dqt((0, 7)), comment, comment]
    assert [traits.start_headers for traits in found] == headers
    assert flags(found, "restartable") == "11000"


def test_jpeg_tables_of_earlier_pictures_are_fed_at_later_starts() -> None:
    packets = [
        jpeg(dqt((0, 1), (1, 2))),
        jpeg(),
        jpeg(dqt((1, 3))),
        jpeg(dqt((0, 1)), dht(0x10, b"abc")),
        jpeg(dqt((0, 1))),
    ]
    found = run("mjpeg", packets)

    assert flags(found, "random_access") == "11111"
    assert flags(found, "discardable") == "01001"
    headers = [dqt((0, 1)) + dqt((1, 2)), dqt((0, 1)), dqt((1, 3)), dqt((1, 3)) + dht(0x10, b"abc")]
    assert [traits.start_headers for traits in found] == [b"", *headers]
    assert flags(found, "restartable") == "11100"


def test_codecs_that_only_a_trial_decode_can_tell() -> None:
    assert inspector_for("theora", b"") is None
