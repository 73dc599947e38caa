"""Synthetic segment tables, streams and packets, and the Hypothesis strategies that draw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from mediaref_ursa._model.segment import PacketTable, SegmentInfo, SegmentTable

PATIENT = settings(deadline=None)
"""For every property: a busy machine is slow, not wrong."""

PACKET_BYTES = 100
INFO = SegmentInfo(
    uri="/videos/a.mp4",
    length=10_000_000,
    etag=None,
    container="mov",
    codec="h264",
    codec_tag="avc1",
    extradata=b"\x01sets",
    time_base=Fraction(1, 90_000),
    width=640,
    height=360,
    pixel_format="yuv420p",
    colorspace=1,
    color_range=1,
    rotation=0,
    addressable=True,
)


def packet_table(count: int, *, is_reference: Sequence[int] | None = None, **columns: Any) -> PacketTable:
    """Return ``count`` packets that lie one behind the other."""
    values: dict[str, Any] = {
        "offset": np.arange(count, dtype=np.int64) * PACKET_BYTES,
        "size": np.full(count, PACKET_BYTES, dtype=np.int64),
        "crc32": np.arange(count, dtype=np.int64),
        "is_reference": np.array([1] * count if is_reference is None else is_reference, dtype=np.int8),
        "is_corrupt": np.zeros(count, dtype=np.bool_),
        "is_keyframe": np.zeros(count, dtype=np.bool_),
    }
    return PacketTable(**{**values, **columns})


def segment_table(
    pts: Sequence[int],
    *,
    duration: Sequence[int] | int = 1,
    packet: Sequence[int] | None = None,
    start: Sequence[int] | None = None,
    packets: PacketTable | None = None,
    timestamp: Sequence[float] | None = None,
    **info: Any,
) -> SegmentTable:
    """Return a table of frames; unless told otherwise they are decoded in order from packet 0 on."""
    count = len(pts)
    base = replace(INFO, **info)
    times = [float(tick * base.time_base) for tick in pts] if timestamp is None else timestamp
    return SegmentTable(
        info=base,
        pts=np.array(pts, dtype=np.int64),
        duration=np.broadcast_to(np.array(duration, dtype=np.int64), (count,)).copy(),
        timestamp=np.array(times, dtype=np.float64),
        packet=np.array(range(count) if packet is None else packet, dtype=np.int64),
        start=np.array([0] * count if start is None else start, dtype=np.int64),
        packets=packet_table(count) if packets is None else packets,
    )


@dataclass(frozen=True)
class FakePacket:
    """One packet of a synthetic stream.

    Attributes:
        place: Its place in presentation order; hidden packets have one too.
        shown: Whether it gives a frame.
        random_access: Whether decoding may begin here.
        is_reference: 1, 0 or -1 where it is not known.
        needs: The packets without which it does not decode exactly.
    """

    place: int
    displayed: bool
    random_access: bool
    is_reference: int
    needs: frozenset[int]


@dataclass(frozen=True)
class FakeStream:
    """Packets in decode order, and the table that an index would hold of them."""

    packets: tuple[FakePacket, ...]
    table: SegmentTable

    def exact_after(self, fed: Sequence[int]) -> set[int]:
        """Return which of the packets fed come out exact: a decoder that forgets nothing."""
        exact: set[int] = set()
        for number in fed:
            if self.packets[number].needs <= exact:
                exact.add(number)
        return exact


def first_packet_needed(packets: Sequence[FakePacket], number: int) -> int:
    """Return the last random access point neither decoded nor shown after a packet, by looking back."""
    for candidate in range(number, -1, -1):
        if packets[candidate].random_access and packets[candidate].place <= packets[number].place:
            return candidate
    return 0


def fake_stream(packets: Sequence[FakePacket], pts: Sequence[int], **info: Any) -> FakeStream:
    """Return the stream of ``packets``; ``pts`` gives the ticks of the places."""
    displayed = sorted((packet.place, number) for number, packet in enumerate(packets) if packet.displayed)
    numbers = [number for _, number in displayed]
    table = segment_table(
        [pts[place] for place, _ in displayed],
        packet=numbers,
        start=[first_packet_needed(packets, number) for number in numbers],
        packets=packet_table(len(packets), is_reference=[packet.is_reference for packet in packets]),
        **info,
    )
    return FakeStream(tuple(packets), table)


def time_bases() -> st.SearchStrategy[Fraction]:
    """Time bases of real containers, and any other that is not too fine for nanoseconds."""
    common = [
        "1/30000",
        "1001/30000",
        "1001/24000",
        "1/90000",
        "1/12800",
        "1/1000",
        "1/1000000000",
        "1",
        "7/3",
    ]
    numbers = st.integers(1, 2_300_000_000)
    return st.sampled_from(common).map(Fraction) | st.builds(Fraction, numbers, numbers)


def ascending_pts(count: int, first: int | None = None) -> st.SearchStrategy[list[int]]:
    """``count`` strictly ascending ticks, variable in distance; the first may be negative."""
    begin = st.integers(-1000, 1000) if first is None else st.just(first)
    steps = st.lists(st.integers(1, 5), min_size=count, max_size=count)
    return st.builds(lambda at, gaps: [at + sum(gaps[: i + 1]) for i in range(count)], begin, steps)


@st.composite
def streams(draw: Callable[..., Any], **info: Any) -> FakeStream:
    """Streams of one to four groups of pictures.

    A group is closed, or open: pictures that are decoded after its first and shown before it need the
    group before. Some packets are hidden, some are needed by nobody, of some that is not known.
    """
    packets: list[FakePacket] = []
    past: list[int] = []  # references of the group before, as an open group may need them
    for group in range(draw(st.integers(1, 4))):
        packets, past = _add_group(draw, packets, past, group)
    if not any(packet.displayed for packet in packets):
        packets[0] = replace(packets[0], displayed=True)
    pts = draw(ascending_pts(len(packets)))
    return fake_stream(packets, pts, **info)


def _add_group(
    draw: Callable[..., Any], packets: list[FakePacket], past: list[int], group: int
) -> tuple[list[FakePacket], list[int]]:
    first, base = len(packets), len(packets)
    leading = draw(st.integers(0, 3)) if group else 0
    trailing = draw(st.integers(0, 6))
    key = FakePacket(base + leading, draw(st.integers(0, 9)) > 0, True, 1, frozenset())
    added = [key]
    usable = {False: [first], True: [first, *past]}  # what a trailing and what a leading picture may need
    places = [
        *((place, True) for place in draw(st.permutations(range(base, base + leading)))),
        *(
            (place, False)
            for place in draw(st.permutations(range(base + leading + 1, base + leading + 1 + trailing)))
        ),
    ]
    references = [first]
    for place, leads in places:
        number = first + len(added)
        needs = draw(st.sets(st.sampled_from(usable[leads]), min_size=1, max_size=3))
        kind = draw(st.sampled_from([1, 1, 0, -1]))
        added.append(FakePacket(place, draw(st.integers(0, 5)) > 0, False, kind, frozenset(needs)))
        if kind:
            usable[leads].append(number)
            references += [] if leads else [number]
    return packets + added, references


def requests(count: int) -> st.SearchStrategy[list[int]]:
    """Frames of a video of ``count`` frames, in any order, some more than once."""
    return st.lists(st.integers(0, count - 1), max_size=12)


# --- packets, written bit by bit after the standards -----------------------------------------

START, SHORT_START = b"\0\0\0\1", b"\0\0\1"


class Bits:
    """Writes big-endian bit fields and Exp-Golomb codes."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, bits: int, value: int = 0) -> Bits:
        self.text += f"{value:0{bits}b}"
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def se(self, value: int) -> Bits:
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def payload(self) -> bytes:
        """Return the bits with a stop bit, emulation prevention bytes put in."""
        text = self.text + "1"
        text += "0" * (-len(text) % 8)
        escaped = bytearray()
        for byte in int(text, 2).to_bytes(len(text) // 8, "big"):
            if escaped[-2:] == b"\0\0" and byte <= 3:
                escaped.append(3)
            escaped.append(byte)
        return bytes(escaped)


def annex_b(*nals: bytes) -> bytes:
    return b"".join((SHORT_START if i % 2 else START) + nal for i, nal in enumerate(nals))


def prefixed(*nals: bytes, size: int = 4) -> bytes:
    return b"".join(len(nal).to_bytes(size, "big") + nal for nal in nals)


def sps(sps_id: int = 0, *, interlaced: bool = False, high: bool = False, frame_num_bits: int = 4) -> bytes:
    bits = Bits().u(8, 100 if high else 77).u(16, 30).ue(sps_id)
    if high:  # 4:2:0, 8 bits, scaling lists of which the first is sent and the seventh stops at once
        bits.ue(1, 0, 0).u(1, 0).u(1, 1).u(1, 1)
        for delta in [-8 if i % 2 else 8 for i in range(16)]:
            bits.se(delta)
        bits.u(5, 0).u(1, 1).se(-8).u(1, 0)
    bits.ue(frame_num_bits - 4, 0, 4).ue(4).u(1, 0).ue(39, 22).u(1, not interlaced)
    return b"\x67" + bits.u(1 + interlaced, 0).u(2, 0).payload()


def pps(pps_id: int = 0, sps_id: int = 0, variant: int = 0) -> bytes:
    return b"\x68" + Bits().ue(pps_id, sps_id).u(8, variant).payload()


def h264_slice(
    kind: int, *, idr: bool = False, reference: int = 3, field: int | None = None, pps_id: int = 0,
    interlaced: bool = False, frame_num_bits: int = 4, first_mb: int = 0,
) -> bytes:  # fmt: skip
    bits = Bits().ue(first_mb, kind + 5, pps_id).u(frame_num_bits, 1)
    if interlaced:
        bits.u(1, field is not None)
        if field is not None:
            bits.u(1, field)
    return bytes([reference << 5 | (5 if idr else 1)]) + bits.u(60, 2**59).payload()


def sei(*messages: tuple[int, bytes]) -> bytes:
    body = b""
    for kind, payload in messages:
        for number in (kind, len(payload)):
            body += b"\xff" * (number // 255) + bytes([number % 255])
        body += payload
    return b"\x06" + body + b"\x80"


def recovery(count: int = 0, *, exact: bool = True) -> bytes:
    return sei((6, Bits().ue(count).u(1, exact).u(3, 0).payload()))


def avcc(*sets: bytes, size: int = 4) -> bytes:
    groups = [[nal for nal in sets if nal[0] == first] for first in (0x67, 0x68)]
    head = bytes([1, 77, 0, 30, 0xFC | size - 1])
    return head + b"".join(
        bytes([mark | len(nals)]) + prefixed(*nals, size=2)
        for mark, nals in zip((0xE0, 0), groups, strict=True)
    )


def hevc(kind: int, payload: bytes = b"\xaf\x80\x55\x55", *, layer: int = 0, temporal: int = 0) -> bytes:
    return bytes([kind << 1 | layer >> 5, (layer & 31) << 3 | temporal + 1]) + payload


def hevc_sps(sps_id: int = 0, *, sub_layers: int = 0, variant: int = 0) -> bytes:
    bits = Bits().u(4).u(3, sub_layers).u(1, 1).u(88, 1).u(8, 93)
    if sub_layers:
        bits.u(2 * sub_layers, 2 ** (2 * sub_layers) - 1).u(2 * (8 - sub_layers)).u(96 * sub_layers, 5)
    return hevc(33, bits.ue(sps_id, 1, variant).payload())


def hvcc(*sets: bytes, size: int = 4) -> bytes:
    groups = b"".join(bytes([nal[0] >> 1, 0, 1]) + prefixed(nal, size=2) for nal in sets)
    return b"\x01" + bytes(20) + bytes([0xFC | size - 1, len(sets)]) + groups


def vp9(
    *, key: bool = False, displayed: bool = True, profile: int = 0, existing: bool = False, size: int = 9,
    resilient: bool = True, refreshes: int = 1, intra_only: bool = False,
) -> bytes:  # fmt: skip
    bits = Bits().u(2, 2).u(1, profile & 1).u(1, profile >> 1)
    if profile == 3:
        bits.u(1)
    if existing:
        bits.u(1, 1).u(3, 1)
    else:
        bits.u(1, 0).u(1, not key).u(1, displayed).u(1, resilient)
        if key:
            bits.u(24, 0x498342)
        else:
            if not displayed:
                bits.u(1, intra_only)
            if not resilient:
                bits.u(2, 0)
            bits.u(8, refreshes)
    return bits.payload().ljust(size, b"\x55")


def superframe(*frames: bytes, size_bytes: int = 2) -> bytes:
    marker = bytes([0xC0 | size_bytes - 1 << 3 | len(frames) - 1])
    sizes = b"".join(len(frame).to_bytes(size_bytes, "little") for frame in frames)
    return b"".join(frames) + marker + sizes + marker


def obu(
    kind: int, payload: bytes = b"", *, sized: bool = True, extension: bool = False, padding: int = 0
) -> bytes:
    size = len(payload)
    leb128 = b""
    while size > 127:
        leb128, size = leb128 + bytes([size & 127 | 128]), size >> 7
    leb128 += bytes([size | 128]) + b"\x80" * (padding - 1) + b"\0" if padding else bytes([size])
    return bytes([kind << 3 | extension << 2 | sized << 1]) + b"\x20" * extension + leb128 * sized + payload


def av1_frame(kind: int = 1, *, displayed: bool = True, existing: bool = False, size: int = 5) -> bytes:
    header = Bits().u(1, existing).u(2, kind).u(1, displayed)
    return header.payload().ljust(size, b"\x55")


def mpeg2(kind: int, structure: int = 3, extension: bool = True, first_row: int | None = 1) -> bytes:
    """Return a picture: its header and, unless ``first_row`` is None, slices of two rows."""
    picture = b"\0\0\1\0" + bytes([0x00, 0x40 | kind << 3, 0xFF, 0xF8])
    if extension:
        picture += b"\0\0\1\xb5" + bytes([0x8F, 0xFF, 0xF0 | structure, 0x80])
    if first_row is not None:
        picture += b"".join(b"\0\0\1" + bytes([row]) + b"\x55" * 9 for row in (first_row, first_row + 1))
    return picture


def vop(kind: int, size: int = 100, *, coded: bool = True, time_bits: int = 15) -> bytes:
    header = Bits().u(2, kind).u(1, 0).u(1, 1).u(time_bits, 1).u(1, 1).u(1, coded).payload()
    return b"\0\0\1\xb6" + header.ljust(size, b"\x55")
