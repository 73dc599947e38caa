"""Frames by the rows of a table: rows are null, one reference, or a list of references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mediaref_ursa._batch.column_decoder import ColumnDecoder
from mediaref_ursa._batch.frame_shapes import Shape, frame_shapes
from mediaref_ursa._batch.resolve import ResolvedBatch, resolve_batch
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError, UnsupportedMediaError
from mediaref_ursa._decode.buffer_pool import buffers
from mediaref_ursa._images.encode import ImageEncoder
from mediaref_ursa._references.columns import ReferenceColumns
from mediaref_ursa._references.table_columns import NullableColumn

ERROR = "_error"
"""What follows the name of a column in the name of that with its errors."""


@dataclass(frozen=True)
class RowFrames:
    """The frames of a column of references.

    Attributes:
        name: The column.
        frames: ``(n, ...)``, or one array for each reference, None where there is none.
        errors: The error of each frame that is missing, by slot.
        row_slots: The slots of each row; None of a null row.
        is_list: Whether rows are lists of references.
        empty: The shape of a frame where none is known.
    """

    name: str
    frames: Any
    errors: Mapping[int, MediaRefError]
    row_slots: Sequence[Int64Array | None]
    is_list: bool
    empty: Shape

    def frame(self, slot: int) -> Any:
        """Return the frame of a slot, None where it is missing."""
        return None if slot in self.errors else self.frames[slot]

    def frames_of(self, slots: Int64Array | None) -> list[Any]:
        """Return the frames of a row, None where they are missing."""
        return [None] if slots is None else [self.frame(slot) for slot in slots.tolist()]

    def window(self, number: int) -> np.ndarray[Any, Any]:
        """Return the frames of a row that is a list as one array, zeros where they are missing.

        Raises:
            UnsupportedMediaError: They have several shapes or types.
        """
        slots = self.row_slots[number]
        shape, dtype = self.default
        if slots is None:
            return np.zeros((0, *shape), dtype)
        found = [frame for frame in self.frames_of(slots) if frame is not None]
        kinds = {(frame.shape, str(frame.dtype)) for frame in found}
        if len(kinds) > 1:
            raise UnsupportedMediaError(
                f"expected frames of one shape in row {number} of the column {self.name}, found "
                f"{', '.join(sorted(f'{kind} {size}' for size, kind in kinds))}; pass "
                "resize=(height, width)"
            )
        if found:
            shape, dtype = found[0].shape, found[0].dtype
        row = np.zeros((len(slots), *shape), dtype)
        for position, frame in enumerate(self.frames_of(slots)):
            if frame is not None:
                row[position] = frame
        return row

    @cached_property
    def default(self) -> tuple[Shape, np.dtype[Any]]:
        """The shape and the type of frames that are missing: those of the others where these have one."""
        if isinstance(self.frames, np.ndarray):
            return self.frames.shape[1:], self.frames.dtype
        found = [frame for frame in self.frames if frame is not None]
        shapes = {frame.shape for frame in found}
        dtype = found[0].dtype if found else np.dtype(np.uint8)
        return shapes.pop() if len(shapes) == 1 else self.empty, dtype

    def images(self, encoder: ImageEncoder) -> list[Any]:
        """Return the bytes of an image file for each row, or of lists a list of them; None where missing."""
        rows: list[Any] = []
        for slots in self.row_slots:
            images = [None if frame is None else encoder.encode(frame) for frame in self.frames_of(slots)]
            rows.append(images[0] if slots is None or not self.is_list else images)
        return rows

    def error_texts(self) -> list[str | None]:
        """Return the first error of each row as text, None where all frames are there."""
        texts: list[str | None] = []
        for slots in self.row_slots:
            failed = [] if slots is None else [slot for slot in slots.tolist() if slot in self.errors]
            error = "a null row" if slots is None else None
            if failed:
                first = self.errors[failed[0]]
                error = f"{type(first).__name__}: {first}"
            texts.append(error)
        return texts


def check_new_columns(names: Mapping[str, str], taken: Iterable[str], on_error: str) -> None:
    """Refuse names of new columns, of frames or of errors, that other columns have.

    Args:
        names: The column of references for each column of frames.
        taken: The columns that there are.
        on_error: With ``"none"`` each column of frames has one of errors.

    Raises:
        InvalidReferenceError: A name is taken.
    """
    added = [name for name, column in names.items() if name != column]
    if on_error == "none":
        added += [f"{name}{ERROR}" for name in names]
    if both := sorted(set(added) & set(taken)):
        raise InvalidReferenceError(f"expected names of new columns, found {both}, which are there")


def shapes_of(decoder: ColumnDecoder, refs: ReferenceColumns) -> tuple[set[Shape] | None, ResolvedBatch]:
    """Return the shapes of the frames of a column, None where they are not known, and its frames."""
    request = decoder.request([refs])
    resolved = resolve_batch(request)
    return frame_shapes(request, resolved, decoder.spec), resolved


def decode_rows(decoder: ColumnDecoder, columns: Mapping[str, NullableColumn]) -> dict[str, RowFrames]:
    """Decode columns of references by one plan: into one array each where all frames have one shape.

    Raises:
        InvalidReferenceError: A null row, with ``on_error="raise"``.
        MediaRefError: The first reference that fails, with ``on_error="raise"``.
    """
    if decoder.on_error == "raise":
        for name, column in columns.items():
            column.check_complete(name)
    refs = [column.refs for column in columns.values()]
    found = _decoded(decoder, refs)
    return {
        name: RowFrames(
            name,
            [None] * len(column.refs) if frames is None else frames,
            errors,
            column.row_slots(),
            column.refs.lengths is not None,
            decoder.spec.shape(0, 0),
        )
        for (name, column), (frames, errors) in zip(columns.items(), found, strict=True)
    }


def _decoded(
    decoder: ColumnDecoder, refs: Sequence[ReferenceColumns]
) -> list[tuple[Any, Mapping[int, MediaRefError]]]:
    """Return the frames and the errors of each column."""
    shapes = [shapes_of(decoder, part)[0] for part in refs]
    if all(found is not None and len(found) == 1 for found in shapes):
        return [(column.frames, column.errors) for column in decoder.decode(refs, buffers.empty)]
    output = decoder.decode_each(refs)
    ends = np.cumsum([len(part) for part in refs]).tolist()
    ranges = [range(end - len(part), end) for end, part in zip(ends, refs, strict=True)]
    return [
        (
            [output.frames.get(slot) for slot in slots],
            {slot - slots.start: output.errors[slot] for slot in slots if slot in output.errors},
        )
        for slots in ranges
    ]
