"""Exact time: ticks to nanoseconds, and which frame is shown when."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mediaref_ursa._core.ticks import (
    AFTER_LAST,
    BEFORE_FIRST,
    NS_PER_SECOND,
    TOLERANCE_NS,
    frames_at,
    ticks_to_ns_ceil,
    ticks_to_ns_round,
)

INT64_MAX = 2**63 - 1
HOUR_OF_FRAMES = 5_000

CLIPS = {
    "29.97 fps in 1/30000": (Fraction(1, 30_000), 1001),
    "29.97 fps in 1/90000": (Fraction(1, 90_000), 3003),
    "23.976 fps in 1/24000": (Fraction(1, 24_000), 1001),
    "59.94 fps in 1/60000": (Fraction(1, 60_000), 1001),
    "one tick of 1001/30000 a frame": (Fraction(1001, 30_000), 1),
    "25 fps in 1/12800": (Fraction(1, 12_800), 512),
    "30 fps in 1/90000": (Fraction(1, 90_000), 3000),
    "29.97 fps in milliseconds": (Fraction(1, 1000), 33),
    "ten times a second slower": (Fraction(10, 1), 1),
}
SHIFTS = {"from zero": 0, "negative start": -7, "a day in": 86_400}


def starts_of(pts: np.ndarray, time_base: Fraction, duration: int) -> tuple[np.ndarray, int]:
    end = ticks_to_ns_ceil(pts[-1:] + duration, time_base)
    return ticks_to_ns_ceil(pts, time_base), int(end[0])


@pytest.mark.parametrize("shift_seconds", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize(("time_base", "step"), CLIPS.values(), ids=CLIPS)
def test_every_way_of_writing_a_frames_time_comes_back_to_it(
    time_base: Fraction, step: int, shift_seconds: int
) -> None:
    """int(s * 1e9), round(s * 1e9) and the exact time, rounded down, up or to the nearest: 0 wrong."""
    pts = np.arange(HOUR_OF_FRAMES, dtype=np.int64) * step + int(shift_seconds / time_base)
    exact = [int(tick) * time_base for tick in pts]
    seconds = [float(time) for time in exact]
    written = {
        "int of a float": [int(s * 1e9) for s in seconds],
        "round of a float": [round(s * 1e9) for s in seconds],
        "floor": [int(time * NS_PER_SECOND // 1) for time in exact],
        "ceil": [-int(-time * NS_PER_SECOND // 1) for time in exact],
        "what a reference stores": ticks_to_ns_round(pts, time_base).tolist(),
    }
    starts, end = starts_of(pts, time_base, step)

    wrong = {
        how: int((frames_at(starts, end, np.array(times)) != np.arange(len(pts))).sum())
        for how, times in written.items()
    }

    assert wrong == dict.fromkeys(written, 0)


def test_a_time_up_to_the_tolerance_before_a_frame_names_it() -> None:
    starts, end = starts_of(np.array([0, 1001, 2002]), Fraction(1, 30_000), 1001)
    second = 33_366_667
    times = [0, -TOLERANCE_NS, -TOLERANCE_NS - 1, second - TOLERANCE_NS, second - TOLERANCE_NS - 1]

    assert frames_at(starts, end, np.array(times)).tolist() == [0, 0, BEFORE_FIRST, 1, 0]


def test_no_tolerance_is_exact() -> None:
    starts, end = starts_of(np.array([0, 1001]), Fraction(1, 30_000), 1001)

    found = frames_at(starts, end, np.array([33_366_666, 33_366_667, -1]), tolerance_ns=0)

    assert found.tolist() == [0, 1, BEFORE_FIRST]


def test_the_last_frame_lasts_for_its_duration_and_the_tolerance_does_not_extend_it() -> None:
    starts, end = starts_of(np.array([0, 10]), Fraction(1, 1000), 5)

    assert end == 15_000_000
    assert frames_at(starts, end, np.array([end - 1, end, end + 1])).tolist() == [1, AFTER_LAST, AFTER_LAST]


def test_a_gap_belongs_to_the_frame_before_it() -> None:
    starts, end = starts_of(np.array([0, 1000, 60_000]), Fraction(1, 1000), 1)

    assert frames_at(starts, end, np.array([30_000_000_000])).tolist() == [1]


def test_times_at_the_edge_of_int64() -> None:
    starts, end = starts_of(np.array([-5, 0, 5]), Fraction(1, 1000), 5)
    edges = np.array([-(2**63), -(2**63) + 1, INT64_MAX - 1, INT64_MAX])

    assert frames_at(starts, end, edges).tolist() == [BEFORE_FIRST, BEFORE_FIRST, AFTER_LAST, AFTER_LAST]


def test_a_frame_that_is_still_shown_at_the_edge_of_int64() -> None:
    starts = np.array([INT64_MAX - 10, INT64_MAX - 3])

    found = frames_at(starts, INT64_MAX, np.array([INT64_MAX - 1, INT64_MAX - 4, INT64_MAX]), tolerance_ns=2)

    assert found.tolist() == [1, 1, AFTER_LAST]


def test_no_frames_and_no_times() -> None:
    none = np.empty(0, dtype=np.int64)

    assert set(frames_at(none, 0, np.array([-5, 0, 5])).tolist()) <= {BEFORE_FIRST, AFTER_LAST}
    assert frames_at(np.array([0]), 1, none).tolist() == []
    assert ticks_to_ns_ceil(none, Fraction(1, 3)).tolist() == []
    assert ticks_to_ns_round(none, Fraction(1, 3)).tolist() == []


@pytest.mark.parametrize("convert", [ticks_to_ns_ceil, ticks_to_ns_round])
@pytest.mark.parametrize(
    ("ticks", "time_base"),
    [
        (2**62, Fraction(1)),
        (INT64_MAX, Fraction(1, 1000)),
        (-(2**63), Fraction(1, 1000)),
        (9_223_372_037, Fraction(1)),
        (1, Fraction(2**62)),
    ],
)
def test_a_time_beyond_292_years_is_an_error(convert, ticks: int, time_base: Fraction) -> None:
    with pytest.raises(OverflowError, match="do not fit into int64"):
        convert(np.array([ticks]), time_base)


@pytest.mark.parametrize("convert", [ticks_to_ns_ceil, ticks_to_ns_round])
def test_a_time_base_that_is_no_time_base(convert) -> None:
    with pytest.raises(ValueError, match="positive time base"):
        convert(np.array([1]), Fraction(0))
    with pytest.raises(ValueError, match="positive time base"):
        convert(np.array([1]), Fraction(-1, 1000))
    with pytest.raises(OverflowError, match="too fine"):
        convert(np.array([1]), Fraction(1, 2**62))


def test_half_a_nanosecond_rounds_as_documented() -> None:
    """Ticks of half a nanosecond: the nearest, and the first that is not before."""
    ticks, time_base = np.array([-3, -2, -1, 0, 1, 2, 3]), Fraction(1, 2 * NS_PER_SECOND)

    assert ticks_to_ns_ceil(ticks, time_base).tolist() == [-1, -1, 0, 0, 1, 1, 2]
    assert (np.abs(2 * ticks_to_ns_round(ticks, time_base) - ticks) <= 1).all()


@pytest.mark.parametrize("den", [10**9, 2_305_843_009, 2_305_843_010, 4_700_000_000, 9_000_000_000, 2**40])
def test_the_finest_time_bases_are_exact_or_refused(den: int) -> None:
    """Just below a whole second the products are largest; none may wrap around."""
    ticks = np.array([den - 1, -1, 3 * den - 1])
    exact = [Fraction(int(tick) * NS_PER_SECOND, den) for tick in ticks]
    try:
        ceil, nearest = (
            convert(ticks, Fraction(1, den)) for convert in (ticks_to_ns_ceil, ticks_to_ns_round)
        )
    except OverflowError:
        assert den > 2_300_000_000
        return

    assert ceil.tolist() == [-(-time // 1) for time in exact]
    assert all(
        abs(found - time) <= Fraction(1, 2) for found, time in zip(nearest.tolist(), exact, strict=True)
    )
