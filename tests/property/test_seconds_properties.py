"""Seconds that were stored in few bits come back to their frames: held against a search in fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa import pts_ns_from_seconds
from mediaref_ursa._core.seconds import earliest_seconds, range_of_times
from mediaref_ursa._core.ticks import frames_at, ticks_to_ns_ceil

RATES = {
    "24": Fraction(24),
    "23.976": Fraction(24_000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30_000, 1001),
    "30": Fraction(30),
    "50": Fraction(50),
    "59.94": Fraction(60_000, 1001),
    "60": Fraction(60),
    "120": Fraction(120),
}
HOUR = 3600

FLOATS = [np.float16, np.float32, np.float64]


def nearest_float(time: Fraction, kind: Any) -> Any:
    """Return the float that a time is stored as, found by trying its neighbours."""
    near = kind(float(time))
    around = [near, np.nextafter(near, kind(np.inf)), np.nextafter(near, kind(-np.inf))]
    return min(around, key=lambda value: abs(Fraction(float(value)) - time))


def frames_of(pts_ns: npt.NDArray[np.int64], ticks: npt.NDArray[np.int64], base: Fraction) -> Any:
    end_ns = int(ticks_to_ns_ceil(ticks[-1:] + (ticks[-1] - ticks[-2]), base)[0])
    return frames_at(ticks_to_ns_ceil(ticks, base), end_ns, pts_ns)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("hours", [1, 10])
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_seconds_of_hours_of_frames_come_back_to_them(rate: Fraction, hours: int, kind: Any) -> None:
    ticks = np.arange(int(hours * HOUR * rate), dtype=np.int64)
    stored = (ticks * rate.denominator / rate.numerator).astype(kind)

    found = frames_of(pts_ns_from_seconds(stored), ticks, 1 / rate)

    assert int((found != ticks).sum()) == 0


@pytest.mark.parametrize("start_seconds", [20 * HOUR, 70 * HOUR])
def test_seconds_come_back_for_as_long_as_the_documentation_says(start_seconds: int) -> None:
    ticks = start_seconds * 60 + np.arange(3600, dtype=np.int64)
    stored = (ticks / 60).astype(np.float32)

    assert (frames_of(pts_ns_from_seconds(stored), ticks, Fraction(1, 60)) == ticks - ticks[0]).all()


@st.composite
def stored_times(draw: Any) -> tuple[Any, list[Fraction], int, Fraction]:
    """A float, the times of frames around it, and the number of the frame that it was stored for."""
    kind = draw(st.sampled_from(FLOATS))
    base = draw(st.sampled_from([Fraction(1, 90_000), Fraction(1, 16_384), Fraction(1001, 30_000)]))
    gap = float(np.spacing(kind(draw(st.sampled_from([0.01, 1, 15, 200, 3000])))))
    step = int(Fraction(max(gap, 1 / 1000)) / base) + 1
    first = draw(st.integers(-(int(4000 / base)), int(4000 / base)))
    times = [(first + number * step) * base for number in range(4)]
    return kind, times, draw(st.integers(0, 2)), base


@PATIENT
@given(stored_times())
def test_a_stored_time_names_the_last_frame_that_is_stored_as_it(
    case: tuple[Any, list[Fraction], int, Fraction],
) -> None:
    """The slow path stores every frame's time and looks for the last that gives this float."""
    kind, times, number, _ = case
    stored = nearest_float(times[number], kind)
    expected = max(i for i, time in enumerate(times) if nearest_float(time, kind) <= stored)

    pts_ns = pts_ns_from_seconds(stored, frame_rate=Fraction(1, 10**6))

    starts = np.array([-(-time * 10**9 // 1) for time in times], dtype=np.int64)
    found = int(frames_at(starts, 2**62, np.array([pts_ns]))[0])
    # Two times within two nanoseconds of the middle between two floats cannot be told apart.
    assert found == expected or abs(times[found] - times[expected]) < Fraction(1, 10**6)
    assert abs(pts_ns - Fraction(float(stored)) * 10**9) <= float(np.spacing(np.abs(stored))) / 2 * 1e9 + 1


@PATIENT
@given(st.floats(-9e9, 9e9) | st.fractions(-(9 * 10**9), 9 * 10**9) | st.integers(-(9 * 10**9), 9 * 10**9))
def test_python_numbers_become_the_nearest_nanosecond(seconds: Any) -> None:
    assert pts_ns_from_seconds(seconds) == round(Fraction(seconds) * 10**9)
    assert pts_ns_from_seconds([seconds, seconds]).tolist() == [round(Fraction(seconds) * 10**9)] * 2


@PATIENT
@given(stored_times())
def test_bounds_of_ranges_that_were_stored(case: tuple[Any, list[Fraction], int, Fraction]) -> None:
    """Half-open: the frame of a lower bound is in, that of an upper bound is not."""
    kind, times, number, _ = case
    if kind is np.float16:
        return
    low, high = nearest_float(times[number], kind), nearest_float(times[number + 1], kind)

    seconds = [float(time) for time in times]
    start, stop = earliest_seconds(low), earliest_seconds(high)
    assert start <= seconds[number] or nearest_float(times[number], np.float64) == low
    assert stop <= seconds[number + 1]
    assert stop > seconds[number] or high == low

    start_time, stop_time = range_of_times(low, high)
    assert start_time >= times[number] - Fraction(1, 10**6)
    assert stop_time <= times[number + 1] + Fraction(1, 10**6) or high == low
    assert start_time <= stop_time
