"""References in the tables of NWB files, such as ``nwbfile.trials``: columns of JSON texts.

Needs pynwb: ``pip install 'mediaref-ursa[nwb]'``. A column of texts opens in every reader of NWB, without an
extension. :meth:`mediaref_ursa.LazyVideo.from_nwb` opens the videos of NWB files, without this module.
``docs/nwb.md`` has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._model.access import Access
from mediaref_ursa._references.columns import (
    arrow_column,
    is_arrow_input,
    is_null,
    reference_columns,
)
from mediaref_ursa._references.json_rows import json_references
from mediaref_ursa._references.media_ref import MediaRef
from mediaref_ursa.store._local import location_of

with needs_extra("nwb"):
    import pyarrow as pa
    from hdmf.common import DynamicTable, VectorData, VectorIndex

    from mediaref_ursa._lazy.nwb import next_to, source_of, text_of, values_of
    from mediaref_ursa._references.arrow import STRUCT_TYPE, refs_to_struct_array

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._model.access import AccessOptions
    from mediaref_ursa._references.columns import References

__all__ = ["add_refs", "read_refs"]

_DESCRIPTION = (
    "References to video frames and images, as JSON: uri, and pts_ns, the time of the frame in nanoseconds "
    "in its file. Relative paths begin at the folder of this file. Empty where there is none."
)


@set_module("mediaref_ursa.nwb")
def add_refs(table: Any, refs: References, name: str = "media_ref", description: str = _DESCRIPTION) -> None:
    """Add references to a table of an NWB file, as a column of texts.

    Each reference is the JSON of :meth:`MediaRef.model_dump_json`. Rows that are lists of references become a
    ragged column, which NWB writes as two: the texts, and ``<name>_index``.

    Args:
        table: A ``DynamicTable``, such as ``nwbfile.trials``, with its rows.
        refs: A reference for each row, as :func:`mediaref_ursa.batch_decode` takes them, such as those of
            :meth:`mediaref_ursa.LazyVideo.refs`; or a list of them for each row. A row that is None, or null
            in Arrow, has no reference, and its text is empty; in the ragged form its list is empty.
        name: The name of the column.
        description: The description of the column.

    Raises:
        TypeError: No ``DynamicTable``, or no references.
        ValueError: Another number of rows than the table has, or a column of that name; a row that is no
            reference; of lists, one that is None, or nothing but empty ones.

    Example:
        >>> from hdmf.common import DynamicTable
        >>> events = DynamicTable(name="events", description="...", id=[0, 1, 2])
        >>> add_refs(events, [MediaRef("clip.mp4", 0), None, MediaRef("photo.png")])
        >>> events["media_ref"][0]
        '{"uri":"clip.mp4","pts_ns":0}'
        >>> read_refs(events, base_dir=".")[1].as_py() is None
        True
    """
    _check_table(table)
    if name in table.colnames:
        raise ValueError(
            f"expected the name of a new column of {table.name!r}, found {name!r} among its columns "
            f"{', '.join(table.colnames)}; pass another name="
        )
    texts, ends = _texts_of(refs)
    rows = len(texts) if ends is None else len(ends)
    if rows != len(table.id):
        raise ValueError(
            f"expected {len(table.id)} references or lists of them, one for each row of {table.name!r}, "
            f"found {rows}"
        )
    with _mapped_errors(table, name):
        ragged = {} if ends is None else {"index": ends}
        table.add_column(name=name, description=description, data=texts, **ragged)


@set_module("mediaref_ursa.nwb")
def read_refs(table: Any, name: str = "media_ref", **access: Unpack[AccessOptions]) -> pa.Array:
    """Return the references in a column of a table of an NWB file.

    Args:
        table: A ``DynamicTable``, such as ``nwbfile.trials``, of a file that is open.
        name: The name of the column.
        **access: ``base_dir``, where relative paths begin: without it at the folder of the NWB file, or else
            at the working directory. With it, local paths that lead out of it are refused, unless
            ``allow_outside_base``; all further options are as :func:`mediaref_ursa.batch_decode` has them.

    Returns:
        ``struct<uri: string, pts_ns: int64>`` for each row, null where the text is empty; a list of these
        of a ragged column. ``batch_decode`` takes it; drop nulls first (``drop_null()``).

    Raises:
        TypeError: No ``DynamicTable``.
        InvalidReferenceError: No such column; no column of texts; a text that is no reference, with its row;
            a path that leads out of ``base_dir``.
        StoreError: The NWB file was closed.

    Example:
        >>> from hdmf.common import DynamicTable
        >>> events = DynamicTable(name="events", description="...", id=[0, 1])
        >>> add_refs(events, [[MediaRef("clip.mp4", 0), MediaRef("clip.mp4", 5)], []])
        >>> read_refs(events, base_dir="/data").to_pylist()
        [[{'uri': '/data/clip.mp4', 'pts_ns': 0}, {'uri': '/data/clip.mp4', 'pts_ns': 5}], []]
    """
    allowed = Access.from_only_options("read_refs", access)
    _check_table(table)
    if name not in table.colnames:
        raise InvalidReferenceError(
            f"expected a column {name!r} of {table.name!r}, found the columns {', '.join(table.colnames)}",
            uri=source_of(table),
        )
    column = table[name]
    ends = None
    if isinstance(column, VectorIndex):
        ends = values_of(table, column.data, f"the index of column {name!r}").astype(np.int64)
        column = column.target
    texts = _texts_in(table, column, name)
    _check_ends(table, ends, len(texts), name)
    structs = _structs(texts, _rows_of(ends, len(texts)), source_of(table), allowed)
    if ends is None:
        return structs
    with _mapped_errors(table, name):
        return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), pa.int32()), structs)


def _check_table(table: Any) -> None:
    if not isinstance(table, DynamicTable):
        raise TypeError(
            f"expected a DynamicTable, such as nwbfile.trials, found {type(table).__name__}"
            + ("; the file has no such table yet" if table is None else "")
        )


def _texts_of(refs: References) -> tuple[list[str], Int64Array | None]:
    """Return references as JSON, empty texts for nulls, and the end of each row where rows are lists."""
    given, is_missing = _without_nulls(refs)
    columns = reference_columns(given)
    found = (MediaRef(uri, columns.time_of(slot)) for slot, uri in enumerate(columns.uris))
    texts = [ref.model_dump_json() for ref in found]
    if columns.lengths is None:
        rest = iter(texts)
        return ["" if missing else next(rest) for missing in is_missing] if is_missing.any() else texts, None
    if is_missing.any():
        raise InvalidReferenceError(
            f"expected a list of references in every row, found none at row {int(np.argmax(is_missing))}; an "
            "empty list has no reference"
        )
    if not texts and len(columns.lengths):
        raise ValueError("expected at least one reference in the lists, found none: NWB has no such columns")
    return texts, np.cumsum(columns.lengths, dtype=np.int64)


def _without_nulls(refs: Any) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return references without null rows, and which rows were null, of a column; tables as they are."""
    if is_arrow_input(refs):
        column = arrow_column(refs)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        return column.drop_null(), np.asarray(column.is_null())
    is_of_pandas = hasattr(refs, "iloc") and not hasattr(refs, "columns")
    if is_of_pandas or isinstance(refs, (list, tuple, np.ndarray)):
        rows = list(refs)
        is_missing = np.array([is_null(row) for row in rows], dtype=np.bool_)
        return [row for row, missing in zip(rows, is_missing, strict=True) if not missing], is_missing
    return refs, np.zeros(0, dtype=np.bool_)


