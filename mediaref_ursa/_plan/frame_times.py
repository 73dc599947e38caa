"""When the frames of a video are displayed, and which frame a time names. Pure.

Times are exact: ticks of a time base, and a fraction of a second by which a segment is moved. What they are
compared by is in :mod:`mediaref_ursa._core.ticks`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameBeyondToleranceError, FrameOutsideVideoError
from mediaref_ursa._core.tick_times import TickTimes
from mediaref_ursa._core.ticks import (
    AFTER_LAST,
    BEYOND_TOLERANCE,
    NS_PER_SECOND,
    TOLERANCE_NS,
    UNTIMED,
    distances_ns,
    frames_at,
    nearest_frames,
)

Match = Literal["playback", "nearest"]
"""The rule by which a time names a frame: see :func:`mediaref_ursa.batch_decode`."""

PLAYBACK: Match = "playback"
NEAREST: Match = "nearest"
CONTAINER_TIME = "pts_ns is container time"
"""What the times of a reference are counted from, as errors say it."""

_INT64_MIN, _INT64_MAX = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)
_MAX_TOLERANCE_NS = 2**62
_SECONDS_DIGITS = 9


def checked_match(match: str) -> Match:
    """Return ``match``.

    Raises:
        ValueError: It is no rule.
    """
    if match == PLAYBACK:
        return PLAYBACK
    if match == NEAREST:
        return NEAREST
    raise ValueError(f"expected match to be 'playback' or 'nearest', found {match!r}")


def checked_tolerance(tolerance_ns: int) -> int:
    """Return a tolerance as an int.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is negative, or beyond 2**62.
    """
    try:
        tolerance_ns = operator.index(tolerance_ns)
    except TypeError:
        raise TypeError(
            f"expected tolerance_ns to be whole nanoseconds, found {tolerance_ns!r}; write int(seconds * 1e9)"
        ) from None
    if not 0 <= tolerance_ns < _MAX_TOLERANCE_NS:
        raise ValueError(f"expected tolerance_ns from 0 to 2**62, found {tolerance_ns}")
    return tolerance_ns


@dataclass(frozen=True)
class FrameTimes:
    """When the frames of a video are displayed.

    Attributes:
        parts: The times of all frames in their order, ascending: those of each segment.
        end_ns: The first whole nanosecond at which the last frame is displayed no more.
        untimed_ns: int64, ascending: the first whole nanosecond of each stretch of frames that have no time.
        following_ns: Of a window, the first whole nanosecond of the frame behind it, if there is one.
    """

    parts: tuple[TickTimes, ...]
    end_ns: int
    untimed_ns: Int64Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    following_ns: int | None = None

    def __len__(self) -> int:
        return len(self.ceil_ns)

    @cached_property
    def ceil_ns(self) -> Int64Array:
        """int64 ``(n,)``: the first whole nanosecond at which each frame is displayed."""
        return self._joined(lambda part: part.ceil_ns)

    @cached_property
    def pts_ns(self) -> Int64Array:
        """int64 ``(n,)``: the nanoseconds that a reference to each frame stores."""
        return self._joined(lambda part: part.pts_ns)

    @cached_property
    def _floor_ns(self) -> Int64Array:
        return self._joined(lambda part: part.floor_ns)

    @cached_property
    def _midpoint_ns(self) -> Int64Array:
        """int64 ``(n - 1,)``, ascending: see :func:`mediaref_ursa._core.ticks.nearest_frames`."""
        parts = [part for part in self.parts if len(part.ticks)]
        if not parts:
            return np.empty(0, dtype=np.int64)
        if len(parts) == 1:
            return np.maximum.accumulate(parts[0].midpoint_ns)
        found = [parts[0].midpoint_ns]
        for before, after in pairwise(parts):
            last, first = before.seconds_of(-1), after.seconds_of(0)
            middle = _INT64_MIN if last == first else math.floor((last + first) / 2 * NS_PER_SECOND)
            found += [np.array([middle], dtype=np.int64), after.midpoint_ns]
        return np.maximum.accumulate(np.concatenate(found))

    def _joined(self, column: Callable[[TickTimes], Int64Array]) -> Int64Array:
        if len(self.parts) == 1:
            return column(self.parts[0])
        return np.concatenate([np.empty(0, dtype=np.int64), *(column(part) for part in self.parts)])

    def seconds_of(self, number: int) -> Fraction:
        """Return when a frame is displayed: exactly."""
        for part in self.parts:
            if number < len(part.ticks):
                return part.seconds_of(number)
            number -= len(part.ticks)
        raise IndexError(f"expected a frame below {len(self)}")

    def window(self, start: int, stop: int, end: Fraction) -> FrameTimes:
        """Return the times of the frames ``[start, stop)``, which share the arrays of these.

        Args:
            start: The first frame.
            stop: The frame behind the last one.
            end: When the last of them is displayed no more, in seconds. A frame that follows ends it sooner.
        """
        end_ns = min(math.ceil(end * NS_PER_SECOND), _INT64_MAX)
        following_ns = None
        if stop < len(self):
            following_ns = int(self.ceil_ns[stop])
            end_ns = min(end_ns, following_ns)
        window = FrameTimes((), end_ns, self.untimed_ns, following_ns)
        window.__dict__.update(  # views in place of what would be computed of parts
            ceil_ns=self.ceil_ns[start:stop],
            pts_ns=self.pts_ns[start:stop],
            _floor_ns=self._floor_ns[start:stop],
            _midpoint_ns=self._midpoint_ns[start : max(stop - 1, start)],
        )
        return window

    def resolve(self, t_ns: Int64Array, tolerance_ns: int, match: Match = PLAYBACK) -> Int64Array:
        """Return the number of the frame that each time names.

        Args:
            t_ns: int64 ``(m,)``.
            tolerance_ns: Of the playback rule, see :func:`mediaref_ursa._core.ticks.frames_at`; of
                ``"nearest"``, the largest distance.
            match: The rule.

        Returns:
            int64 ``(m,)``: frame numbers. By the playback rule ``BEFORE_FIRST`` or ``AFTER_LAST`` where
            nothing is displayed, and ``UNTIMED`` where a frame is that has no time; by the other one
            ``BEYOND_TOLERANCE``. Every time lies outside a video without frames.
        """
        t_ns = np.asarray(t_ns, dtype=np.int64)
        if match == PLAYBACK or not len(self):
            return self._displayed(t_ns, tolerance_ns)
        frames = nearest_frames(self._midpoint_ns, t_ns)
        distance = distances_ns(self._floor_ns[frames], self.ceil_ns[frames], t_ns)
        frames[distance > np.uint64(tolerance_ns)] = BEYOND_TOLERANCE
        return frames

    def _displayed(self, t_ns: Int64Array, tolerance_ns: int) -> Int64Array:
        starts = self.ceil_ns
        frames = frames_at(starts, self.end_ns, t_ns, tolerance_ns)
        if self.following_ns is not None:  # a time before the end may name the frame that follows
            frames[t_ns >= max(self.following_ns - tolerance_ns, _INT64_MIN)] = AFTER_LAST
        if len(untimed := self.untimed_ns):
            before = frames_at(untimed, _INT64_MAX, t_ns, tolerance_ns)
            began = np.where(before < 0, _INT64_MIN, untimed[before])
            frames[(frames >= 0) & (began > starts[frames])] = UNTIMED
        return frames

    def outside_error(
        self,
        uri: str,
        t_ns: int,
        frame: int,
        *,
        tolerance_ns: int = TOLERANCE_NS,
        origin: str = CONTAINER_TIME,
        cut_short: bool = False,
    ) -> FrameOutsideVideoError:
        """Return the error for a time that names no frame.

        Args:
            uri: The video, as the reference names it.
            t_ns: The time.
            frame: What :meth:`resolve` returned for it, below 0.
            tolerance_ns: With which it did.
            origin: What times are counted from.
            cut_short: Frames at the end of the file are lost.
        """
        if frame == BEYOND_TOLERANCE:
            return self._beyond_tolerance_error(uri, t_ns, tolerance_ns)
        if frame == UNTIMED:
            return FrameOutsideVideoError(
                "the frame that is displayed then has no time in the file, so that no reference can name it; "
                "give its frames times, for instance by putting them into an MP4 file",
                uri=uri,
                pts_ns=t_ns,
            )
        side = "after its end" if frame == AFTER_LAST else "before its first frame"
        first = int(self.ceil_ns[0]) if len(self) else 0
        return FrameOutsideVideoError(
            f"the time lies {side}: frames are displayed from {first} ns on and before {self.end_ns} ns "
            f"({_seconds(first)} s to {_seconds(self.end_ns)} s); {origin}"
            + ("; the file is cut short, frames at its end are lost" if cut_short else ""),
            uri=uri,
            pts_ns=t_ns,
        )

    def _beyond_tolerance_error(self, uri: str, t_ns: int, tolerance_ns: int) -> FrameBeyondToleranceError:
        following = int(np.searchsorted(self.ceil_ns, t_ns, side="right"))
        numbers = [number if 0 <= number < len(self) else None for number in (following - 1, following)]
        before, after = (None if number is None else int(self.pts_ns[number]) for number in numbers)
        distance = min(self._distance_ns(number, t_ns) for number in numbers if number is not None)
        return FrameBeyondToleranceError(
            f"expected a frame within tolerance_ns={tolerance_ns} of the time, found the nearest one "
            f"{distance} ns away: {_neighbour(before, 'before')}, {_neighbour(after, 'after')}; "
            "pass a larger tolerance_ns, or match='playback' for the frame that is displayed then",
            uri=uri,
            pts_ns=t_ns,
            distance_ns=distance,
            neighbours_ns=(before, after),
        )

    def _distance_ns(self, number: int, t_ns: int) -> int:
        ceil, floor = int(self.ceil_ns[number]), int(self._floor_ns[number])
        return ceil - t_ns if ceil > t_ns else t_ns - floor


def _neighbour(pts_ns: int | None, side: str) -> str:
    return f"no frame is {side} it" if pts_ns is None else f"the frame {side} it is at {pts_ns} ns"


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.{_SECONDS_DIGITS}f}".rstrip("0").rstrip(".")
