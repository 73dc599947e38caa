"""Tables of frames and packets: what cannot be true is refused, and derived columns are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from _tables import INFO, PACKET_BYTES, packet_table, segment_table

from mediaref_ursa._core.errors import FrameIndexInvalidError
from mediaref_ursa._model.segment import SegmentTable


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def table(**changes: Any) -> SegmentTable:
    """Three frames of three packets, with some columns replaced."""
    return replace(segment_table([0, 10, 20], duration=10), **changes)


def packets(**changes: Any) -> SegmentTable:
    return table(packets=replace(packet_table(3), **changes))


def test_a_table_that_can_be_true_is_taken() -> None:
    assert len(table()) == 3
    assert len(table().packets) == 3


REFUSED: dict[str, tuple[Callable[[], SegmentTable], str]] = {
    "frames of different counts": (lambda: table(duration=ints(1, 1)), "differ in length"),
    "timestamps of another count": (lambda: table(timestamp=np.zeros(4)), "differ in length"),
    "packets of different counts": (lambda: packets(crc32=ints(1, 2)), "differ in length"),
    "flags of another count": (lambda: packets(is_keyframe=np.zeros(4, bool)), "differ in length"),
    "more frames than packets": (lambda: table(packets=packet_table(2)), "only 2 packets"),
    "equal pts": (lambda: table(pts=ints(0, 10, 10)), "strictly ascending"),
    "pts that go back": (lambda: table(pts=ints(0, 10, 9)), "strictly ascending"),
    "pts that wrap around": (lambda: table(pts=ints(-(2**63), 0, 2**63 - 1)), "ascending|out of range"),
    "pts that wrap around downwards": (
        lambda: table(pts=ints(2**62 + 1, -(2**62) - 1, 0), info=replace(INFO, time_base=Fraction(1, 10**9))),
        "ascending|out of range",
    ),
    "a pts of no pts": (lambda: table(pts=ints(-(2**63), 0, 1)), "ascending|out of range"),
    "an end beyond int64": (lambda: table(pts=ints(0, 1, 2**62)), "out of range"),
    "a pts beyond 292 years": (lambda: table(pts=ints(0, 1, 2**61)), "int64 nanoseconds"),
    "a duration beyond int64": (lambda: table(duration=ints(1, 1, 2**63 - 1)), "out of range"),
    "a negative duration": (lambda: table(duration=ints(1, -1, 1)), "negative"),
    "a packet that is not there": (lambda: table(packet=ints(0, 1, 3)), "does not exist"),
    "a packet before the first": (
        lambda: table(packet=ints(-1, 1, 2), start=ints(-1, 0, 0)),
        "does not exist",
    ),
    "a packet of two frames": (lambda: table(packet=ints(0, 1, 1)), "one packet"),
    "a start after the frame": (lambda: table(start=ints(0, 2, 0)), "begins after"),
    "a start before the first": (lambda: table(start=ints(0, -1, 0)), "begins after"),
    "a negative size": (lambda: packets(size=ints(1, -1, 1)), "larger than|negative|size"),
    "a size beyond the file": (lambda: packets(size=ints(1, 2**62, 1)), "larger than the file"),
    "an offset before the file": (lambda: packets(offset=ints(0, -1, 0)), "outside the file"),
    "an offset at the edge of int64": (lambda: packets(offset=ints(0, 2**63 - 1, 0)), "outside the file"),
    "a last packet one byte too long": (
        lambda: packets(offset=ints(0, 0, INFO.length - PACKET_BYTES + 1)),
        "outside the file",
    ),
    "a file longer than any": (lambda: table(info=replace(INFO, length=2**80)), "length|size|file"),
    "a time base too fine": (lambda: table(info=replace(INFO, time_base=Fraction(1, 2**60))), "too fine"),
    "a time base of zero": (lambda: table(info=replace(INFO, time_base=Fraction(0))), "time base"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_true_is_refused(make: Callable[[], SegmentTable], says: str) -> None:
    with pytest.raises(FrameIndexInvalidError, match=says) as caught:
        make()
    assert caught.value.uri == INFO.uri
    assert "mediaref-ursa index --overwrite" in str(caught.value)


def test_the_last_byte_of_the_file_may_be_a_packets() -> None:
    assert len(packets(offset=ints(0, 0, INFO.length - PACKET_BYTES))) == 3


def test_offsets_do_not_matter_where_packets_are_not_addressable() -> None:
    nowhere = replace(packet_table(3), offset=ints(-1, -1, -1))

    found = table(info=replace(INFO, addressable=False), packets=nowhere)

    assert len(found) == 3


def test_an_empty_segment() -> None:
    empty = segment_table([])

    assert len(empty) == 0
    assert empty.end_ns == 0
    assert empty.seconds == 0
    assert empty.start_ns.tolist() == empty.pts_ns.tolist() == empty.random_access_points.tolist() == []


def test_times_are_exact() -> None:
    ntsc = segment_table([0, 1001, 2002], duration=1001, time_base=Fraction(1, 30_000))

    assert ntsc.start_ns.tolist() == [0, 33_366_667, 66_733_334]
    assert ntsc.pts_ns.tolist() == [0, 33_366_667, 66_733_333]
    assert ntsc.end_ns == 100_100_000
    assert ntsc.seconds == Fraction(3003, 30_000)


def test_length_is_counted_from_the_first_frame() -> None:
    assert segment_table([90_000, 99_000], duration=9_000).seconds == Fraction(1, 5)


def test_random_access_points_are_the_starts_each_once() -> None:
    found = segment_table(range(6), start=[0, 0, 2, 2, 0, 5])

    assert found.random_access_points.tolist() == [0, 2, 5]


@pytest.mark.parametrize(
    ("rotation", "size"), [(0, (360, 640)), (90, (640, 360)), (180, (360, 640)), (270, (640, 360))]
)
def test_display_size_is_turned(rotation: int, size: tuple[int, int]) -> None:
    assert replace(INFO, rotation=rotation).display_size == size


def test_tables_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        table().pts = ints(1)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        INFO.uri = "other"  # type: ignore[misc]
