"""``match="nearest"`` against a linear search in fractions, and times given against the frames they name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from _tables import PATIENT, ascending_pts, packet_table, segment_table, streams, time_bases
from hypothesis import assume, given
from hypothesis import strategies as st

from mediaref_ursa._core.tick_times import TickTimes
from mediaref_ursa._core.ticks import (
    AFTER_LAST,
    BEYOND_TOLERANCE,
    NS_PER_SECOND,
    midpoints_ns,
    ticks_to_ns_ceil,
    ticks_to_ns_floor,
    ticks_to_ns_round,
)
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.frame_times import FrameTimes
from mediaref_ursa._plan.segments import SegmentSequence

INT64_MAX = 2**63 - 1
ANY_DISTANCE = 2**62 - 1


def nearest_to(times: list[Fraction], t_ns: int, tolerance_ns: int) -> int:
    """The rule as the documentation words it, frame by frame; of frames with one time the last is shown."""
    best, distance = BEYOND_TOLERANCE, Fraction(tolerance_ns)
    for number, time in enumerate(times):
        found = abs(time * NS_PER_SECOND - t_ns)
        is_same = best >= 0 and time == times[best]
        if found < distance or (found == distance and (best == BEYOND_TOLERANCE or is_same)):
            best, distance = number, found
    return best


def times_of(sequence: SegmentSequence) -> list[Fraction]:
    return [sequence.seconds_of(frame) for frame in range(sequence.frame_count)]


@st.composite
def recordings(draw: Callable[..., Any]) -> SegmentSequence:
    """One to four segments of any time bases, some empty, some with gaps, some without a last duration."""
    tables: list[SegmentTable] = []
    for _ in range(draw(st.integers(1, 4))):
        pts = draw(ascending_pts(draw(st.integers(0, 5))))
        base = draw(time_bases())
        assume(max((abs(tick) for tick in pts), default=0) * base < 10**8)
        extra = draw(st.integers(0, 3))  # packets that are never output
        tables.append(
            segment_table(
                pts,
                duration=draw(st.integers(0, 7)),
                time_base=base,
                packets=packet_table(len(pts) + extra),
            )
        )
    return SegmentSequence(tuple(tables))


def asked_times(data: st.DataObject, times: list[Fraction]) -> list[int]:
    """Times at and around frames and the middles between them, before, after, and anywhere."""
    middles = [(a + b) / 2 for a, b in itertools.pairwise(times)]
    edges = st.builds(
        lambda edge, step: int(edge * NS_PER_SECOND // 1) + step,
        st.sampled_from([*times, *middles, Fraction(0)]),
        st.integers(-2, 2),
    )
    anywhere = st.integers(-(2**63), INT64_MAX)
    return data.draw(st.lists(edges | anywhere, min_size=1, max_size=12))


@PATIENT
@given(recordings(), st.data())
def test_the_nearest_frame_against_a_linear_search(sequence: SegmentSequence, data: st.DataObject) -> None:
    """Ties, before the first frame, after the last, between segments, empty ones, frames of one time."""
    times = times_of(sequence)
    assume(times)
    tolerance = data.draw(st.sampled_from([0, 1, 1000, ANY_DISTANCE]) | st.integers(0, 10**12))
    asked = asked_times(data, times)

    segment, frame = sequence.resolve(np.array(asked, dtype=np.int64), tolerance, "nearest")

    found = np.where(frame < 0, frame, sequence.firsts[segment] + frame)
    assert found.tolist() == [nearest_to(times, t_ns, tolerance) for t_ns in asked]


@PATIENT
@given(streams(), st.data())
def test_only_frames_that_are_output_are_the_nearest(stream: Any, data: st.DataObject) -> None:
    table = stream.table
    times = [int(tick) * table.info.time_base for tick in table.pts]
    asked = asked_times(data, times)

    _, frame = SegmentSequence((table,)).resolve(np.array(asked, dtype=np.int64), ANY_DISTANCE, "nearest")

    assert frame.tolist() == [nearest_to(times, t_ns, ANY_DISTANCE) for t_ns in asked]


@PATIENT
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=8), st.data())
def test_frames_of_one_time_are_one_of_which_the_last_is_displayed(
    ticks: list[int], data: st.DataObject
) -> None:
    """As timestamps of a camera's clock may be."""
    ascending = np.sort(np.array(ticks, dtype=np.int64))
    times = [Fraction(int(tick), NS_PER_SECOND) for tick in ascending]
    frames = FrameTimes((TickTimes(ascending, Fraction(1, NS_PER_SECOND)),), 51)
    asked = data.draw(st.lists(st.integers(-60, 60), min_size=1, max_size=12))

    found = frames.resolve(np.array(asked, dtype=np.int64), ANY_DISTANCE, "nearest")

    assert found.tolist() == [nearest_to(times, t_ns, ANY_DISTANCE) for t_ns in asked]


