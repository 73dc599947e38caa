"""Columns of frames as Ray Data stores them: tensors of one shape, of several, or encoded images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from ray.data.extensions import ArrowTensorArray, ArrowVariableShapedTensorArray

from mediaref_ursa._batch.row_frames import RowFrames
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._images.encode import ImageEncoder


def to_tensors(column: RowFrames) -> pa.Array:
    """Return frames as an Arrow column of tensors: zeros where a frame is missing.

    Raises:
        UnsupportedMediaError: A row with frames of several shapes, or frames of several types.
    """
    if not column.row_slots:
        return ArrowTensorArray.from_numpy(np.zeros((0, *column.empty), np.uint8))
    whole = _whole(column)
    if whole is not None:
        return ArrowTensorArray.from_numpy(whole)
    rows = [_row(column, number) for number in range(len(column.row_slots))]
    if len({row.dtype for row in rows}) > 1:
        found = " and ".join(sorted({str(row.dtype) for row in rows}))
        raise UnsupportedMediaError(
            f"expected frames of one type in the column {column.name}, found {found}; pass dtype='uint8'"
        )
    if len({row.shape for row in rows}) == 1:
        return ArrowTensorArray.from_numpy(np.stack(rows))
    return ArrowVariableShapedTensorArray.from_numpy(rows)


def to_images(column: RowFrames, encoder: ImageEncoder) -> pa.Array:
    """Return frames as a column of image files, null where a frame is missing."""
    kind = pa.list_(pa.large_binary()) if column.is_list else pa.large_binary()
    return pa.array(column.images(encoder), kind)


def _whole(column: RowFrames) -> Any:
    """Return ``(rows, ...)`` or ``(rows, window, ...)`` without a copy; None where that cannot be."""
    if not isinstance(column.frames, np.ndarray) or any(slots is None for slots in column.row_slots):
        return None
    if not column.is_list:
        return column.frames
    windows = {len(slots) for slots in column.row_slots if slots is not None}
    if len(windows) != 1:
        return None
    return column.frames.reshape(len(column.row_slots), windows.pop(), *column.frames.shape[1:])


def _row(column: RowFrames, number: int) -> np.ndarray[Any, Any]:
    """Return the frame of a row, or of a list its frames as one array."""
    if column.is_list:
        return column.window(number)
    frame = column.frames_of(column.row_slots[number])[0]
    return np.zeros(*column.default) if frame is None else frame
