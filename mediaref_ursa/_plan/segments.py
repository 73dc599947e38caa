"""The segments of one video on one timeline: times become frames of segments. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from mediaref_ursa._core.array_types import Float64Array, Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameIndexInvalidError, FrameOutsideVideoError
from mediaref_ursa._core.ticks import NS_PER_SECOND, TOLERANCE_NS, running_offsets
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.frame_times import PLAYBACK, FrameTimes, Match

_MAX_END_NS = 2**63 - 1 - 4 * NS_PER_SECOND


def locate_frames(firsts: Int64Array, frames: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the segment, and the number within it, of frames numbered over all segments.

    Args:
        firsts: int64 ``(n_segments + 1,)``: the number of each segment's first frame, and of all frames.
        frames: int64 ``(n,)``.

    >>> locate_frames(np.array([0, 2, 3]), np.array([1, 2]))
    (array([0, 1]), array([1, 0]))
    """
    segment = np.searchsorted(firsts, frames, side="right").astype(np.int64) - 1
    return segment, frames - firsts[segment]


@dataclass(frozen=True)
class SegmentSequence:
    """The segments of one video, in order, laid end to end.

    In a video of one segment a time is absolute container time. In one of several it runs on: each segment is
    moved back by the lengths of those before it.

    Attributes:
        tables: The table of each segment.
    """

    tables: tuple[SegmentTable, ...]

    @cached_property
    def firsts(self) -> Int64Array:
        """int64 ``(n_segments + 1,)``: the number of each segment's first frame, and of all frames."""
        return np.cumsum([0, *(len(table) for table in self.tables)], dtype=np.int64)

    @property
    def frame_count(self) -> int:
        """Frames of all segments."""
        return int(self.firsts[-1])

    @cached_property
    def offsets(self) -> list[Fraction]:
        """The offset by which each segment is moved back, in seconds."""
        return running_offsets(table.span_seconds for table in self.tables)

    @cached_property
    def span_seconds(self) -> tuple[Fraction, Fraction]:
        """The time of the first frame, and the end of the last one, in seconds."""
        return self.tables[0].span_seconds[0], self.tables[-1].span_seconds[1] + self.offsets[-1]

    @cached_property
    def times(self) -> tuple[Float64Array, Float64Array]:
        """Two float64 ``(n,)``: the time of each frame, and its duration, in seconds."""
        pts, durations = [], []
        for table, offset in zip(self.tables, self.offsets, strict=True):
            base = table.info.time_base
            pts.append(table.pts * base.numerator / base.denominator + float(offset))
            durations.append(table.duration * base.numerator / base.denominator)
        return np.concatenate(pts), np.concatenate(durations)

    def locate(self, frames: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the segment, and the frame within it, of frames numbered over all segments."""
        return locate_frames(self.firsts, frames)

    def seconds_of(self, frame: int) -> Fraction:
        """Return the exact start time, in seconds, of a frame numbered over all segments."""
        (segment,), (number,) = self.locate(np.array([frame]))
        table = self.tables[segment]
        seconds: Fraction = int(table.pts[number]) * table.info.time_base + self.offsets[segment]
        return seconds

    @property
    def pts_ns(self) -> Int64Array:
        """int64 ``(n,)``: the nanoseconds that a reference to each frame stores."""
        return self.frame_times.pts_ns

    def pts_ns_of(self, segment: Int64Array, frame: Int64Array) -> Int64Array:
        """Return ``pts_ns`` of frames, int64 ``(n,)``, by their segments and their numbers in these."""
        found: Int64Array = self.pts_ns[self.firsts[segment] + frame]
        return found

    def resolve(
        self, t_ns: Int64Array, tolerance_ns: int, match: Match = PLAYBACK
    ) -> tuple[Int64Array, Int64Array]:
        """Return which frame of which segment each time names.

        Args:
            t_ns: int64 ``(n,)``.
            tolerance_ns: See :meth:`FrameTimes.resolve`.
            match: The rule.

        Returns:
            Two int64 ``(n,)``: the segment, and the frame within it in presentation order. A time that names
            no frame has what :meth:`FrameTimes.resolve` returns for it as its frame, below 0.
        """
        frames = self.frame_times.resolve(t_ns, tolerance_ns, match)
        if len(self.tables) == 1:
            return np.zeros(len(frames), dtype=np.int64), frames
        segment, frame = self.locate(np.maximum(frames, 0))
        return segment, np.where(frames < 0, frames, frame)

    def outside_error(
        self, uri: str, t_ns: int, frame: int, tolerance_ns: int = TOLERANCE_NS
    ) -> FrameOutsideVideoError:
        """Return the error for a time that names no frame; see :meth:`FrameTimes.outside_error`."""
        return self.frame_times.outside_error(
            uri, t_ns, frame, tolerance_ns=tolerance_ns, cut_short=self.tables[-1].info.cut_short
        )

    @cached_property
    def frame_times(self) -> FrameTimes:
        """When each frame is displayed.

        Raises:
            FrameIndexInvalidError: The segments together are too long for int64 nanoseconds.
        """
        end_ns = math.ceil(self.span_seconds[1] * NS_PER_SECOND)
        if len(self.tables) > 1 and end_ns > _MAX_END_NS:
            raise FrameIndexInvalidError(
                f"expected segments that end before {_MAX_END_NS} ns together, found {end_ns} ns",
                uri=self.tables[-1].info.uri,
            )
        moved = list(zip(self.tables, self.offsets, strict=True))
        parts = tuple(replace(table.times, offset=by) if by else table.times for table, by in moved)
        untimed = [replace(table.untimed_times, offset=by).ceil_ns for table, by in moved]
        return FrameTimes(parts, end_ns, np.concatenate(untimed))
