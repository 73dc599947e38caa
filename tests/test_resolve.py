"""Times become frames: of one segment by container time, of several on one timeline."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

import numpy as np
import pytest
from _tables import segment_table

from mediaref_ursa._core.errors import FrameIndexInvalidError, FrameOutsideVideoError
from mediaref_ursa._core.ticks import AFTER_LAST, BEFORE_FIRST, UNTIMED
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.segments import SegmentSequence

MS = 1_000_000


def milliseconds(*pts: int, duration: int = 10) -> SegmentTable:
    return segment_table(pts, duration=duration, time_base=Fraction(1, 1000))


Shown: TypeAlias = "tuple[int, int] | int"


def at(segments: list[SegmentTable], *times_ms: float, tolerance_ns: int = 0) -> list[Shown]:
    """Return the segment and frame shown at each time; only the second of them outside the video."""
    times = np.array([round(time * MS) for time in times_ms], dtype=np.int64)
    segment, frame = SegmentSequence(tuple(segments)).resolve(times, tolerance_ns)
    assert segment.dtype == frame.dtype == np.int64
    pairs = zip(segment.tolist(), frame.tolist(), strict=True)
    return [(number, found) if found >= 0 else found for number, found in pairs]


def test_a_video_of_one_segment_is_addressed_by_container_time() -> None:
    video = [milliseconds(500, 510, 530)]

    assert at(video, 500, 509.9, 510, 529, 539.9) == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2)]
    assert at(video, 0, 499, 540) == [BEFORE_FIRST, BEFORE_FIRST, AFTER_LAST]


def test_a_container_may_begin_before_zero() -> None:
    assert at([milliseconds(-20, -10, 0)], -21, -20, -0.5, 9) == [BEFORE_FIRST, (0, 0), (0, 1), (0, 2)]


def test_several_segments_run_on() -> None:
    """Each is moved back by the lengths of those before it; its own start stays."""
    video = [milliseconds(0, 10, 20), milliseconds(0, 15), milliseconds(0)]

    assert SegmentSequence(tuple(video)).offsets == [0, Fraction(30, 1000), Fraction(55, 1000)]
    assert at(video, 29, 30, 44.9, 45, 54, 55, 64.9) == [
        (0, 2),
        (1, 0),
        (1, 0),
        (1, 1),
        (1, 1),
        (2, 0),
        (2, 0),
    ]
    assert at(video, -1, 65) == [BEFORE_FIRST, AFTER_LAST]


def test_segments_that_all_begin_late_keep_their_distance() -> None:
    """Many containers begin a little after zero: the video does, and its segments fit together."""
    video = [milliseconds(80, 90), milliseconds(80, 90)]

    assert at(video, 79, 80, 99, 100, 119, 120) == [
        BEFORE_FIRST,
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        AFTER_LAST,
    ]


def test_the_tolerance_reaches_into_the_next_segment() -> None:
    video = [milliseconds(0), milliseconds(0)]

    assert at(video, 9.9995, tolerance_ns=1000) == [(1, 0)]
    assert at(video, 9.9995, tolerance_ns=100) == [(0, 0)]


def test_segments_of_different_time_bases_are_added_exactly() -> None:
    third = segment_table([0, 1], time_base=Fraction(1, 3))
    video = [third, third, milliseconds(0)]

    sequence = SegmentSequence(tuple(video))
    assert sequence.offsets[1:] == [Fraction(2, 3), Fraction(4, 3)]
    exact = [Fraction(third, 3) * 10**9 for third in range(5)]
    assert sequence.frame_times.ceil_ns.tolist() == [-(-time // 1) for time in exact]
    assert sequence.pts_ns.tolist() == [round(time) for time in exact]


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_segment_takes_no_time(empty: int) -> None:
    video = [milliseconds(0, 10), milliseconds(0, 10)]
    video.insert(empty, milliseconds())
    first, second = sorted({0, 1, 2} - {empty})

    assert at(video, 0, 10, 20, 39) == [(first, 0), (first, 1), (second, 0), (second, 1)]
    assert at(video, 40) == [AFTER_LAST]


def test_an_empty_last_segment_ends_where_the_one_before_it_ends() -> None:
    assert at([milliseconds(80, 90), milliseconds()], 99) == [(0, 1)]


def test_a_segment_never_begins_before_the_one_before_it_ends() -> None:
    """The first begins at 1 s and lasts 20 ms; by its length alone the second would begin at 20 ms."""
    video = [milliseconds(1000, 1010), milliseconds(0)]

    assert at(video, 1000, 1010, 1020, 1029, 1030) == [(0, 0), (0, 1), (1, 0), (1, 0), AFTER_LAST]


def test_a_video_of_one_frame() -> None:
    assert at([milliseconds(0, duration=1)], 0, 0.5, 0.999999, 1) == [(0, 0), (0, 0), (0, 0), AFTER_LAST]


def test_a_frame_without_a_time_is_never_the_nearest() -> None:
    """At 15 ms a frame without a time takes the place of the first one, until the second begins."""
    video = SegmentSequence(
        (segment_table([0, 40], duration=10, time_base=Fraction(1, 1000), untimed=(15,)),)
    )
    times = np.array([10, 19, 20, 21, 39], dtype=np.int64) * MS

    assert video.resolve(times, 0)[1].tolist() == [0, UNTIMED, UNTIMED, UNTIMED, UNTIMED]
    assert video.resolve(times, 20 * MS, "nearest")[1].tolist() == [0, 0, 0, 1, 1]


def test_segments_that_are_too_long_together_are_an_error_of_the_tree() -> None:
    century = segment_table([0, 3_200_000_000], time_base=Fraction(1))

    with pytest.raises(FrameIndexInvalidError, match="together"):
        SegmentSequence((century,) * 3).resolve(np.array([0]), 0)


def test_no_times() -> None:
    assert at([milliseconds(0)]) == []
    assert at([milliseconds(0), milliseconds(0)]) == []


@pytest.mark.parametrize(
    ("frame", "side"), [(BEFORE_FIRST, "before its first frame"), (AFTER_LAST, "after its end")]
)
def test_the_error_of_a_time_outside_says_where_the_video_is(frame: int, side: str) -> None:
    error = SegmentSequence((milliseconds(500, 1000),)).outside_error(
        "https://host/a.mp4?sig=secret", 7, frame
    )

    assert isinstance(error, FrameOutsideVideoError)
    assert (error.uri, error.pts_ns) == ("https://host/a.mp4?sig=secret", 7)
    for part in (side, "500000000 ns", "1010000000 ns", "0.5 s to 1.01 s", "https://host/a.mp4 at 7 ns"):
        assert part in str(error)
    assert "secret" not in str(error)


def test_the_error_of_a_video_of_several_segments_names_the_whole() -> None:
    error = SegmentSequence(
        (
            milliseconds(0, 10),
            milliseconds(0),
        )
    ).outside_error("a.mp4", 10**12, AFTER_LAST)

    assert "30000000 ns" in str(error)
