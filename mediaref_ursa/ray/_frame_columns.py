"""Columns of frames as Ray Data stores them: tensors of one shape, of several, or encoded images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data.extensions import ArrowTensorArray, ArrowVariableShapedTensorArray

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import MediaRefError, UnsupportedMediaError
from mediaref_ursa._images.encode import ImageEncoder

MIXED = "pass resize=(height, width), or decode videos of one size"


@dataclass(frozen=True)
class FrameColumn:
    """The frames of a column of references.

    Attributes:
        name: The column.
        frames: ``(n, ...)``, or one array for each reference, None where there is none.
        errors: Why, by slot.
        row_slots: The slots of each row; None of a null row.
        is_list: Whether rows are lists of references.
        empty: The shape of a frame where none is known.
    """

    name: str
    frames: Any
    errors: Mapping[int, MediaRefError]
    row_slots: Sequence[Int64Array | None]
    is_list: bool
    empty: tuple[int, ...]

    def to_tensors(self) -> pa.Array:
        """Return the frames as an Arrow column of tensors: zeros where a frame is missing.

        Raises:
            UnsupportedMediaError: A row with frames of several shapes, or frames of several types.
        """
        whole = self._whole()
        if whole is not None:
            return ArrowTensorArray.from_numpy(whole)
        if not self.row_slots:
            return ArrowTensorArray.from_numpy(np.zeros((0, *self.empty), np.uint8))
        rows = [self._row(number, slots) for number, slots in enumerate(self.row_slots)]
        if len({row.dtype for row in rows}) > 1:
            found = " and ".join(sorted({str(row.dtype) for row in rows}))
            raise UnsupportedMediaError(
                f"expected frames of one type in the column {self.name}, found {found}; pass dtype='uint8'"
            )
        if len({row.shape for row in rows}) == 1:
            return ArrowTensorArray.from_numpy(np.stack(rows))
        return ArrowVariableShapedTensorArray.from_numpy(rows)

    def _whole(self) -> Any:
        """Return ``(rows, ...)`` or ``(rows, window, ...)`` without a copy; None where that cannot be."""
        if not isinstance(self.frames, np.ndarray) or any(slots is None for slots in self.row_slots):
            return None
        if not self.is_list:
            return self.frames
        windows = {len(slots) for slots in self.row_slots if slots is not None}
        if len(windows) != 1:
            return None
        return self.frames.reshape(len(self.row_slots), windows.pop(), *self.frames.shape[1:])

    def _row(self, number: int, slots: Int64Array | None) -> np.ndarray[Any, Any]:
        """Return the frames of a row as one array."""
        shape, dtype = self._default
        if not self.is_list:
            frame = None if slots is None else self._frame(int(slots[0]))
            return np.zeros(shape, dtype) if frame is None else frame
        if slots is None or not len(slots):
            return np.zeros((0, *shape), dtype)
        found = [frame for slot in slots.tolist() if (frame := self._frame(slot)) is not None]
        if len({frame.shape for frame in found}) > 1:
            raise UnsupportedMediaError(
                f"expected frames of one shape in row {number} of the column {self.name}, found "
                f"{', '.join(sorted({str(frame.shape) for frame in found}))}; {MIXED}"
            )
        row = np.zeros(
            (len(slots), *(found[0].shape if found else shape)), found[0].dtype if found else dtype
        )
        for position, slot in enumerate(slots.tolist()):
            if (frame := self._frame(slot)) is not None:
                row[position] = frame
        return row

    @cached_property
    def _default(self) -> tuple[tuple[int, ...], Any]:
        """The shape and the type of frames that are missing: those of the others where these have one."""
        if isinstance(self.frames, np.ndarray):
            return self.frames.shape[1:], self.frames.dtype
        found = [frame for frame in self.frames if frame is not None]
        shapes = {frame.shape for frame in found}
        return shapes.pop() if len(shapes) == 1 else self.empty, found[0].dtype if found else np.uint8

    def _frame(self, slot: int) -> Any:
        return None if slot in self.errors else self.frames[slot]

    def to_images(self, encoder: ImageEncoder) -> pa.Array:
        """Return the frames as a column of image files, null where a frame is missing."""

        def image(slot: int) -> bytes | None:
            frame = self._frame(slot)
            return None if frame is None else encoder.encode(frame)

        rows: list[Any] = []
        for slots in self.row_slots:
            images = None if slots is None else [image(slot) for slot in slots.tolist()]
            rows.append(images if self.is_list or images is None else images[0])
        return pa.array(rows, pa.list_(pa.large_binary()) if self.is_list else pa.large_binary())

    def error_texts(self) -> pa.Array:
        """Return the first error of each row as text, null where all frames are there."""
        texts: list[str | None] = []
        for slots in self.row_slots:
            failed = [] if slots is None else [slot for slot in slots.tolist() if slot in self.errors]
            error = "a null row" if slots is None else None
            if failed:
                first = self.errors[failed[0]]
                error = f"{type(first).__name__}: {first}"
            texts.append(error)
        return pa.array(texts, pa.string())
