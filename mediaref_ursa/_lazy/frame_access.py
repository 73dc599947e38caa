"""Frames of a lazy video by their positions, one or a selection, and by time."""

from __future__ import annotations

import operator
from fractions import Fraction
from typing import Any

import numpy as np

from mediaref_ursa._core.array_types import Int64Array, PixelArray
from mediaref_ursa._core.seconds import floor_ns, times_asked
from mediaref_ursa._core.ticks import TOLERANCE_NS
from mediaref_ursa._lazy.positions import is_selection, outside, selected_positions
from mediaref_ursa._plan.frame_times import Match, checked_match, checked_tolerance
from mediaref_ursa._video.recording import Recording

_OWN_TIME = "times are seconds of the recording's own clock"


class FrameAccess:
    """A window of a recording, whose frames have positions from 0 on."""

    _recording: Recording
    _start: int
    _stop: int

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def frame_indices(self) -> Int64Array:
        """int64 ``(n,)``: the number of each frame of the window in the whole video."""
        return np.arange(self._start, self._stop, dtype=np.int64)

    @property
    def pts_ns(self) -> Int64Array:
        """int64 ``(n,)``: the time of each frame of the window in its own file, in nanoseconds.

        It is that of :meth:`LazyVideo.refs`, and what ``batch_decode(video.refs()).pts_ns`` returns. Where a
        camera's clock gave the timestamps, or for files behind the first one, it is another time than
        ``timestamps``.
        """
        return self._recording.pts_ns_of(self.frame_indices)

    def frame_at(
        self, seconds: Any, *, match: Match = "playback", tolerance_ns: int = TOLERANCE_NS
    ) -> PixelArray:
        """Decode the frame of a time, by the clock of ``timestamps``.

        Where timestamps are the times in the container, it is the frame that ``batch_decode`` returns for
        ``MediaRef.from_seconds(uri, seconds)`` with the same options, as long as the window has that frame.

        Args:
            seconds: One time, as :func:`pts_ns_from_seconds` takes it; from the start of ``domain`` on
                and before its end. A float32 that a timestamp was rounded to names that frame.
            match: ``"playback"`` is the frame that is displayed then; ``"nearest"`` the one whose time is
                nearest, of two that are equally near the earlier, inside the domain or not.
            tolerance_ns: With ``"playback"``, nanoseconds by which a time may lie before its frame; with
                ``"nearest"``, the largest distance, of which the default takes exact times only.

        Returns:
            ``(C, H, W)`` or ``(H, W, C)``, as ``video[i]`` is.

        Raises:
            FrameOutsideVideoError: Nothing is displayed then, as at a time that is not finite; with
                ``"nearest"`` a ``FrameBeyondToleranceError``.
            TypeError: No number, or several.
            ValueError: Another rule, or a tolerance out of range.

        Example:
            >>> from mediaref_ursa import LazyVideo
            >>> video = LazyVideo.from_uri("clip.mp4")
            >>> bool((video.frame_at(0.51) == video[15]).all())
            True
            >>> bool((video.frame_at(0.52, match="nearest", tolerance_ns=20_000_000) == video[16]).all())
            True
        """
        if np.ndim(seconds):
            raise TypeError(
                f"expected one time in seconds, found {type(seconds).__name__}; for many: batch_decode"
            )
        (time,) = times_asked(seconds, self._recording.uri)
        t_ns = np.array([floor_ns(time)], dtype=np.int64)
        return self[int(self._positions_at(t_ns, checked_tolerance(tolerance_ns), checked_match(match))[0])]

    def _positions_at(self, t_ns: Int64Array, tolerance_ns: int, match: Match) -> Int64Array:
        """Return the positions of the frames of some times, by the clock of ``timestamps``.

        Raises:
            FrameOutsideVideoError: One has no frame.
        """
        recording, end = self._recording, Fraction(0)
        if len(self):
            end = recording.frame_times.seconds_of(self._stop - 1)
            end += recording.last_duration(self._start, self._stop)
        times = recording.frame_times.window(self._start, self._stop, end)
        found = times.resolve(t_ns, tolerance_ns, match)
        if (found < 0).any():
            first = int(np.flatnonzero(found < 0)[0])
            raise times.outside_error(
                recording.uri,
                int(t_ns[first]),
                int(found[first]),
                tolerance_ns=tolerance_ns,
                origin=_OWN_TIME,
                cut_short=recording.is_cut_short,
            )
        return found

    def __getitem__(self, key: Any) -> PixelArray:
        """Decode one frame, ``video[i]``, or several in one plan, by their positions in the window.

        Args:
            key: An integer; ``video[a:b:c]``; a list, a range or an array of integers, ``video[[0, 5, 9]]``,
                in any order and repeatedly; a boolean mask. Negative positions count from the end.

        Returns:
            ``(C, H, W)`` or ``(H, W, C)`` of one frame, else ``(n, C, H, W)`` or ``(n, H, W, C)`` in
            the order of the key; uint8, or with ``dtype="native"`` of the media's type.

        Raises:
            IndexError: There is no such frame, or a mask has another length than the window.
            TypeError: Something else.
        """
        if is_selection(key):
            return self.decode_frames(selected_positions(key, len(self)) + self._start)
        position = operator.index(key)
        if not -len(self) <= position < len(self):
            raise outside(position, len(self))
        return np.ascontiguousarray(self.decode_frames(np.array([position % len(self) + self._start]))[0])

    def decode_frames(self, numbers: Int64Array) -> PixelArray:
        """Return frames by their numbers in the whole video, as the options say."""
        raise NotImplementedError
