"""Decoded frames and their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FRAME_DIMENSIONS = 3


@dataclass(eq=False, repr=False)
class Frame:
    """One frame.

    Attributes:
        data: uint8 ``(C, H, W)``, or ``(H, W, C)`` with ``dimension_order="NHWC"``.
        pts_seconds: When it is displayed.
        duration_seconds: How long the container says that it is displayed.
        pts_ns: When it is displayed in nanoseconds, as a reference stores it; None of a frame made without.
    """

    data: Any
    pts_seconds: float
    duration_seconds: float
    pts_ns: int | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != _FRAME_DIMENSIONS:
            raise ValueError(f"expected data of three dimensions, found the shape {tuple(self.data.shape)}")
        self.pts_seconds = float(self.pts_seconds)
        self.duration_seconds = float(self.duration_seconds)

    def __iter__(self) -> Iterator[Any]:
        """Yield TorchCodec's fields, for ``data, pts_seconds, duration_seconds = frame``."""
        return iter((self.data, self.pts_seconds, self.duration_seconds))

    def __repr__(self) -> str:
        return _text(self)


@dataclass(eq=False, repr=False)
class FrameBatch:
    """Frames and their times. NumPy arrays, or torch tensors of a ``TorchCodecVideoDecoder``.

    Attributes:
        data: uint8 ``(N, C, H, W)``, or ``(N, H, W, C)`` with ``dimension_order="NHWC"``.
        pts_seconds: float64 ``(N,)``, when each is displayed.
        duration_seconds: float64 ``(N,)``, how long the container says that each is displayed.
        pixel_format: FFmpeg's name of the format that the frames were stored in, of a decoder with
            ``output_format="native"``; else None.
        pts_ns: int64 ``(N,)``, when each is displayed in nanoseconds, as a reference stores it: what
            ``DecodedBatch.pts_ns`` is. With ``fps=`` the frames' own times, which ``pts_seconds`` are not
            then. None in a batch made without.

    Raises:
        ValueError: Fields of different lengths.

    >>> import numpy as np
    >>> batch = FrameBatch(np.zeros((2, 3, 4, 6), np.uint8), np.array([0.0, 0.5]), np.array([0.5, 0.5]))
    >>> len(batch), batch[1:].pts_seconds.tolist(), [frame.data.shape for frame in batch]
    (2, [0.5], [(3, 4, 6), (3, 4, 6)])
    """

    data: Any
    pts_seconds: Any
    duration_seconds: Any
    pixel_format: str | None = None
    pts_ns: Any = None

    def __post_init__(self) -> None:
        if self.data.ndim < _FRAME_DIMENSIONS:
            raise ValueError(
                f"expected data of three dimensions or more, found the shape {tuple(self.data.shape)}"
            )
        leading = tuple(self.data.shape[:-_FRAME_DIMENSIONS])
        times = tuple(self.pts_seconds.shape), tuple(self.duration_seconds.shape)
        if times != (leading, leading):
            raise ValueError(
                f"expected pts_seconds and duration_seconds of the shape {leading} for data of the shape "
                f"{tuple(self.data.shape)}, found {times[0]} and {times[1]}"
            )
        if self.pts_ns is not None and tuple(self.pts_ns.shape) != leading:
            raise ValueError(f"expected pts_ns of the shape {leading}, found {tuple(self.pts_ns.shape)}")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: Any) -> FrameBatch:
        """Return the frames that an index, a slice or an array of indices chooses."""
        pts_ns = None if self.pts_ns is None else self.pts_ns[key]
        times = self.pts_seconds[key], self.duration_seconds[key]
        return FrameBatch(self.data[key], *times, self.pixel_format, pts_ns)

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield each frame, a batch without the first dimension, as TorchCodec's does."""
        for position in range(len(self)):
            yield self[position]

    def __repr__(self) -> str:
        return _text(self)


def _text(frames: Frame | FrameBatch) -> str:
    return (
        f"{type(frames).__name__}(data: {frames.data.dtype} {tuple(frames.data.shape)}, "
        f"pts_seconds: {frames.pts_seconds}, duration_seconds: {frames.duration_seconds})"
    )
