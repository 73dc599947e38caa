"""Synthetic segment tables and streams, and the Hypothesis strategies that draw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from mediaref_ursa._frame_table import PacketTable, SegmentInfo, SegmentTable

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
    shown: bool
    random_access: bool
    is_reference: int
    needs: frozenset[int]


@dataclass(frozen=True)
class FakeStream:
    """Packets in decode order, and the table that an index would hold of them."""

    packets: tuple[FakePacket, ...]
    table: SegmentTable

    def exact_after(self, fed: Sequence[int]) -> set[int]:
        """Return which of the packets fed come out exact: a decoder that forgets nothing, packet by packet."""
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
    shown = sorted((packet.place, number) for number, packet in enumerate(packets) if packet.shown)
    numbers = [number for _, number in shown]
    table = segment_table(
        [pts[place] for place, _ in shown],
        packet=numbers,
        start=[first_packet_needed(packets, number) for number in numbers],
        packets=packet_table(len(packets), is_reference=[packet.is_reference for packet in packets]),
        **info,
    )
    return FakeStream(tuple(packets), table)


def time_bases() -> st.SearchStrategy[Fraction]:
    """Time bases of real containers, and any other that is not too fine for nanoseconds."""
    common = ["1/30000", "1001/30000", "1001/24000", "1/90000", "1/12800", "1/1000", "1/1000000000", "1", "7/3"]
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
    if not any(packet.shown for packet in packets):
        packets[0] = replace(packets[0], shown=True)
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
        *((place, False) for place in draw(st.permutations(range(base + leading + 1, base + leading + 1 + trailing)))),
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