@PATIENT
@given(recordings(), st.data())
def test_the_error_names_the_distance_and_the_frames_before_and_after(
    sequence: SegmentSequence, data: st.DataObject
) -> None:
    times = times_of(sequence)
    assume(times)
    t_ns = asked_times(data, times)[0]
    distance = min(abs(time * NS_PER_SECOND - t_ns) for time in times)
    assume(distance > 0)

    error = sequence.outside_error("a.mp4", t_ns, BEYOND_TOLERANCE, 0)

    rounded = [(time * NS_PER_SECOND + Fraction(1, 2)) // 1 for time in times]
    before = [ns for time, ns in zip(times, rounded, strict=True) if time * NS_PER_SECOND <= t_ns]
    after = [ns for time, ns in zip(times, rounded, strict=True) if time * NS_PER_SECOND > t_ns]
    assert error.distance_ns == -(-distance // 1)  # type: ignore[attr-defined]
    assert error.neighbours_ns == (  # type: ignore[attr-defined]
        before[-1] if before else None,
        after[0] if after else None,
    )


@PATIENT
@given(
    time_bases(),
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=6),
    st.fractions(-(10**6), 10**6) | st.builds(Fraction, st.integers(-(2**60), 2**60), st.integers(1, 2**62)),
)
def test_ticks_that_are_moved_by_a_fraction_become_exact_nanoseconds(
    time_base: Fraction, ticks: list[int], offset: Fraction
) -> None:
    ticks = sorted(ticks)
    exact = [(tick * time_base + offset) * NS_PER_SECOND for tick in ticks]
    assume(max(abs(time) for time in exact) < 2**61)
    assume(max(abs(tick) for tick in ticks) * time_base < 2**32)
    given_ticks = np.array(ticks, dtype=np.int64)

    assert ticks_to_ns_floor(given_ticks, time_base, offset).tolist() == [time // 1 for time in exact]
    assert ticks_to_ns_ceil(given_ticks, time_base, offset).tolist() == [-(-time // 1) for time in exact]
    rounded = ticks_to_ns_round(given_ticks, time_base, offset).tolist()
    assert rounded == [(time + Fraction(1, 2)) // 1 for time in exact]
    middles = [(a + b) / 2 // 1 for a, b in itertools.pairwise(exact)]
    assert midpoints_ns(given_ticks, time_base, offset).tolist() == middles


@PATIENT
@given(st.integers(-9_200_000_000, 9_200_000_000), st.integers(-9_200_000_000, 9_200_000_000))
def test_middles_of_times_at_the_edge_of_int64_do_not_wrap_around(one: int, other: int) -> None:
    first, last = sorted((one, other))

    (middle,) = midpoints_ns(np.array([first, last]), Fraction(1)).tolist()

    assert middle == (first + last) * NS_PER_SECOND // 2


rates = st.sampled_from(
    [
        (Fraction(1, 30_000), 1001),  # 29.97 fps
        (Fraction(1, 90_000), 3003),
        (Fraction(1, 90_000), 3000),
        (Fraction(1001, 24_000), 1),
        (Fraction(1, 12_800), 512),
        (Fraction(1, 1000), 33),
    ]
)


@st.composite
def real_recordings(draw: Callable[..., Any]) -> SegmentSequence:
    """Segments of usual rates, constant or variable, with negative starts, late ones and gaps."""
    tables = []
    for _ in range(draw(st.integers(1, 4))):
        base, step = draw(rates)
        gaps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 7]), min_size=1, max_size=6))
        first = draw(st.integers(-100, 100)) * step + draw(st.integers(-5, 5))
        pts = [first + step * sum(gaps[:i]) for i in range(len(gaps))]
        lasting = draw(st.sampled_from([step, 5 * step]))
        tables.append(segment_table(pts, duration=lasting, time_base=base))
    return SegmentSequence(tuple(tables))


@PATIENT
@given(real_recordings(), st.sampled_from(["playback", "nearest"]), st.sampled_from([1, 1000]))
def test_a_reference_made_of_the_time_given_names_the_same_frame(
    sequence: SegmentSequence, match: Any, tolerance: int
) -> None:
    segment, frame = sequence.resolve(sequence.pts_ns, tolerance, match)

    assert (sequence.firsts[segment] + frame).tolist() == list(range(sequence.frame_count))
    assert sequence.pts_ns_of(segment, frame).tolist() == sequence.pts_ns.tolist()


@PATIENT
@given(real_recordings(), st.data())
def test_a_window_is_a_video_of_its_own(sequence: SegmentSequence, data: st.DataObject) -> None:
    times = times_of(sequence)
    start = data.draw(st.integers(0, len(times)))
    stop = data.draw(st.integers(start, len(times)))
    end = times[stop - 1] + Fraction(1, 10) if stop > start else Fraction(0)
    edges = [time for number, time in enumerate(times) if number in (start - 1, start, stop - 1, stop)]
    steps = (-1001, -1000, -1, 0, 1)
    around = [int(edge * NS_PER_SECOND // 1) + step for edge in [*edges, end] for step in steps]
    asked = [*asked_times(data, times), *around]

    window = sequence.frame_times.window(start, stop, end)
    nearest = window.resolve(np.array(asked, dtype=np.int64), ANY_DISTANCE, "nearest").tolist()
    displayed = window.resolve(np.array(asked, dtype=np.int64), 1000).tolist()
    whole = sequence.frame_times.resolve(np.array(asked, dtype=np.int64), 1000).tolist()

    if start < stop:
        assert nearest == [nearest_to(times[start:stop], t_ns, ANY_DISTANCE) for t_ns in asked]
    for t_ns, found, rank in zip(asked, displayed, whole, strict=True):
        if found >= 0:
            assert rank in (
                found + start,
                AFTER_LAST,
            )  # the window's last frame may end later than the recording
        elif start <= rank < stop:  # a gap behind the window's last frame
            assert Fraction(t_ns, NS_PER_SECOND) >= end
