"""Concatenation of lazy videos, or windows of them, by their segment tables; nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from mediaref_ursa._core.redaction import redact
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.segments import SegmentSequence

if TYPE_CHECKING:
    from mediaref_ursa._lazy.lazy_video import LazyVideo


def joined_video(videos: Sequence[LazyVideo]) -> LazyVideo:
    """Return videos joined in order; see ``LazyVideo.concat``."""
    if not videos:
        raise ValueError("expected at least one video, found none")
    first = videos[0]
    for other in videos[1:]:
        _check_joins(first, other)
    if len(videos) == 1:
        return first._window(0, len(first))
    videos = [video for video in videos if len(video)]
    if not videos:
        return first._window(0, 0)
    if not first._scanned:
        videos.sort(key=lambda video: float(video.timestamps[0]))
    return first._over(first._recording.of_parts(_joined_parts(videos)))


def _check_joins(video: LazyVideo, other: LazyVideo) -> None:
    if video._spec != other._spec:
        raise ValueError(
            "expected videos of the same resize, colorspace and channel_format, dtype and crop, "
            f"found {video._spec} and {other._spec}"
        )
    if video._scanned != other._scanned:
        raise ValueError(
            "expected videos that all have frame indexes, or none, found both; "
            "write the missing ones with: mediaref-ursa index"
        )
    if video._recording.video.store is not other._recording.video.store:
        raise ValueError("expected videos of one store, found several; pass the same store= to each")


def _joined_parts(videos: Sequence[LazyVideo]) -> list[tuple[SegmentTable, str]]:
    """Return the segments of several windows, each with the window's frames only, and their URIs."""
    parts = [part for video in videos for part in video._recording.window_parts(video._start, video._stop)]
    if videos[0]._scanned:
        offsets = SegmentSequence(tuple(table for table, _ in parts)).offsets
        return [(table.beginning_at(by), uri) for (table, uri), by in zip(parts, offsets, strict=True)]
    for before, after in pairwise(videos):
        if after.timestamps[0] <= before.timestamps[-1]:
            raise ValueError(
                f"expected timestamps that do not overlap, found {redact(after.uri)} to begin at "
                f"{after.timestamps[0]} s, not after {before.timestamps[-1]} s: different recordings"
            )
    return parts
