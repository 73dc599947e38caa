"""Missing presentation times: computed where durations give them, else the frames are left untimed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._model.segment import SegmentInfo

NO_PTS = int(np.iinfo(np.int64).min)
"""The value of a packet's or a frame's pts that is missing."""


@dataclass(frozen=True)
class FrameTimes:
    """Presentation times of frames, as the decoder reports them.

    Attributes:
        pts: int64 ``(n,)``, ticks, in the order of output; ``NO_PTS`` for a frame without a time.
        untimed: Ticks, ascending, at which a frame without a time replaces the one before it.
    """

    pts: Int64Array
    untimed: tuple[int, ...]


def frame_times(
    reported: Int64Array, duration: Int64Array, packet: Int64Array, info: SegmentInfo
) -> FrameTimes:
    """Return the presentation time of each frame of a linear decode.

    A program stream says times now and then only, and leaves the others to the frame rate (ISO/IEC 13818-1,
    2.7.5). Where most frames have none, they follow from the durations of those before, if these add up to
    every time that the stream does say. Where only some have none, nothing is guessed: no reference can name
    them, and they are displayed until the next frame begins.

    Args:
        reported: int64 ``(n,)``, what the container's own decoder reports, in the order of output; ``NO_PTS``
            where it reports nothing.
        duration: int64 ``(n,)``, ticks, 0 where unknown.
        packet: int64 ``(n,)``, the number of each frame's packet in decode order.
        info: The segment, for messages.

    Raises:
        UnsupportedMediaError: Most frames have no time, and durations do not add up to those of the others.
    """
    is_timed = reported != NO_PTS
    if is_timed.all():
        return FrameTimes(reported, ())
    timed = int(is_timed.sum())
    if 2 * timed >= len(reported):
        return FrameTimes(reported, _untimed(reported, duration))
    inferred = _inferred(reported, duration, packet)
    if inferred is None:
        raise UnsupportedMediaError(
            f"expected times of frames, found {timed} for {len(reported)} frames, and durations that do "
            "not give the others; put the stream into a container that stores every time, such as MP4",
            uri=info.uri,
        )
    return FrameTimes(inferred, ())


def _inferred(reported: Int64Array, duration: Int64Array, packet: Int64Array) -> Int64Array | None:
    """Return times computed from the frame before and its duration, None if reported times contradict them.

    A tick a frame is allowed for: durations are whole ticks. A time that FFmpeg's parser gives to two frames
    is that of the second in decode order, which the decoder may output before the first.
    """
    anchors = np.flatnonzero(reported != NO_PTS)
    by_packet = anchors[np.argsort(packet[anchors])]
    is_last = np.append(np.diff(reported[by_packet]) != 0, True)[: len(anchors)]
    anchors = np.sort(by_packet[is_last])
    if not len(anchors) or (duration <= 0).any():
        return None
    elapsed = np.concatenate([[0], np.cumsum(duration)[:-1]])
    steps = np.diff(elapsed[anchors]) - np.diff(reported[anchors])
    if (np.abs(steps) > np.diff(anchors)).any():
        return None
    since = np.maximum(np.searchsorted(anchors, np.arange(len(reported)), side="right") - 1, 0)
    anchor = anchors[since]
    times: Int64Array = reported[anchor] + elapsed - elapsed[anchor]
    return times if (np.diff(times) > 0).all() else None


def _untimed(reported: Int64Array, duration: Int64Array) -> tuple[int, ...]:
    """Return the start time of each stretch of untimed frames: the end of the frame before it."""
    displayed = np.unique(reported[reported != NO_PTS])
    stretches = np.flatnonzero((reported[1:] == NO_PTS) & (reported[:-1] != NO_PTS))
    begins: set[int] = set()
    for before in stretches.tolist():
        begin = int(reported[before]) + max(int(duration[before]), 1)
        following = int(np.searchsorted(displayed, reported[before], side="right"))
        if following < len(displayed) and begin < displayed[following]:
            begins.add(begin)
    return tuple(sorted(begins))
