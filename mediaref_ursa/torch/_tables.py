"""Tables that data sets read: of Arrow in memory, and of files that are read where they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.uris import absolute_location, is_local
from mediaref_ursa._index.row_tables import read_rows
from mediaref_ursa._references.arrow import table_of
from mediaref_ursa.lerobot import LeRobotRefs, is_data_set
from mediaref_ursa.store._location import Location

DEFAULTS = BatchOptions()


def open_table(
    source: Any, columns: Sequence[str] | None = None, options: BatchOptions = DEFAULTS
) -> pa.Table:
    """Return a table of Arrow, in one piece; texts that repeat are stored once.

    Args:
        source: A table that Arrow reads, or the path or URI of a Parquet file, of a folder of them, or of a
            Lance table (``.lance``); or a LeRobot data set, by its root or a ``LeRobotRefs``.
        columns: Those to read; all without it.
        options: The store, the storage options and the access by which files are read.

    Raises:
        MediaNotFoundError: There is no such file.
        CorruptMediaError: It is no table.
        InvalidReferenceError: Arrow does not read the object.
    """
    if isinstance(source, LeRobotRefs):
        table = source.refs()
    elif not isinstance(source, str | os.PathLike):
        table = table_of(source)
    elif is_data_set(os.fspath(source)):
        table = LeRobotRefs(
            source, store=options.store, storage_options=options.storage_options, access=options.access
        ).refs()
    else:
        table = read_rows(_location(os.fspath(source), options), columns)
    if columns is not None:
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise InvalidReferenceError(f"expected the columns {missing}, found {table.column_names}")
        table = table.select(list(columns))
    return table.combine_chunks()


def _location(uri: str, options: BatchOptions) -> Location:
    """Return where a table is; the caller names it, so that it need not lie within ``base_dir``.

    A caller's store is that of the media: a path is one of this machine all the same.
    """
    store = None if is_local(uri) else options.store
    return Location(absolute_location(uri), store, options.storage_options, options.access)


def values_of(column: pa.ChunkedArray, rows: Int64Array) -> Any:
    """Return the values of some rows: a tensor of numbers and of lists of one length, else a list."""
    taken = column.take(pa.array(rows)).combine_chunks()
    if isinstance(taken, pa.ChunkedArray):
        taken = taken.chunk(0) if taken.num_chunks else pa.array([], column.type)
    numbers = _numbers(taken)
    return taken.to_pylist() if numbers is None else torch.from_numpy(numbers)


def _numbers(array: Any) -> np.ndarray[Any, Any] | None:
    kind = array.type
    if array.null_count:
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return np.array(array.to_numpy(zero_copy_only=False))
    if pa.types.is_fixed_size_list(kind):
        inner = _numbers(array.flatten())
        return None if inner is None else inner.reshape(len(array), kind.list_size, *inner.shape[1:])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = np.unique(array.value_lengths().to_numpy(zero_copy_only=False))
        inner = _numbers(array.flatten()) if len(lengths) == 1 else None
        return None if inner is None else inner.reshape(len(array), int(lengths[0]), *inner.shape[1:])
    return None
