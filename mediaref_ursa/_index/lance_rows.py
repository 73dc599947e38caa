"""Rows of a frame index as segments: columns become numpy arrays once, and each segment slices them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import FrameIndexInvalidError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._model.index_metadata import SegmentEntry
from mediaref_ursa._model.segment import UNKNOWN, PacketTable, SegmentTable

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.compute as pc

PACKET_FIELDS = [
    pa.field("decode_idx", pa.int64()),
    pa.field("offset", pa.int64()),
    pa.field("size", pa.int64()),
    pa.field("crc32", pa.uint32()),
    pa.field("is_reference", pa.bool_()),
    pa.field("is_corrupt", pa.bool_()),
    pa.field("is_keyframe", pa.bool_()),
]
_FRAME_FIELDS = ("segment_idx", "pts", "duration", "start_decode_idx")
_NEVER_OUTPUT = "hidden_packets"


class SegmentRows:
    """The rows of several consecutive segments.

    Args:
        table: The rows, with all columns of the index; that of packets never output may be missing.
        first_segment: The number of the first segment.
        uri: The index, named in errors.
    """

    def __init__(self, table: pa.Table, first_segment: int, uri: str) -> None:
        self._uri = uri
        self._next_segment, self._next_row = first_segment, 0
        self._count = table.num_rows
        self._frames = {
            name: ints(table, name) for name in ("segment_idx", "pts", "duration", "start_decode_idx")
        }
        self._timestamp = floats(table, "timestamp")
        displayed = table.select([field.name for field in PACKET_FIELDS])
        self._displayed = _packet_columns(displayed)
        self._never_output, self._never_output_ends = None, np.zeros(self._count + 1, dtype=np.int64)
        if _NEVER_OUTPUT in table.column_names:
            lists = table.column(_NEVER_OUTPUT).combine_chunks()
            counts = ints_of(pc.list_value_length(lists), 0)
            np.cumsum(counts, out=self._never_output_ends[1:])
            self._never_output = _packet_columns(
                pa.Table.from_arrays(lists.flatten().flatten(), schema=displayed.schema)
            )

    def take(self, entry: SegmentEntry) -> SegmentTable:
        """Return the next segment.

        Raises:
            FrameIndexInvalidError: Its rows cannot be true.
        """
        number, first = self._next_segment, self._next_row
        last = first + entry.frames
        self._next_segment, self._next_row = number + 1, last
        if last > self._count or (self._frames["segment_idx"][first:last] != number).any():
            raise FrameIndexInvalidError(
                f"expected {entry.frames} rows of segment {number} after {first} others", uri=self._uri
            )
        return SegmentTable(
            info=entry.info,
            pts=self._frames["pts"][first:last],
            duration=self._frames["duration"][first:last],
            timestamp=self._timestamp[first:last],
            packet=self._displayed["decode_idx"][first:last],
            start=self._frames["start_decode_idx"][first:last],
            packets=self._packets(entry, first, last),
        )

    def _packets(self, entry: SegmentEntry, first: int, last: int) -> PacketTable:
        """Return displayed and never output packets of some rows in decode order."""
        columns = {name: column[first:last] for name, column in self._displayed.items()}
        if self._never_output is not None and entry.packets != entry.frames:
            begin, end = self._never_output_ends[[first, last]].tolist()
            columns = {
                name: np.concatenate([column, self._never_output[name][begin:end]])
                for name, column in columns.items()
            }
        decode_idx = columns.pop("decode_idx")
        order = np.argsort(decode_idx, kind="stable")
        if len(order) != entry.packets or (decode_idx[order] != np.arange(entry.packets)).any():
            raise FrameIndexInvalidError(
                f"expected packets numbered from 0 to {entry.packets - 1}, each once", uri=self._uri
            )
        return PacketTable(
            offset=columns["offset"][order],
            size=columns["size"][order],
            crc32=columns["crc32"][order],
            is_reference=columns["is_reference"][order],
            is_corrupt=columns["is_corrupt"][order],
            is_keyframe=columns["is_keyframe"][order],
        )


def _packet_columns(table: pa.Table) -> Mapping[str, npt.NDArray[Any]]:
    reference = table.column("is_reference").combine_chunks()
    return {
        "decode_idx": ints(table, "decode_idx"),
        "offset": ints(table, "offset"),
        "size": ints(table, "size"),
        "crc32": ints(table, "crc32", null=UNKNOWN),
        "is_reference": ints_of(reference.cast(pa.int8()), UNKNOWN).astype(np.int8),
        "is_corrupt": _bools(table, "is_corrupt"),
        "is_keyframe": _bools(table, "is_keyframe"),
    }


def ints(table: pa.Table, name: str, null: int = UNKNOWN) -> Int64Array:
    """Return a column of integers, with ``null`` for missing values."""
    return ints_of(table.column(name), null)


def ints_of(column: pa.ChunkedArray | pa.Array, null: int) -> Int64Array:
    """Return an Arrow array of integers, with ``null`` for missing values."""
    if column.null_count:
        column = column.cast(pa.int64()).fill_null(null)
    return np.array(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return a column of floats, with NaN for missing values."""
    return np.array(
        table.column(name).cast(pa.float64()).fill_null(float("nan")).to_numpy(), dtype=np.float64
    )


def _bools(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = ints_of(table.column(name).cast(pa.int8()), 0) != 0
    return found
