"""``Timeline``: frames of several segments in the order of their timestamps. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mediaref_ursa._core.array_types import Float64Array, Int64Array
from mediaref_ursa._core.errors import FrameIndexInvalidError
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._plan.segments import locate_frames


@dataclass(frozen=True)
class Timeline:
    """The frames of all segments, sorted by their timestamps.

    Attributes:
        timestamps: float64 ``(n,)``, ascending, seconds.
        firsts: int64 ``(n_segments + 1,)``, where each segment's frames begin when segments are laid end
            to end, and where the last one's end.
        order: int64 ``(n,)``, the frame, counted through all segments, at each rank; None where frames
            already stand in the order of their timestamps.
    """

    timestamps: Float64Array
    firsts: Int64Array
    order: Int64Array | None

    @classmethod
    def from_timestamps(cls, timestamps: Float64Array, counts: Int64Array) -> Timeline:
        """Return the timeline of frames, sorted once.

        Args:
            timestamps: float64 ``(n,)``, of each frame, segment after segment.
            counts: int64 ``(n_segments,)``, frames in each segment.

        Raises:
            FrameIndexInvalidError: Another number of timestamps than of frames, or one that is not finite.

        >>> Timeline.from_timestamps(np.array([0.0, 2.0, 1.0]), np.array([2, 1])).locate(np.array([1, 2]))
        (array([1, 0]), array([0, 1]))
        """
        firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if len(timestamps) != firsts[-1]:
            raise FrameIndexInvalidError(
                f"expected {firsts[-1]} timestamps, one a frame, found {len(timestamps)}; {WRITE_ANEW}"
            )
        if not np.isfinite(timestamps).all():
            wrong = int(np.flatnonzero(~np.isfinite(timestamps))[0])
            raise FrameIndexInvalidError(
                f"expected finite timestamps, found {timestamps[wrong]} for frame {wrong}; {WRITE_ANEW}"
            )
        order: Int64Array | None = None
        if (np.diff(timestamps) < 0).any():
            order = np.argsort(timestamps, kind="stable").astype(np.int64)
            timestamps = timestamps[order]
        shared = timestamps.view()
        shared.flags.writeable = False  # all windows of a recording look at it
        return cls(shared, firsts, order)

    def __len__(self) -> int:
        return len(self.timestamps)

    def locate(self, ranks: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the segment, and the frame within it, at each rank: two int64 arrays."""
        return locate_frames(self.firsts, ranks if self.order is None else self.order[ranks])

    def ranks_of(self, segment: Int64Array, frame: Int64Array) -> Int64Array:
        """Return the rank of each frame, the inverse of :meth:`locate`."""
        frames: Int64Array = self.firsts[segment] + frame
        if self.order is None:
            return frames
        inverse = np.empty_like(self.order)
        inverse[self.order] = np.arange(len(self.order))
        ranks: Int64Array = inverse[frames]
        return ranks

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Return the half-open range of ranks whose timestamps lie in ``[start, end)``.

        >>> Timeline.from_timestamps(np.array([0.0, 0.5, 1.0]), np.array([3])).between(0.5, 1.0)
        (1, 2)
        """
        first = int(np.searchsorted(self.timestamps, start, side="left"))
        stop = int(np.searchsorted(self.timestamps, end, side="left"))
        return first, max(first, stop)