def _texts_in(table: Any, column: Any, name: str) -> list[str]:
    """Return the texts of a column.

    Raises:
        InvalidReferenceError: It has other values, or is ragged twice.
    """
    found = type(column).__name__
    if type(column) is VectorData:
        values = values_of(table, column.data, f"column {name!r}")
        texts = [text_of(value) for value in values.reshape(-1).tolist()]
        if values.ndim == 1 and all(isinstance(text, str) for text in texts):
            return texts
        found = f"values of type {values.dtype} and shape {values.shape}"
    raise InvalidReferenceError(
        f"expected column {name!r} of {table.name!r} to hold texts, each a reference as JSON, or lists of "
        f"them, found {found}",
        uri=source_of(table),
    )


def _check_ends(table: Any, ends: Int64Array | None, count: int, name: str) -> None:
    """Refuse a ragged column whose lists are not its texts: Arrow would read beyond them.

    Raises:
        InvalidReferenceError: An end before the one of the row before, or another last one.
    """
    if ends is None:
        return
    bounds = np.concatenate([[0], ends])
    if (np.diff(bounds) < 0).any() or bounds[-1] != count:
        raise InvalidReferenceError(
            f"expected the index of column {name!r} of {table.name!r} to ascend to its {count} texts, found "
            "another: the NWB file is damaged",
            uri=source_of(table),
        )


def _rows_of(ends: Int64Array | None, count: int) -> Int64Array:
    """Return int64 ``(count,)``: the row of the table that each text belongs to."""
    positions = np.arange(count, dtype=np.int64)
    return positions if ends is None else np.searchsorted(ends, positions, side="right").astype(np.int64)


def _structs(texts: list[str], rows: Int64Array, source: str | None, access: Access) -> pa.StructArray:
    """Return texts as references whose relative paths are resolved, null where a text is empty."""
    slots = [slot for slot, text in enumerate(texts) if text]
    uris, times = json_references([texts[slot] for slot in slots], numbers=rows[slots].tolist())
    if access.base_dir is None:
        absolute = {uri: next_to(source, uri) for uri in set(uris)}
    else:
        absolute = {uri: location_of(uri, access) for uri in set(uris)}
    found = refs_to_struct_array([absolute[uri] for uri in uris], times)
    if len(slots) == len(texts):
        return found
    positions = np.full(len(texts), -1, dtype=np.int64)
    positions[slots] = np.arange(len(slots))
    return found.take(pa.array(positions, mask=positions < 0)).cast(STRUCT_TYPE)


@contextmanager
def _mapped_errors(table: Any, name: str) -> Iterator[None]:
    """Turn what hdmf and Arrow raise of a column into an error of the tree."""
    try:
        yield
    except MediaRefError:
        raise
    except (ValueError, TypeError, AssertionError, RuntimeError, OSError, pa.ArrowException) as error:
        raise InvalidReferenceError(
            f"column {name!r} of {table.name!r} cannot be read or added: {error}", uri=source_of(table)
        ) from error
