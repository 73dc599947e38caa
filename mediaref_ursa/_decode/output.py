"""Outputs of decoded frames: an array for each, or rows of one array."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mediaref_ursa._core.array_types import UINT8, Int64Array, PixelArray
from mediaref_ursa._core.errors import MediaRefError, UnsupportedMediaError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._decode.buffer_pool import buffers

NewFrame = Callable[[int, tuple[int, ...], np.dtype[Any]], Any]


def new_array(slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PixelArray:
    """Return a new array for a frame; its output position does not matter."""
    return buffers.empty(shape, dtype)


@dataclass(frozen=True)
class DecodedFrame:
    """One frame of a plan: its pixels or its error.

    Attributes:
        slots: int64, the output slots that want it.
        pixels: An array or a tensor, as the ``PixelSpec`` says; None where there is an error.
        error: Why there are no pixels.
    """

    slots: Int64Array
    pixels: Any | None = None
    error: MediaRefError | None = None


class FrameRows:
    """One array for all frames of a call: each is converted directly into its row.

    Threads may share one.

    Args:
        count: Rows, one for each output slot.
        uri: Named in errors.
        array: ``(count, ...)`` of the caller's; taken when the first frame comes, without it.
        empty: Takes memory of a shape and a type, of an array or a tensor.

    Attributes:
        array: The array; None as long as no frame came.
        mismatch: The error of a frame of another shape or type than the first; None as long as none came.
    """

    def __init__(
        self,
        count: int,
        uri: str,
        *,
        array: Any = None,
        empty: Callable[[tuple[int, ...], np.dtype[Any]], Any] = buffers.empty,
    ) -> None:
        self.array = array
        self._is_callers = array is not None
        self._count = count
        self._uri = uri
        self._dtype = None if array is None else _dtype_of(array)
        self._take_memory = empty
        self._lock = threading.Lock()
        self.mismatch: MediaRefError | None = None

    def new_frame(self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Return the row of a position, for a frame of a shape and a sample type.

        Raises:
            UnsupportedMediaError: The first frame had another shape or type; a ValueError too.
            ValueError: The caller's array has rows of another shape or type.
        """
        with self._lock:
            if self.array is None:
                self.array = self._take_memory((self._count, *shape), dtype)
                self._dtype = dtype
        if self._dtype != dtype:
            message = f"expected frames of {self._dtype} in one array, found {dtype}"
            if self._is_callers:
                raise ValueError(f"{message} in {redact(self._uri)}; pass out= of that type")
            raise self._mixed(f"{message}; pass dtype='uint8', or take a list")
        if tuple(shape) != tuple(self.array.shape[1:]):
            message = f"expected frames of shape {tuple(self.array.shape[1:])}, found {tuple(shape)}"
            if self._is_callers:
                raise ValueError(f"{message} in {redact(self._uri)}; pass resize=(height, width)")
            raise self._mixed(f"{message}; pass resize=(height, width)")
        return self.array[slot]

    def row(self, slot: int) -> Any:
        """Return the row of a position that has a frame."""
        return self.array[slot]

    def _mixed(self, message: str) -> MediaRefError:
        self.mismatch = UnsupportedMediaError(message, uri=self._uri)
        return self.mismatch

    def put(self, decoded: DecodedFrame) -> None:
        """Take a frame or its error: tensors are copied into all rows; an array is in its first row already.

        Raises:
            MediaRefError: It has no pixels.
            ValueError: Rows have another shape.
        """
        if decoded.error is not None:
            raise decoded.error
        pixels = decoded.pixels
        assert pixels is not None
        for slot in decoded.slots[1 if isinstance(pixels, np.ndarray) else 0 :].tolist():
            self.new_frame(slot, pixels.shape, _dtype_of(pixels))[...] = pixels

    def without(self, slots: Iterable[int], shape: tuple[int, ...], dtype: np.dtype[Any] = UINT8) -> Any:
        """Return the array, all its rows there, with zeros in those of some slots.

        Raises:
            UnsupportedMediaError: A frame had another shape or type than the first.
        """
        if self.mismatch is not None:
            raise self.mismatch
        if self.array is None:
            self.array = self._take_memory((self._count, *shape), dtype)
        for slot in slots:
            self.array[slot] = 0
        return self.array

    def filled(self, shape: tuple[int, ...], dtype: np.dtype[Any] = UINT8) -> Any:
        """Return the array; one without frames, of the frame shape and sample type, if no frame came."""
        return self._take_memory((0, *shape), dtype) if self.array is None else self.array


def _dtype_of(array: Any) -> np.dtype[Any]:
    """Return NumPy's type of an array or a tensor."""
    own = array.dtype
    return own if isinstance(own, np.dtype) else np.dtype(str(own).removeprefix("torch."))
