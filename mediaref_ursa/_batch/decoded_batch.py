"""``DecodedBatch``, the result of ``batch_decode``, and the shapes that results take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.counters import Counters
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.ticks import NO_PTS_NS
from mediaref_ursa._core.wording import counted

Frame = TypeVar("Frame")


@set_module("mediaref_ursa")
class DecodedBatch(list[Frame]):
    """A list of frames in the order of the references, and the errors of those that have none.

    Of arrays, ``DecodedBatch[NDArray[uint8]]``; of tensors with ``device=``; of either or None with
    ``on_error="none"``.

    Attributes:
        errors: The error of each reference that gave None, by its position in the list.
        counters: Requests, bytes, packets and frames of the call.
        pts_ns: int64 ``(n,)``: the exact time of each frame, rounded to the nearest nanosecond. A reference
            made of it and the URI gives the same frame, by either rule of ``match``. The least int64, -2**63,
            where there is no time: for images, and where a reference gave None. NaT of
            ``pts_ns.view("datetime64[ns]")`` is that number.

    >>> from mediaref_ursa import MediaRef, batch_decode
    >>> batch = batch_decode([MediaRef("clip.mp4", 520_000_000), MediaRef("photo.png")])
    >>> batch.pts_ns.tolist()
    [500000000, -9223372036854775808]
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        errors: Mapping[int, MediaRefError],
        counters: Counters,
        pts_ns: Int64Array | None = None,
    ) -> None:
        super().__init__(frames)
        self.errors: dict[int, MediaRefError] = dict(errors)
        self.counters = counters
        if pts_ns is None:
            pts_ns = np.full(len(self), NO_PTS_NS, dtype=np.int64)
        self.pts_ns: Int64Array = pts_ns

    def __repr__(self) -> str:
        frames = counted(len(self) - sum(frame is None for frame in self), "frame")
        return f"<DecodedBatch {frames}, {counted(len(self.errors), 'error')}>"

    def errors_by_uri(self) -> dict[str, list[MediaRefError]]:
        """Return the errors of each URI, in the order of the references.

        >>> from mediaref_ursa import MediaRef, batch_decode
        >>> batch = batch_decode([MediaRef("gone.mp4", 0), MediaRef("photo.png")], on_error="none")
        >>> batch, list(batch.errors_by_uri())
        (<DecodedBatch 1 frame, 1 error>, ['gone.mp4'])
        """
        found: dict[str, list[MediaRefError]] = {}
        for position in sorted(self.errors):
            error = self.errors[position]
            found.setdefault(error.uri or "", []).append(error)
        return found


def in_rows(frames: Sequence[Any], lengths: Int64Array | None) -> list[Any]:
    """Return frames as they are, or, of rows that are lists of references, as one list a row.

    >>> in_rows("abc", np.array([2, 0, 1]))
    [['a', 'b'], [], ['c']]
    """
    if lengths is None:
        return list(frames)
    ends = lengths.cumsum().tolist()
    return [list(frames[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]


def window_length(lengths: Int64Array | None) -> int | None:
    """Return how many references each row has, of rows that are lists; None of single references.

    Raises:
        ValueError: The rows have different numbers.
    """
    if lengths is None:
        return None
    found = np.unique(lengths)
    if len(found) > 1:
        row = int(np.flatnonzero(lengths != lengths[0])[0])
        raise ValueError(
            f"expected lists of one length for as_array=True, found {lengths[0]} references in row 0 and "
            f"{lengths[row]} in row {row}"
        )
    return int(found[0]) if len(found) else 0


def in_windows(array: Any, lengths: Int64Array | None) -> Any:
    """Return an array ``(n, ...)``, or of rows that are lists one ``(rows, window, ...)``."""
    window = window_length(lengths)
    if window is None or lengths is None:
        return array
    return array.reshape((len(lengths), window, *array.shape[1:]))


def decoded_mask(count: int, errors: Mapping[int, MediaRefError]) -> npt.NDArray[np.bool_]:
    """Return bool ``(n,)``: which references gave a frame."""
    mask = np.ones(count, dtype=np.bool_)
    mask[list(errors)] = False
    return mask


def without_one_channel(frame: Any, channel_format: str) -> Any:
    """Return a frame of one channel as ``(H, W)``, others as they are."""
    axis = 0 if channel_format == "NCHW" else -1
    return frame.squeeze(axis) if frame is not None and frame.shape[axis] == 1 else frame
