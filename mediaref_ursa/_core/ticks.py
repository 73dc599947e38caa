"""Exact time: container ticks and nanoseconds as integers, and the rules by which a time names a frame.

The playback rule is :func:`frames_at`; its one alternative is :func:`nearest_frames`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array

Number = TypeVar("Number", int, Fraction)

NS_PER_SECOND = 1_000_000_000
TOLERANCE_NS = 1_000
"""A reference up to this many nanoseconds before a frame still names it: see :func:`frames_at`."""

BEFORE_FIRST = -1
AFTER_LAST = -2
UNTIMED = -3
"""Result of :func:`frames_at` for a time at which a frame without a time of its own is displayed."""
BEYOND_TOLERANCE = -4
"""The nearest frame is further away than the caller allows."""

NO_PTS_NS = int(np.iinfo(np.int64).min)
"""Stands for "no time" among nanoseconds; NaT of ``datetime64[ns]``."""

_INT64_MAX = int(np.iinfo(np.int64).max)


def ticks_to_ns_ceil(ticks: Int64Array, time_base: Fraction, offset: Fraction = Fraction(0)) -> Int64Array:
    """Return the first whole nanosecond that is not before each tick's exact time.

    Args:
        ticks: int64 ``(n,)``, times in units of ``time_base``.
        time_base: Seconds a tick, positive.
        offset: Seconds by which all times are moved.

    Raises:
        OverflowError: A time does not fit into int64 nanoseconds (292 years).

    >>> ticks_to_ns_ceil(np.array([0, 1001]), Fraction(1, 30000)).tolist()
    [0, 33366667]
    """
    seconds, remainder = _split_seconds(ticks, time_base)
    den = time_base.denominator
    whole, part = _split_offset(offset * NS_PER_SECOND, den)
    _check_moved(seconds, whole)
    return seconds * NS_PER_SECOND + (whole - (-remainder * NS_PER_SECOND - math.ceil(part)) // den)


def ticks_to_ns_floor(ticks: Int64Array, time_base: Fraction, offset: Fraction = Fraction(0)) -> Int64Array:
    """Return the last whole nanosecond that is not after each tick's exact time.

    >>> ticks_to_ns_floor(np.array([0, 1001]), Fraction(1, 30000)).tolist()
    [0, 33366666]
    """
    return _floor(ticks, time_base, offset * NS_PER_SECOND)


def ticks_to_ns_round(ticks: Int64Array, time_base: Fraction, offset: Fraction = Fraction(0)) -> Int64Array:
    """Return each tick's time in nanoseconds, rounded to the nearest: what a reference stores.

    >>> ticks_to_ns_round(np.array([1001, 2002]), Fraction(1, 30000)).tolist()
    [33366667, 66733333]
    """
    return _floor(ticks, time_base, offset * NS_PER_SECOND + Fraction(1, 2))


def midpoints_ns(ticks: Int64Array, time_base: Fraction, offset: Fraction = Fraction(0)) -> Int64Array:
    """Return the last whole nanosecond that is not after the middle between each tick and the next.

    Args:
        ticks: int64 ``(n,)``, ascending, times in units of ``time_base``.
        time_base: Seconds a tick, positive.
        offset: Seconds by which all times are moved.

    Returns:
        int64 ``(n - 1,)``; of no ticks none.

    >>> midpoints_ns(np.array([0, 1001, 2002]), Fraction(1, 30000)).tolist()
    [16683333, 50050000]
    """
    seconds, remainder = _split_seconds(ticks, time_base)
    den = time_base.denominator
    _check_moved(seconds, math.floor(offset * NS_PER_SECOND))
    more_ns, rest = np.divmod(remainder * NS_PER_SECOND, den)
    ns = seconds * NS_PER_SECOND + more_ns
    whole, part = _split_offset(2 * offset * NS_PER_SECOND, den)
    carried = (rest[:-1] + rest[1:] + math.floor(part)) // den
    halves = (ns[:-1] & 1) + (ns[1:] & 1) + carried + whole % 2
    # The sum of two times may not fit into int64, so that their halves are added.
    middle: Int64Array = (ns[:-1] >> 1) + (ns[1:] >> 1) + whole // 2 + (halves >> 1)
    return middle


def _floor(ticks: Int64Array, time_base: Fraction, offset_ns: Fraction) -> Int64Array:
    seconds, remainder = _split_seconds(ticks, time_base)
    den = time_base.denominator
    whole, part = _split_offset(offset_ns, den)
    _check_moved(seconds, whole)
    return seconds * NS_PER_SECOND + (whole + (remainder * NS_PER_SECOND + math.floor(part)) // den)


def _split_offset(offset_ns: Fraction, den: int) -> tuple[int, Fraction]:
    """Split an offset into whole nanoseconds and a part in units of ``1 / den`` nanoseconds."""
    whole = math.floor(offset_ns)
    return whole, (offset_ns - whole) * den


def _check_moved(seconds: Int64Array, offset_ns: int) -> None:
    """Refuse an offset that moves times out of int64 nanoseconds."""
    if not seconds.size or -2 <= offset_ns <= 2:
        return
    first, last = (int(second) * NS_PER_SECOND + offset_ns for second in (seconds.min(), seconds.max()))
    if not -_INT64_MAX < first <= last < _INT64_MAX - 2 * NS_PER_SECOND:
        raise OverflowError(f"times of {first} to {last} ns do not fit into int64 nanoseconds")


def _split_seconds(ticks: Int64Array, time_base: Fraction) -> tuple[Int64Array, Int64Array]:
    """Split times into whole seconds and a remainder in units of ``1 / time_base.denominator``."""
    ticks = np.asarray(ticks, dtype=np.int64)
    num, den = time_base.numerator, time_base.denominator
    if num <= 0:
        raise ValueError(f"expected a positive time base, found {time_base}")
    if den > _INT64_MAX // (4 * NS_PER_SECOND):
        raise OverflowError(f"a time base of {time_base} s is too fine for nanoseconds")
    if ticks.size:
        maximum = max(abs(int(ticks.min())), abs(int(ticks.max()))) * num
        if maximum > _INT64_MAX or (maximum // den + 1) * NS_PER_SECOND > _INT64_MAX:
            raise OverflowError(f"times of up to {maximum}/{den} s do not fit into int64 nanoseconds")
    return np.divmod(ticks * num, den)


def running_offsets(spans: Iterable[tuple[Number, Number]]) -> list[Number]:
    """Return the offset of each of several segments that lays them end to end.

    A segment is moved by the lengths of those before it, and further where it would else begin before
    the one before it ends.

    Args:
        spans: The first time and the end of each segment, in one unit.

    >>> running_offsets([(0, 10), (0, 5), (0, 5)]), running_offsets([(2, 10), (0, 5)])
    ([0, 10, 15], [0, 10])
    """
    offsets: list[Any] = [0]
    for (first, end), (following, _) in pairwise(spans):
        offsets.append(offsets[-1] + max(end - first, end - following))
    return offsets


def frames_at(
    start_ns: Int64Array, end_ns: int, t_ns: Int64Array, tolerance_ns: int = TOLERANCE_NS
) -> Int64Array:
    """Return which frame is displayed at each time: the playback rule.

    The frame at ``t`` is the last one whose exact time ``T`` satisfies ``T <= t + tolerance``, as
    long as ``t`` lies before the end of the last frame. The tolerance lets a reference survive
    however its nanoseconds were rounded. For whole ``t``, ``T <= t + tolerance`` says the same as
    ``ceil(T) <= t + tolerance``, so that integers suffice.

    Args:
        start_ns: int64 ``(n,)``, ascending; ``ceil`` of each frame's exact time in nanoseconds.
        end_ns: ``ceil`` of the exact end of the last frame in nanoseconds.
        t_ns: int64 ``(m,)``, the times asked for.
        tolerance_ns: Nanoseconds, not negative.

    Returns:
        int64 ``(m,)``: frame numbers, or ``BEFORE_FIRST`` or ``AFTER_LAST``.

    >>> frames_at(np.array([0, 33366667]), 66733334, np.array([-1001, 33365666, 33366666, 66733334])).tolist()
    [-1, 0, 1, -2]
    """
    t_ns = np.asarray(t_ns, dtype=np.int64)
    reach = np.minimum(t_ns, _INT64_MAX - tolerance_ns) + tolerance_ns
    frames = np.searchsorted(start_ns, reach, side="right").astype(np.int64) - 1
    frames[t_ns >= end_ns] = AFTER_LAST
    return frames


def nearest_frames(midpoint_ns: Int64Array, t_ns: Int64Array) -> Int64Array:
    """Return the frame whose exact time is nearest to each time; of two that are equally far, the earlier.

    For whole ``t``, ``M < t`` says the same as ``floor(M) < t``, so that integers suffice.

    Args:
        midpoint_ns: int64 ``(n - 1,)``, ascending; ``floor`` of the middle between each frame's exact time
            and that of the next frame, in nanoseconds.
        t_ns: int64 ``(m,)``, the times asked for.

    Returns:
        int64 ``(m,)``: frame numbers.

    >>> nearest_frames(np.array([16683333, 50050000]), np.array([-5, 16683333, 16683334, 10**9])).tolist()
    [0, 0, 1, 2]
    """
    return np.searchsorted(midpoint_ns, t_ns, side="left").astype(np.int64)


def distances_ns(floor_ns: Int64Array, ceil_ns: Int64Array, t_ns: Int64Array) -> npt.NDArray[np.uint64]:
    """Return how far each time is from a frame's exact time, in whole nanoseconds, rounded up.

    Args:
        floor_ns: int64 ``(m,)``, the last whole nanosecond that is not after the frame.
        ceil_ns: int64 ``(m,)``, the first that is not before it.
        t_ns: int64 ``(m,)``.

    Returns:
        uint64 ``(m,)``: two int64 may be further apart than an int64.

    >>> distances_ns(np.array([3, 3]), np.array([4, 4]), np.array([1, 9])).tolist()
    [3, 6]
    """
    floor, ceil, t = (times.view(np.uint64) for times in (floor_ns, ceil_ns, t_ns))
    return np.where(ceil_ns > t_ns, ceil - t, t - floor)
