"""The segments of one video on one timeline: times become frames by the playback rule. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mediaref_ursa._core.array_types import Float64Array, Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameOutsideVideoError
from mediaref_ursa._core.ticks import AFTER_LAST, UNTIMED, frames_at, running_offsets
from mediaref_ursa._model.segment import SegmentTable

_SECONDS_DIGITS = 9
_INT64_MIN, _INT64_MAX = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


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
    def offsets_ns(self) -> Int64Array:
        """int64 ``(n_segments,)``: by how much each segment is moved back, in nanoseconds."""
        spans = ((int(t.start_ns[0]), t.end_ns) if len(t) else (0, 0) for t in self.tables)
        return np.array(running_offsets(spans), dtype=np.int64)

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

    def resolve(self, t_ns: Int64Array, tolerance_ns: int) -> tuple[Int64Array, Int64Array]:
        """Return the segment and the frame that is displayed at each time.

        Args:
            t_ns: int64 ``(n,)``.
            tolerance_ns: See :func:`mediaref_ursa._core.ticks.frames_at`.

        Returns:
            Two int64 ``(n,)``: the segment, and the frame within it in presentation order. A time outside
            the video has ``BEFORE_FIRST`` or ``AFTER_LAST`` as its frame; a time at which a frame without a
            time of its own is displayed has ``UNTIMED``.
        """
        frames = frames_at(self._starts_ns, self._end_ns, t_ns, tolerance_ns)
        if len(untimed := self._untimed_ns):
            before = frames_at(untimed, _INT64_MAX, t_ns, tolerance_ns)
            began = np.where(before < 0, _INT64_MIN, untimed[before])
            frames[(frames >= 0) & (began > self._starts_ns[frames])] = UNTIMED
        if len(self.tables) == 1:
            return np.zeros(len(frames), dtype=np.int64), frames
        segment, frame = self.locate(np.maximum(frames, 0))
        return segment, np.where(frames < 0, frames, frame)

    def outside_error(self, uri: str, t_ns: int, frame: int) -> FrameOutsideVideoError:
        """Return the error for a time at which no frame is displayed.

        Args:
            uri: The video, as the reference names it.
            t_ns: The time.
            frame: What :meth:`resolve` returned for it, below 0.
        """
        if frame == UNTIMED:
            return FrameOutsideVideoError(
                "the frame that is displayed then has no time in the file, so that no reference can name it; "
                "give its frames times, for instance by putting them into an MP4 file",
                uri=uri,
                pts_ns=t_ns,
            )
        starts, end_ns = self._starts_ns, self._end_ns
        side = "after its end" if frame == AFTER_LAST else "before its first frame"
        first = int(starts[0]) if len(starts) else 0
        cut_short = self.tables[-1].info.cut_short
        return FrameOutsideVideoError(
            f"the time lies {side}: frames are displayed from {first} ns on and before {end_ns} ns "
            f"({_seconds(first)} s to {_seconds(end_ns)} s); pts_ns is container time"
            + ("; the file is cut short, frames at its end are lost" if cut_short else ""),
            uri=uri,
            pts_ns=t_ns,
        )

    @cached_property
    def _starts_ns(self) -> Int64Array:
        """int64 ``(n,)``: the start time of each frame in nanoseconds, ascending."""
        if len(self.tables) == 1:
            return self.tables[0].start_ns
        parts = zip(self.tables, self.offsets_ns, strict=True)
        return np.concatenate([table.start_ns + offset for table, offset in parts])

    @property
    def _end_ns(self) -> int:
        """The end of the last frame, in nanoseconds."""
        if len(self.tables) == 1:
            return self.tables[0].end_ns
        return int(self.tables[-1].end_ns + self.offsets_ns[-1])

    @cached_property
    def _untimed_ns(self) -> Int64Array:
        """Start times, in nanoseconds, of the stretches of frames without a time of their own."""
        if not any(table.info.untimed for table in self.tables):
            return np.empty(0, dtype=np.int64)
        offsets = self.offsets_ns if len(self.tables) > 1 else np.zeros(1, dtype=np.int64)
        return np.concatenate([t.untimed_ns + by for t, by in zip(self.tables, offsets, strict=True)])


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.{_SECONDS_DIGITS}f}".rstrip("0").rstrip(".")
