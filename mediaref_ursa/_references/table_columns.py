"""Columns of references of a table: which ones are decoded, and their rows that are not null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._references.arrow import reference_columns_in
from mediaref_ursa._references.columns import ReferenceColumns, reference_columns

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.compute as pc


@dataclass(frozen=True)
class NullableColumn:
    """A column of references some rows of which may be null.

    Attributes:
        refs: The references of the other rows.
        is_null: bool ``(rows,)``.
    """

    refs: ReferenceColumns
    is_null: npt.NDArray[np.bool_]

    @classmethod
    def from_arrow(cls, column: pa.Array | pa.ChunkedArray) -> NullableColumn:
        """Return the references of a column of Arrow.

        Raises:
            InvalidReferenceError: It holds something else.
        """
        is_null = np.asarray(pc.is_null(column), dtype=np.bool_)
        kept = column.drop_null() if is_null.any() else column
        return cls(reference_columns(kept), is_null)

    @classmethod
    def from_rows(cls, rows: Sequence[Any]) -> NullableColumn:
        """Return the references of rows of Python.

        Raises:
            TypeError: They hold something else.
            ValueError: A row holds something else.
        """
        is_null = np.array([row is None for row in rows], dtype=np.bool_)
        return cls(reference_columns([row for row in rows if row is not None]), is_null)

    def row_slots(self) -> list[Int64Array | None]:
        """Return the slots of each row's references; None of a null row."""
        count = int((~self.is_null).sum())
        lengths = np.ones(count, np.int64) if self.refs.lengths is None else self.refs.lengths
        ends = np.cumsum(lengths)
        slots = iter([np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)])
        return [None if null else next(slots) for null in self.is_null.tolist()]

    def check_complete(self, name: str) -> None:
        """Refuse null rows.

        Raises:
            InvalidReferenceError: There is one.
        """
        if self.is_null.any():
            raise InvalidReferenceError(
                f"expected a reference in every row of the column {name}, found null in row "
                f"{int(np.argmax(self.is_null))} of the batch; pass on_error='none'"
            )


def reference_names(table: pa.Table, columns: Any) -> dict[str, str]:
    """Return the column of references for each key of a sample.

    Args:
        table: The table.
        columns: A dict of both, one name or several, which are keys as well, or None for all columns that
            hold references.

    Raises:
        InvalidReferenceError: There is no such column, or it holds no references.
    """
    names = table.column_names
    found = [names[position] for position in reference_columns_in(table)]
    if columns is None:
        chosen = {name: name for name in found}
    elif isinstance(columns, str):
        chosen = {columns: columns}
    elif isinstance(columns, dict):
        chosen = dict(columns)
    else:
        chosen = {name: name for name in columns}
    if not chosen or (wrong := [name for name in chosen.values() if name not in found]):
        raise InvalidReferenceError(
            f"expected columns of references, structs of uri and pts_ns or lists of them, found "
            f"{wrong if chosen else 'none'} among the columns {names}"
        )
    return chosen
