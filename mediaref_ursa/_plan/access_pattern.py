"""``AccessPattern``: sequential windows of one reader, and the frames that the next one reuses. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mediaref_ursa._core.array_types import Int64Array

_REACH_FRAMES = 16
"""A window that begins up to this many frames after the last one's end is still sequential."""
_MAX_FRAMES = 1024
"""Largest window, in frames, whose frames may be reused by the next."""


@dataclass(frozen=True, eq=False)
class AccessPattern:
    """The frames last requested of one segment, and their distance from the request before.

    Attributes:
        frames: int64 ``(n,)``, ascending, in presentation order.
        moved: By how many frames the window moved on; 0 if it does not continue the request before.

    >>> pattern = AccessPattern(np.arange(0, 64)).followed_by(np.arange(32, 96))
    >>> pattern.moved, pattern.will_reuse.tolist() == list(range(64, 96))
    (32, True)
    >>> pattern.followed_by(np.array([300, 1000, 4000])).is_sequential
    False
    """

    frames: Int64Array
    moved: int = 0

    def followed_by(self, frames: Int64Array) -> AccessPattern:
        """Return the access pattern after another window was requested.

        The window is sequential if it begins soon after this one's end, or within this one and requests most
        frames of the overlap again.
        """
        first, end = int(frames[0]), int(self.frames[-1])
        moved = first - int(self.frames[0])
        if moved <= 0 or len(frames) > _MAX_FRAMES:
            return AccessPattern(frames[:_MAX_FRAMES])
        if first > end:
            return AccessPattern(frames, moved if first - end <= _REACH_FRAMES else 0)
        in_both = frames[: np.searchsorted(frames, end, side="right")]
        again = int(np.isin(in_both, self.frames).sum())
        return AccessPattern(frames, moved if 2 * again > len(in_both) else 0)

    @property
    def is_sequential(self) -> bool:
        """Whether the next window is likely to begin within this one, or soon after it."""
        return self.moved > 0

    @property
    def will_reuse(self) -> Int64Array:
        """The frames of this window that the next will request again, if it moves on by the same distance."""
        if not self.moved:
            return self.frames[:0]
        return self.frames[np.isin(self.frames, self.frames + self.moved)]
