"""References from and to LeRobot's ``VideoFrame``, a dict of a path and seconds, without LeRobot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mediaref_ursa._core.seconds import pts_ns_from_seconds
from mediaref_ursa._references.media_ref import MediaRef

__all__ = ["from_videoframe", "lerobot_episode_to_refs", "to_videoframe"]


def from_videoframe(vf: Mapping[str, Any]) -> MediaRef:
    """Return the reference of a ``VideoFrame``, ``{"path": ..., "timestamp": seconds}``.

    Seconds count in their own type: a float32 of LeRobot's names the frame that it was made from, as
    :meth:`mediaref_ursa.MediaRef.from_seconds` has it. Other keys are ignored.

    Raises:
        KeyError: ``path`` or ``timestamp`` is missing.
        TypeError: A path that is no text, or a time that is no number.

    >>> from_videoframe({"path": "videos/clip.mp4", "timestamp": 0.5})
    MediaRef(uri='videos/clip.mp4', pts_ns=500000000)
    """
    path, timestamp = vf["path"], vf["timestamp"]
    if not isinstance(path, str):
        raise TypeError(f"expected a path as text, found {type(path).__name__}")
    if isinstance(timestamp, str | bytes | bool) or not hasattr(timestamp, "__float__"):
        raise TypeError(f"expected a timestamp in seconds, found {timestamp!r}")
    return MediaRef.from_seconds(path, timestamp)


def to_videoframe(ref: MediaRef) -> dict[str, Any]:
    """Return a reference to a video frame as ``{"path": ..., "timestamp": seconds}``.

    Raises:
        ValueError: It refers to an image.

    >>> to_videoframe(MediaRef("videos/clip.mp4", 500_000_000))
    {'path': 'videos/clip.mp4', 'timestamp': 0.5}
    """
    if ref.pts_ns is None:
        raise ValueError(f"expected a reference to a frame of a video, found one to an image, {ref.uri!r}")
    return {"path": ref.uri, "timestamp": ref.pts_ns / 1e9}


def lerobot_episode_to_refs(
    *, video_path: str, from_timestamp: float, frame_timestamps: Iterable[float]
) -> list[MediaRef]:
    """Return references to the frames of an episode within a video that holds several.

    The sum of two rounded times, and a start that drifts as LeRobot's does, may name a neighbouring frame:
    pass such references to ``batch_decode(match="nearest", tolerance_ns=...)``.

    Args:
        video_path: The video, by path or URI.
        from_timestamp: Seconds at which the episode begins in it.
        frame_timestamps: Seconds of each frame from the episode's start on; arrays of float32 count as such.

    Raises:
        ValueError: A time that is not finite.

    >>> lerobot_episode_to_refs(video_path="a.mp4", from_timestamp=2.0, frame_timestamps=[0.0, 0.1])[1]
    MediaRef(uri='a.mp4', pts_ns=2100000000)
    """
    times = frame_timestamps if hasattr(frame_timestamps, "dtype") else list(frame_timestamps)
    if not len(times):  # type: ignore[arg-type]
        return []
    begin = int(pts_ns_from_seconds(from_timestamp))
    found = np.asarray(pts_ns_from_seconds(times), dtype=np.int64)
    return [MediaRef(video_path, begin + time) for time in found.tolist()]
