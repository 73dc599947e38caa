"""Time against exact fractions, for any time base, any tolerance and times up to the edge of int64."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from _tables import PATIENT, ascending_pts, segment_table, time_bases
from hypothesis import assume, given
from hypothesis import strategies as st

from mediaref_ursa._core.ticks import (
    AFTER_LAST,
    BEFORE_FIRST,
    NS_PER_SECOND,
    frames_at,
    ticks_to_ns_ceil,
    ticks_to_ns_round,
)
from mediaref_ursa._plan.segments import SegmentSequence

INT64_MAX = 2**63 - 1


def shown_at(times: list[Fraction], end: Fraction, t_ns: int, tolerance_ns: int) -> int:
    """The playback rule as the design words it, frame by frame, in fractions."""
    if Fraction(t_ns, NS_PER_SECOND) >= end:
        return AFTER_LAST
    shown = BEFORE_FIRST
    for number, time in enumerate(times):
        if time <= Fraction(t_ns + tolerance_ns, NS_PER_SECOND):
            shown = number
    return shown


@PATIENT
@given(time_bases(), st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=8))
def test_ticks_become_exact_nanoseconds(time_base: Fraction, ticks: list[int]) -> None:
    exact = [tick * time_base * NS_PER_SECOND for tick in ticks]
    assume(max(abs(time) for time in exact) < 2**63 - 2 * NS_PER_SECOND)
    assume(max(abs(tick) for tick in ticks) * time_base.numerator < 2**63)

    ceil = ticks_to_ns_ceil(np.array(ticks, dtype=np.int64), time_base).tolist()
    nearest = ticks_to_ns_round(np.array(ticks, dtype=np.int64), time_base).tolist()

    assert ceil == [-(-time // 1) for time in exact]
    assert all(abs(found - time) <= Fraction(1, 2) for found, time in zip(nearest, exact, strict=True))


fine_time_bases = st.builds(Fraction, st.integers(1, 7), st.integers(2**30, 2**35))


@PATIENT
@given(time_bases() | fine_time_bases, st.integers(-(2**63), 2**63 - 1))
def test_a_time_is_exact_or_an_error_never_wrapped_around(time_base: Fraction, tick: int) -> None:
    ticks = np.array([tick], dtype=np.int64)
    exact = tick * time_base * NS_PER_SECOND
    try:
        ceil, nearest = (
            int(ticks_to_ns_ceil(ticks, time_base)[0]),
            int(ticks_to_ns_round(ticks, time_base)[0]),
        )
    except OverflowError:
        too_long = abs(tick) * time_base.numerator > 2**62 or abs(exact) > 9 * 10**18
        assert too_long or time_base.denominator > 2_300_000_000
        return
    assert ceil == -(-exact // 1)
    assert abs(nearest - exact) <= Fraction(1, 2)


@PATIENT
@given(st.data())
def test_the_playback_rule_against_fractions(data: st.DataObject) -> None:
    """Negative pts, gaps, a last frame of any length, times around every edge and far outside."""
    time_base = data.draw(time_bases())
    pts = data.draw(ascending_pts(data.draw(st.integers(1, 6))))
    duration = data.draw(st.integers(0, 5))
    tolerance = data.draw(st.sampled_from([0, 1, 1000]) | st.integers(0, 10**12) | st.just(INT64_MAX))
    exact = [tick * time_base for tick in pts]
    end = exact[-1] + duration * time_base
    assume(max(abs(time) for time in (*exact, end)) < 9_000_000_000)
    edges = st.builds(
        lambda edge, step, back: int(edge * NS_PER_SECOND) + step - back,
        st.sampled_from([*exact, end]),
        st.integers(-3, 3),
        st.sampled_from([0, min(tolerance, 10**12)]),
    )
    times = data.draw(st.lists(edges | st.integers(-(2**63), INT64_MAX), min_size=1, max_size=12))
    table = segment_table(pts, duration=duration, time_base=time_base)

    found = frames_at(table.start_ns, table.end_ns, np.array(times, dtype=np.int64), tolerance)
    _, resolved = SegmentSequence((table,)).resolve(np.array(times, dtype=np.int64), tolerance)

    expected = [shown_at(exact, end, time, tolerance) for time in times]
    assert found.tolist() == expected
    assert resolved.tolist() == expected


@PATIENT
@given(st.data())
def test_what_a_reference_stores_comes_back_to_its_frame(data: st.DataObject) -> None:
    """For every time base whose ticks are longer than the tolerance."""
    time_base = data.draw(time_bases().filter(lambda base: base > Fraction(2, 1_000_000)))
    pts = data.draw(ascending_pts(data.draw(st.integers(1, 8))))
    assume(max(abs(tick) for tick in pts) * time_base < 4_000_000)
    table = segment_table(pts, time_base=time_base)
    seconds = [float(tick * time_base) for tick in pts]
    truncated = np.array([int(s * 1e9) for s in seconds])

    for times in (table.pts_ns, table.start_ns, truncated):
        _, frames = SegmentSequence((table,)).resolve(times, 1000)
        assert frames.tolist() == list(range(len(pts)))
