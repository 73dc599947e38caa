"""Several columns of references, decoded by one plan, each into an array of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mediaref_ursa._batch.decode import BatchOutput, decode_videos, load_images
from mediaref_ursa._batch.resolve import BatchRequest
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._core.interpreter_exit import working
from mediaref_ursa._decode.output import DecodedFrame, FrameRows
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._plan.runs import BatchDecodingStrategy
from mediaref_ursa._references.columns import ReferenceColumns

Empty = Callable[[tuple[int, ...], "np.dtype[Any]"], Any]


class ColumnRows:
    """Rows of several arrays, whose positions follow one another."""

    def __init__(self, parts: Sequence[FrameRows], counts: Sequence[int]) -> None:
        self._parts = parts
        self._firsts = np.concatenate([[0], np.cumsum(counts)])

    def new_frame(self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Return the row of a position, for a frame of a shape and a sample type."""
        part, own = self._locate(slot)
        return part.new_frame(own, shape, dtype)

    def row(self, slot: int) -> Any:
        """Return the row of a position that has a frame."""
        part, own = self._locate(slot)
        return part.row(own)

    def put(self, decoded: DecodedFrame) -> None:
        """Copy a frame, which is in its first row already, into its other rows."""
        pixels: Any = decoded.pixels
        for slot in decoded.slots[1:].tolist():
            self.new_frame(slot, pixels.shape, pixels.dtype)[...] = pixels

    def _locate(self, slot: int) -> tuple[FrameRows, int]:
        number = int(np.searchsorted(self._firsts, slot, side="right")) - 1
        return self._parts[number], slot - int(self._firsts[number])


@dataclass(frozen=True)
class DecodedColumn:
    """The frames of one column.

    Attributes:
        frames: ``(n, ...)``, zeros where there is an error; None if no frame could be decoded.
        errors: The errors, by position.
    """

    frames: Any
    errors: Mapping[int, MediaRefError]


def joined_columns(columns: Sequence[ReferenceColumns]) -> ReferenceColumns:
    """Return the references of several columns as those of one."""
    return ReferenceColumns(
        [uri for column in columns for uri in column.uris],
        np.concatenate([np.empty(0, np.int64), *(column.pts_ns for column in columns)]),
        np.concatenate([np.empty(0, np.bool_), *(column.is_image for column in columns)]),
    )


def decode_columns(
    request: BatchRequest, counts: Sequence[int], spec: PixelSpec, empty: Empty, *, max_workers: int
) -> list[DecodedColumn]:
    """Decode references whose positions are those of several columns after one another.

    Args:
        request: The references of all columns.
        counts: How many of them each column has.
        spec: The pixels of all.
        empty: Takes memory for a column's array.
        max_workers: Threads.
    """
    parts = [FrameRows(count, "this column", empty=empty) for count in counts]
    output = BatchOutput(request.columns, ColumnRows(parts, counts))
    _decode(request, spec, output, max_workers)
    found, first = [], 0
    for part, count in zip(parts, counts, strict=True):
        errors = {
            slot - first: error for slot, error in output.errors.items() if first <= slot < first + count
        }
        if part.mismatch is not None:
            raise part.mismatch
        if part.array is not None:
            for slot in errors:
                part.array[slot] = 0
        found.append(DecodedColumn(part.array, errors))
        first += count
    return found


def decode_list(request: BatchRequest, spec: PixelSpec, *, max_workers: int) -> BatchOutput:
    """Decode references, each frame into an array of its own.

    Args:
        request: The references.
        spec: The pixels of all.
        max_workers: Threads.
    """
    output = BatchOutput(request.columns)
    _decode(request, spec, output, max_workers)
    return output


def _decode(request: BatchRequest, spec: PixelSpec, output: BatchOutput, max_workers: int) -> None:
    from mediaref_ursa._decode.execute import make_engine

    with working():
        load_images(request, spec, output)
        if request.has_videos:
            engine = make_engine("pyav", spec)
            strategy = BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK
            decode_videos(request, strategy, engine, output, max_workers=max_workers)
