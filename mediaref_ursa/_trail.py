"""What a reader of one video is likely to ask for next: windows that move on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_REACH_FRAMES = 16
"""A window that begins this long after the last one's end still goes on from it."""


@dataclass(frozen=True)
class Trail:
    """The frames that were last asked for of one segment, in presentation order.

    Attributes:
        first: The first of them.
        last: The last of them.
        moved: By how many frames they moved on from those before; 0 where they did not go on from them.

    >>> trail = Trail(0, 63).followed_by(32, 95)
    >>> trail.goes_on, trail.wanted_again
    (True, range(64, 96))
    >>> trail.followed_by(4000, 4063).goes_on
    False
    """

    first: int
    last: int
    moved: int = 0

    def followed_by(self, first: int, last: int) -> Trail:
        """Return the trail after another window was asked for."""
        moved = first - self.first
        near = 0 < moved <= self.last - self.first + 1 + _REACH_FRAMES
        return Trail(first, last, moved if near else 0)

    @property
    def goes_on(self) -> bool:
        """Whether the next window is likely to begin within this one, or soon after it."""
        return self.moved > 0

    @property
    def wanted_again(self) -> range:
        """The frames of this window that the next will ask for again, if it moves on as this one did."""
        return range(self.first + self.moved, self.last + 1) if self.moved else range(0)
