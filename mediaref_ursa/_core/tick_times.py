"""Times of frames as a value: ticks of one time base, and what they are in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.ticks import midpoints_ns, ticks_to_ns_ceil, ticks_to_ns_floor, ticks_to_ns_round

_INT64_MIN = int(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class TickTimes:
    """Times of frames in ticks of one time base.

    Attributes:
        ticks: int64 ``(n,)``, ascending.
        time_base: Seconds a tick.
        offset: Seconds by which all are moved.
    """

    ticks: Int64Array
    time_base: Fraction
    offset: Fraction = Fraction(0)

    def seconds_of(self, number: int) -> Fraction:
        """Return one of the times: exactly."""
        return int(self.ticks[number]) * self.time_base + self.offset

    @cached_property
    def ceil_ns(self) -> Int64Array:
        """int64 ``(n,)``: the first whole nanosecond that is not before each time."""
        return ticks_to_ns_ceil(self.ticks, self.time_base, self.offset)

    @cached_property
    def floor_ns(self) -> Int64Array:
        """int64 ``(n,)``: the last whole nanosecond that is not after each time."""
        return ticks_to_ns_floor(self.ticks, self.time_base, self.offset)

    @cached_property
    def pts_ns(self) -> Int64Array:
        """int64 ``(n,)``: each time rounded to the nearest nanosecond, as references store it."""
        return ticks_to_ns_round(self.ticks, self.time_base, self.offset)

    @cached_property
    def midpoint_ns(self) -> Int64Array:
        """int64 ``(n - 1,)``: the last whole nanosecond that is not after the middle of two times.

        Where both are the same, that of the two before: the earlier frame is never the nearest.
        """
        middle = midpoints_ns(self.ticks, self.time_base, self.offset)
        return np.where(self.ticks[1:] == self.ticks[:-1], _INT64_MIN, middle)
