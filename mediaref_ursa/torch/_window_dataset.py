"""``WindowDataset``: windows of videos that follow one another, as samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.ticks import NS_PER_SECOND, TOLERANCE_NS
from mediaref_ursa._lazy.lazy_video import LazyVideo
from mediaref_ursa._plan.frame_times import PLAYBACK


@set_module("mediaref_ursa.torch")
class WindowDataset(Dataset[dict[str, Any]]):
    """Windows of one length of lazy videos, each a stride after the one before it.

    A window is ``[start, start + seconds)`` on the clock of its video, from the video's first timestamp on;
    what is shorter at a video's end is left out. Windows hold as many frames as lie in them, which differs
    with the rate of frames: pass ``frames`` for samples of one shape.

    Args:
        videos: A ``LazyVideo``, or several.
        seconds: The length of a window.
        stride: Seconds from the start of a window to that of the next; the length of a window without it.
        frames: Frames of a window: those displayed at so many times that are evenly spaced, from its start
            on.

    Raises:
        ValueError: A length, a stride or a number of frames that is not above 0.

    Example:
        >>> from mediaref_ursa import LazyVideo
        >>> from mediaref_ursa.torch import WindowDataset
        >>> windows = WindowDataset(LazyVideo.from_uri("clip.mp4"), seconds=0.5, stride=0.25)
        >>> len(windows), windows[1]["frames"].shape, windows[1]["timestamps"][0].item()
        (7, torch.Size([15, 3, 96, 128]), 0.26666666666666666)
    """

    def __init__(
        self,
        videos: LazyVideo | Sequence[LazyVideo],
        seconds: float,
        stride: float | None = None,
        *,
        frames: int | None = None,
    ) -> None:
        stride = seconds if stride is None else stride
        for name, value in (("seconds", seconds), ("stride", stride), ("frames", frames)):
            if value is not None and not value > 0:
                raise ValueError(f"expected {name} above 0, found {value}")
        self.videos = [videos] if isinstance(videos, LazyVideo) else list(videos)
        self.seconds, self.stride, self.frames = seconds, stride, frames
        counts = [self._count(video) for video in self.videos]
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def bounds(self, number: int) -> tuple[int, float, float]:
        """Return the number of a window's video, and its start and end in seconds.

        Raises:
            IndexError: There is no such window.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"expected a window from 0 to {len(self) - 1}, found {number}")
        number %= len(self)
        video = int(np.searchsorted(self._ends, number, side="right"))
        first = 0 if video == 0 else int(self._ends[video - 1])
        start = float(self.videos[video].timestamps[0]) + (number - first) * self.stride
        return video, start, start + self.seconds

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Decode a window.

        Returns:
            ``frames`` ``(n, C, H, W)`` or ``(n, H, W, C)`` as the video has them, ``timestamps`` float64
            ``(n,)`` in seconds of the video's clock, and ``video``, the number of the video.

        Raises:
            IndexError: There is no such window.
            MediaRefError: A frame cannot be decoded.
        """
        which, start, end = self.bounds(number)
        video = self.videos[which]
        window = video.lazy_slice(start, end)
        if self.frames is None:
            pixels, times = window[:], window.timestamps
        else:
            wanted = start + np.arange(self.frames) * (self.seconds / self.frames)
            t_ns = np.round(wanted * NS_PER_SECOND).astype(np.int64)
            positions = video._positions_at(t_ns, TOLERANCE_NS, PLAYBACK)
            pixels, times = video[positions], video.timestamps[positions]
        return {
            "frames": torch.from_numpy(pixels),
            "timestamps": torch.from_numpy(times.copy()),
            "video": which,
        }

    def _count(self, video: LazyVideo) -> int:
        if not len(video):
            return 0
        span = float(video.domain.end[-1]) - float(video.timestamps[0]) - self.seconds
        return max(0, int(np.floor(span / self.stride + 1e-9)) + 1)
