"""References to frames: times become frames of segments by the playback rule. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mediaref_ursa._core.errors import FrameOutsideVideoError
from mediaref_ursa._core.ticks import AFTER_LAST, UNTIMED, Int64Array, frames_at, running_offsets
from mediaref_ursa._model.segment import SegmentTable

_SECONDS_SHOWN = 9
_INT64_MIN, _INT64_MAX = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


def resolve(
    segments: Sequence[SegmentTable], t_ns: Int64Array, tolerance_ns: int
) -> tuple[Int64Array, Int64Array]:
    """Return which frame of which segment is shown at each time.

    In a video of one segment a time is absolute container time. In one of several it runs on: each
    segment is moved back by the lengths of those before it.

    Args:
        segments: The segments of one video, in order.
        t_ns: int64 ``(n,)``.
        tolerance_ns: See :func:`mediaref_ursa._core.ticks.frames_at`.

    Returns:
        Two int64 ``(n,)``: the segment, and the frame within it in presentation order. A time outside
        the video has ``BEFORE_FIRST`` or ``AFTER_LAST`` as its frame; one at which a frame is shown that has
        no time of its own, ``UNTIMED``.
    """
    starts, end_ns, firsts = _timeline(segments)
    frames = frames_at(starts, end_ns, t_ns, tolerance_ns)
    untimed = _untimed(segments)
    if len(untimed):
        before = frames_at(untimed, _INT64_MAX, t_ns, tolerance_ns)
        begun = np.where(before < 0, _INT64_MIN, untimed[before])
        frames[(frames >= 0) & (begun > starts[frames])] = UNTIMED
    if len(segments) == 1:
        return np.zeros(len(frames), dtype=np.int64), frames
    segment = np.searchsorted(firsts, np.maximum(frames, 0), side="right").astype(np.int64) - 1
    return segment, np.where(frames < 0, frames, frames - firsts[segment])


def segment_offsets_ns(segments: Sequence[SegmentTable]) -> Int64Array:
    """Return int64 ``(n_segments,)``: by how much each segment is moved back on the video's timeline."""
    spans = ((int(table.start_ns[0]), table.end_ns) if len(table) else (0, 0) for table in segments)
    return np.array(running_offsets(spans), dtype=np.int64)


def outside_error(
    segments: Sequence[SegmentTable], uri: str, t_ns: int, frame: int
) -> FrameOutsideVideoError:
    """Return the error for a time at which nothing is shown."""
    if frame == UNTIMED:
        return FrameOutsideVideoError(
            "the frame that is shown then has no time in the file, so that no reference can name it; "
            "give its frames times, for instance by putting them into an MP4 file",
            uri=uri,
            pts_ns=t_ns,
        )
    starts, end_ns, _ = _timeline(segments)
    side = "after its end" if frame == AFTER_LAST else "before its first frame"
    first = int(starts[0]) if len(starts) else 0
    return FrameOutsideVideoError(
        f"the time lies {side}: frames are shown from {first} ns on and before {end_ns} ns "
        f"({_seconds(first)} s to {_seconds(end_ns)} s); pts_ns is container time"
        + ("; the file is cut short, frames at its end are lost" if segments[-1].info.cut_short else ""),
        uri=uri,
        pts_ns=t_ns,
    )


def _timeline(segments: Sequence[SegmentTable]) -> tuple[Int64Array, int, Int64Array]:
    """Return the starts of all frames, the end of the last, and the first frame of each segment."""
    if len(segments) == 1:
        table = segments[0]
        return table.start_ns, table.end_ns, np.zeros(1, dtype=np.int64)
    offsets = segment_offsets_ns(segments)
    starts = np.concatenate(
        [table.start_ns + offset for table, offset in zip(segments, offsets, strict=True)]
    )
    counts = [len(table) for table in segments]
    firsts = np.concatenate([[0], np.cumsum(counts[:-1])]).astype(np.int64)
    return starts, int(segments[-1].end_ns + offsets[-1]), firsts


def _untimed(segments: Sequence[SegmentTable]) -> Int64Array:
    """Return when frames without a time begin to be shown, on the video's timeline."""
    if not any(table.info.untimed for table in segments):
        return np.empty(0, dtype=np.int64)
    offsets = segment_offsets_ns(segments) if len(segments) > 1 else np.zeros(1, dtype=np.int64)
    return np.concatenate([t.untimed_ns + offset for t, offset in zip(segments, offsets, strict=True)])


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.{_SECONDS_SHOWN}f}".rstrip("0").rstrip(".")
