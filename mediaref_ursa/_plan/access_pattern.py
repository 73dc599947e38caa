"""What a reader of one video is likely to ask for next: windows that move on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mediaref_ursa._core.array_types import Int64Array

_REACH_FRAMES = 16
"""A window that begins this long after the last one's end still goes on from it."""
_MAX_FRAMES = 1024
"""Of a window that asks for more, none is likely to be asked for again soon."""


@dataclass(frozen=True, eq=False)
class AccessPattern:
    """The frames that were last asked for of one segment, and how they go on from those before.

    Attributes:
        frames: int64 ``(n,)``, ascending, in presentation order.
        moved: By how many frames they moved on; 0 where they do not go on from those before.

    >>> pattern = AccessPattern(np.arange(0, 64)).followed_by(np.arange(32, 96))
    >>> pattern.moved, pattern.will_reuse.tolist() == list(range(64, 96))
    (32, True)
    >>> pattern.followed_by(np.array([300, 1000, 4000])).is_sequential
    False
    """

    frames: Int64Array
    moved: int = 0

    def followed_by(self, frames: Int64Array) -> AccessPattern:
        """Return the trail after another window was asked for.

        It goes on from this one if it begins soon after its end, or within it and asks again for most of the
        frames that lie in both.
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
        """The frames of this window that the next will ask for again, if it moves on as this one did."""
        if not self.moved:
            return self.frames[:0]
        return self.frames[np.isin(self.frames, self.frames + self.moved)]
