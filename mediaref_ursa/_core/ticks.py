"""Exact time: container ticks and nanoseconds as integers, and the playback rule."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from mediaref_ursa._core.array_types import Int64Array

Number = TypeVar("Number", int, Fraction)

NS_PER_SECOND = 1_000_000_000
TOLERANCE_NS = 1_000
"""A reference up to this many nanoseconds before a frame still names it: see :func:`frames_at`."""

BEFORE_FIRST = -1
AFTER_LAST = -2
UNTIMED = -3
"""Result of :func:`frames_at` for a time at which a frame without a time of its own is displayed."""

_INT64_MAX = int(np.iinfo(np.int64).max)


def ticks_to_ns_ceil(ticks: Int64Array, time_base: Fraction) -> Int64Array:
    """Return the first whole nanosecond that is not before each tick's exact time.

    Args:
        ticks: int64 ``(n,)``, times in units of ``time_base``.
        time_base: Seconds a tick, positive.

    Raises:
        OverflowError: A time does not fit into int64 nanoseconds (292 years).

    >>> ticks_to_ns_ceil(np.array([0, 1001]), Fraction(1, 30000)).tolist()
    [0, 33366667]
    """
    seconds, remainder = _split_seconds(ticks, time_base)
    den = time_base.denominator
    return seconds * NS_PER_SECOND - (-remainder * NS_PER_SECOND) // den


def ticks_to_ns_round(ticks: Int64Array, time_base: Fraction) -> Int64Array:
    """Return each tick's time in nanoseconds, rounded to the nearest: what a reference stores.

    >>> ticks_to_ns_round(np.array([1001, 2002]), Fraction(1, 30000)).tolist()
    [33366667, 66733333]
    """
    seconds, remainder = _split_seconds(ticks, time_base)
    den = time_base.denominator
    return seconds * NS_PER_SECOND + (2 * remainder * NS_PER_SECOND + den) // (2 * den)


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
