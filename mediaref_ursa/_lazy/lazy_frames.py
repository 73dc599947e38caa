"""``LazyFrames``: frames as an array that is decoded when it is read. Independent of video and codec."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array, PixelArray

Selection = npt.NDArray[np.int64] | npt.NDArray[np.bool_]


class FrameSource(Protocol):
    """Protocol of a source of frames: a video, its frames numbered from 0."""

    def decode_frames(self, numbers: Int64Array) -> PixelArray:
        """Return frames by their numbers: ``(n, C, H, W)`` or ``(n, H, W, C)``."""
        ...

    def frame_shape(self) -> tuple[int, int, int]:
        """Return the shape of one frame, without decoding."""
        ...

    def frame_dtype(self) -> np.dtype[Any]:
        """Return the sample type of the frames, without decoding."""
        ...


class LazyFrames:
    """Frames of one video, decoded once when they are read; selecting some decodes nothing.

    Never changed after it is made, so that copies are the same object; safe for many threads and to pickle.

    Args:
        source: What they are decoded from.
        numbers: int64 ``(n,)``, the frames by their numbers in the whole video.
        pixels: Them decoded, where that was done.
    """

    ndim = 4

    def __init__(self, source: FrameSource, numbers: Int64Array, pixels: PixelArray | None = None) -> None:
        self.source = source
        self.numbers = numbers
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, C, H, W)`` or ``(n, H, W, C)``."""
        return (len(self.numbers), *self.source.frame_shape())

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, or with ``dtype="native"`` the type that keeps all bits of the media's samples."""
        return self.source.frame_dtype()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, selection: slice | Selection) -> LazyFrames:
        """Return some of the frames, by a slice, a mask or positions, decoding nothing."""
        pixels = None if self._pixels is None else _read_only(self._pixels[selection])
        return LazyFrames(self.source, self.numbers[selection], pixels)

    def copy(self) -> LazyFrames:
        """Return itself, which never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyFrames:
        return self

    def read(self) -> PixelArray:
        """Decode the frames, the first time, and return them, read-only because they are kept."""
        if self._pixels is None:
            self._pixels = _read_only(self.source.decode_frames(self.numbers))
        return self._pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        pixels = self.read()
        return pixels.astype(dtype or pixels.dtype, copy=bool(copy))

    def __repr__(self) -> str:
        return f"<{len(self)} frames, {'decoded' if self._pixels is not None else 'decoded when read'}>"


def _read_only(pixels: PixelArray) -> PixelArray:
    view: PixelArray = pixels.view()
    view.flags.writeable = False
    return view
