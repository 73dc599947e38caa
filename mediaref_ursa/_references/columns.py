"""References as columns: the input of resolving and planning."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._references.json_rows import (
    holds_json_list,
    holds_json_reference,
    json_references,
    json_values,
    path_parts,
)
from mediaref_ursa._references.prefixes import Prefixes, rebaser


class ReferenceLike(Protocol):
    """Protocol of an object with the two fields of a reference: a ``MediaRef``, or a row of another table."""

    @property
    def uri(self) -> str:
        """The media."""

    @property
    def pts_ns(self) -> int | None:
        """Nanoseconds in the container; None for an image."""


class ArrowTable(Protocol):
    """A table or a column that Arrow reads: of pyarrow, Polars, DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule (the Arrow PyCapsule interface)."""


class DataFrame(Protocol):
    """A table of pandas."""

    @property
    def columns(self) -> Any:
        """The names of its columns."""

    def itertuples(self) -> Any:
        """Iterate over its rows."""


class ArrowArray(Protocol):
    """An array or a record batch that Arrow reads: of nanoarrow, or others."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Return capsules (the Arrow PyCapsule interface)."""


RefLike: TypeAlias = ReferenceLike | Mapping[str, Any]
References: TypeAlias = (
    Iterable[RefLike]
    | Iterable[Sequence[RefLike]]
    | Mapping[str, Iterable[Any]]
    | ArrowTable
    | ArrowArray
    | DataFrame
)
"""A sequence of ``MediaRef`` or of dicts, or of lists of them; two columns; a column or a table of Arrow,
pandas, Polars or DuckDB."""


@dataclass(frozen=True)
class ReferenceColumns:
    """References as columns.

    Attributes:
        uris: ``n`` URIs.
        pts_ns: int64 ``(n,)``; 0 where the reference is to an image.
        is_image: bool ``(n,)``.
        lengths: int64 ``(rows,)``, how many of them each row has, of rows that are lists; None of single
            ones.
    """

    uris: list[str]
    pts_ns: Int64Array
    is_image: npt.NDArray[np.bool_]
    lengths: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.uris)

    def take(self, positions: Int64Array) -> ReferenceColumns:
        """Return some of the references, as single ones."""
        uris = [self.uris[position] for position in positions.tolist()]
        return ReferenceColumns(uris, self.pts_ns[positions], self.is_image[positions])

    def time_of(self, slot: int) -> int | None:
        """Return a reference's ``pts_ns`` as the caller gave it."""
        return None if self.is_image[slot] else int(self.pts_ns[slot])

    def videos(self) -> dict[str, Int64Array]:
        """Return the positions of the references to each video, by URI in the order of first use."""
        positions: dict[str, list[int]] = {}
        for slot, (uri, image) in enumerate(zip(self.uris, self.is_image.tolist(), strict=True)):
            if not image:
                positions.setdefault(uri, []).append(slot)
        return {uri: np.array(slots, dtype=np.int64) for uri, slots in positions.items()}

    def rebased(self, prefixes: Prefixes | None) -> ReferenceColumns:
        """Return the columns with the prefixes of URIs replaced."""
        if not prefixes:
            return self
        change = rebaser(prefixes)
        changed = {uri: change(uri) for uri in set(self.uris)}
        return replace(self, uris=[changed[uri] for uri in self.uris])


@dataclass(frozen=True)
class Selection:
    """Which part of a table, or of its rows, holds the references.

    Attributes:
        column: The name of the column; found by its contents without it.
        uri: The name of the column of URIs, of a table with one reference a row.
        pts_ns: The name of the column of times.
        path: The nested field of structs or of JSON objects.

    Raises:
        ValueError: ``column`` together with ``uri`` or ``pts_ns``.
    """

    column: str | None = None
    uri: str | None = None
    pts_ns: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if self.column is not None and (self.uri or self.pts_ns):
            raise ValueError("expected column=, or uri= and pts_ns=, found both")
        if self.pts_ns is not None and self.uri is None:
            raise ValueError("expected uri= with pts_ns=, found pts_ns= alone")
        path_parts(self.path)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the nested field, outermost first."""
        return path_parts(self.path)

    @property
    def names_columns(self) -> bool:
        """Whether columns of a table are named."""
        return self.column is not None or self.uri is not None


EVERYTHING = Selection()


def reference_columns(refs: References | Any, select: Selection = EVERYTHING) -> ReferenceColumns:
    """Return the columns of any input that holds references; the only function that decides its kind.

    Args:
        refs: Objects with ``uri`` and ``pts_ns``, or dicts of the two, in any iterable, or lists of them; an
            Arrow column of structs of the two, of JSON, or of lists of these; a table (of Arrow, pandas,
            Polars, DuckDB) with exactly one column of such, or with columns ``uri`` and ``pts_ns``; a dict of
            these two columns; anything of the Arrow PyCapsule interface.
        select: Which column, and which field of it.

    Raises:
        TypeError: Something else.
        ValueError: A reference that is None, or has no URI; a table with no column of references, or several.
    """
    if type(refs) is list:  # mostly
        return _of_rows(refs, select)
    if isinstance(refs, ReferenceColumns):
        return refs
    if is_arrow_input(refs):
        return _of_arrow(arrow_column(refs, select), select)
    if is_data_frame(refs):
        return _of_frame(refs, select)
    if isinstance(refs, Mapping):
        refs = _columns_of_dict(refs, select)
        if isinstance(refs, ReferenceColumns):
            return refs
    if hasattr(refs, "to_table"):
        raise TypeError(
            f"expected a table in memory, found {type(refs).__name__}, which is on disk; pass what "
            "to_table(columns=[...]) gives"
        )
    if isinstance(refs, (str, bytes)):
        raise TypeError(
            f"expected a sequence of references, found {type(refs).__name__}; "
            "make it a MediaRef(uri, pts_ns), and wrap one in a list"
        )
    if (
        isinstance(refs, Mapping)
        or hasattr(refs, "pts_ns")
        or not isinstance(refs, Iterable)
        or is_of_pyarrow(refs)
    ):
        raise TypeError(f"expected a sequence of references, found {type(refs).__name__}; wrap one in a list")
    return _of_rows(list(refs), select)


def arrow_column(source: Any, select: Selection = EVERYTHING) -> Any:
    """Return the column of references of an Arrow column, a table or anything that Arrow reads.

    Raises:
        InvalidReferenceError: No column of a table holds references, or several do.
    """
    from mediaref_ursa._references.arrow import as_table, column_of

    if is_table_of_arrow(source):
        return column_of_table(source, select)
    column = source if is_of_pyarrow(source) else column_of(source)
    is_bare = is_of_pyarrow(source) or select.path is not None
    table = None if is_bare and not select.names_columns else as_table(column)
    if table is not None:
        return column_of_table(table, select)
    if select.names_columns:
        raise TypeError(f"expected a table for column= and uri=, found a column of {column.type}")
    return column


def _of_arrow(column: Any, select: Selection) -> ReferenceColumns:
    from mediaref_ursa._references.arrow import (
        field_at,
        is_string_array,
        list_column,
        strings_of,
        struct_array_to_columns,
    )

    lists = list_column(column)
    if lists is not None:
        return _in_lists(_of_arrow(lists[0], select), lists[1])
    if is_string_array(column):
        return _of_json(strings_of(column), select.parts)
    if select.parts:
        return _of_arrow(field_at(column, select.parts), EVERYTHING)
    return ReferenceColumns(*struct_array_to_columns(column))


def _of_json(rows: Sequence[str | None], path: Sequence[str] = ()) -> ReferenceColumns:
    """Return the references of texts of JSON, each a reference or a list of them."""
    if holds_json_list(next((row for row in rows if row is not None), None), path):
        return _of_lists(json_values(rows, path), EVERYTHING)
    uris, times = json_references(rows, path)
    return _of_pairs(list(zip(uris, times, strict=True)))


def _in_lists(flat: ReferenceColumns, lengths: Int64Array) -> ReferenceColumns:
    """Return references as rows of so many each.

    Raises:
        InvalidReferenceError: They are in lists already.
    """
    if flat.lengths is not None:
        raise InvalidReferenceError(
            "expected rows that are references or lists of them, found lists of lists; flatten one level"
        )
    return replace(flat, lengths=lengths)


def _of_rows(rows: list[Any], select: Selection) -> ReferenceColumns:
    """Return the references of a sequence of them, of rows with a named column, or of lists of them."""
    if select.column is not None:
        rows = [_named(row, select.column, position) for position, row in enumerate(rows)]
    elif select.uri is not None:
        times, default = (select.pts_ns, _REQUIRED) if select.pts_ns else ("pts_ns", None)
        rows = [
            {"uri": _named(row, select.uri, position), "pts_ns": _named(row, times, position, default)}
            for position, row in enumerate(rows)
        ]
    first = next((row for row in rows if not is_null(row)), None)
    if _is_list(first):
        return _of_lists(rows, select)
    if select.parts:
        return _of_rows([_at_path(row, select, i) for i, row in enumerate(rows)], EVERYTHING)
    if isinstance(first, str) and holds_json_reference(first):
        return _of_json([None if is_null(row) else row for row in rows])
    return _of_pairs([_pair(row, i) for i, row in enumerate(rows)])


def _of_lists(rows: list[Any], select: Selection) -> ReferenceColumns:
    for position, row in enumerate(rows):
        if not _is_list(row):
            raise ValueError(f"expected a list of references at position {position}, found {row!r:.200}")
    lists = [row.as_py() if hasattr(row, "as_py") else list(row) for row in rows]
    flat = _of_rows([ref for row in lists for ref in row], Selection(path=select.path))
    return _in_lists(flat, np.array([len(row) for row in lists], dtype=np.int64))


def _is_list(row: Any) -> bool:
    """Whether a row is a list of references, of Python, NumPy or Arrow; a pair (uri, time) is none."""
    if isinstance(row, np.ndarray):
        return row.ndim > 0
    if hasattr(row, "as_py"):
        return isinstance(row.as_py(), list)
    if not isinstance(row, list | tuple) or hasattr(row, "_fields"):
        return False
    return not any(isinstance(part, str | bytes) for part in row[:1])


def _at_path(row: Any, select: Selection, position: int) -> Any:
    """Return the nested field of a row, which JSON may hold."""
    if not select.parts or is_null(row):
        return row
    row = row.as_py() if hasattr(row, "as_py") else row
    if isinstance(row, str):
        return json_values([row], select.parts, position)[0]
    for name in select.parts:
        row = _named(row, name, position)
    return row


_REQUIRED: Any = object()


def _named(row: Any, name: str, position: int, default: Any = _REQUIRED) -> Any:
    """Return a value of a row by its name: of a dict or an object."""
    row = row.as_py() if hasattr(row, "as_py") else row
    found = row.get(name, default) if isinstance(row, Mapping) else getattr(row, name, default)
    if found is _REQUIRED:
        raise ValueError(f"expected rows with {name!r}, found none at position {position}: {row!r:.200}")
    return found


def _columns_of_dict(columns: Mapping[Any, Any], select: Selection) -> Any:
    """Return the references of a dict of columns; a dict that is none as it is."""
    if select.column is not None:
        if not is_column(columns.get(select.column)):
            raise InvalidReferenceError(_missing(select.column, list(columns)))
        return reference_columns(columns[select.column], Selection(path=select.path))
    uri = select.uri or "uri"
    if is_column(columns.get(uri)):
        if select.pts_ns is not None and select.pts_ns not in columns:
            raise InvalidReferenceError(_missing(select.pts_ns, list(columns)))
        return _of_two_columns(columns[uri], columns.get(select.pts_ns or "pts_ns"))
    return columns


def _of_pairs(pairs: list[tuple[str, int | None]]) -> ReferenceColumns:
    return ReferenceColumns(
        [uri for uri, _ in pairs],
        np.array([0 if time is None else time for _, time in pairs], dtype=np.int64),
        np.array([time is None for _, time in pairs], dtype=np.bool_),
    )


def _of_two_columns(uris: Any, pts_ns: Any) -> ReferenceColumns:
    """Return the references of two columns of one length, the second of which may be missing."""
    uris = list(uris)
    times = [None] * len(uris) if pts_ns is None else list(pts_ns)
    if len(times) != len(uris):
        raise ValueError(f"expected as many pts_ns as uris, found {len(times)} and {len(uris)}")
    rows = enumerate(zip(uris, times, strict=True))
    return _of_pairs([_pair({"uri": uri, "pts_ns": time}, position) for position, (uri, time) in rows])


def column_of_table(table: Any, select: Selection = EVERYTHING) -> Any:
    """Return the one column of references of a table that Arrow reads, or its columns uri and pts_ns as one.

    Raises:
        InvalidReferenceError: No column of it holds references, or several do; or one of that name is
            missing.
    """
    from mediaref_ursa._references.arrow import reference_columns_in, rows_as_structs, table_of

    table = table_of(table)
    for name in (select.column, select.uri, select.pts_ns):
        if name is not None and name not in table.column_names:
            raise InvalidReferenceError(_missing(name, table.column_names))
    if select.column is not None:
        return table.column(select.column)
    if select.uri is not None:
        return rows_as_structs(table, select.uri, select.pts_ns or "pts_ns")
    found = reference_columns_in(table, select.parts)
    chosen = _chosen(table.column_names, found)
    return rows_as_structs(table) if chosen is None else table.column(chosen)


def reference_column_name(table: Any, column: str | None = None) -> Any:
    """Return the name of the column of references of a table, or ``"uri"`` where each row is one.

    Args:
        table: Of pyarrow or of pandas.
        column: Its name, where the caller says it.

    Raises:
        InvalidReferenceError: No column of it holds references, or several do, or it lacks that name.
    """
    is_of_pandas = is_data_frame(table)
    names = list(table.columns) if is_of_pandas else table.column_names
    if column is not None:
        if column not in names:
            raise InvalidReferenceError(_missing(column, names))
        return column
    if is_of_pandas:
        found = _reference_columns_of_frame(table, EVERYTHING)
    else:
        from mediaref_ursa._references.arrow import reference_columns_in

        found = reference_columns_in(table)
    chosen = _chosen(names, found)
    return "uri" if chosen is None else names[chosen]


def _of_frame(frame: Any, select: Selection) -> ReferenceColumns:
    """Return the references of a pandas DataFrame, as :func:`column_of_table` does."""
    names = list(frame.columns)
    for name in (select.column, select.uri, select.pts_ns):
        if name is not None and name not in names:
            raise InvalidReferenceError(_missing(name, names))
    if not len(frame):
        return _of_pairs([])
    if select.column is not None:
        return reference_columns(_plain(frame[select.column]), Selection(path=select.path))
    if select.uri is not None:
        return _of_two_columns(frame[select.uri], frame.get(select.pts_ns or "pts_ns"))
    chosen = _chosen(names, _reference_columns_of_frame(frame, select))
    if chosen is not None:
        return reference_columns(_plain(frame.iloc[:, chosen]), Selection(path=select.path))
    return _of_two_columns(frame["uri"], frame.get("pts_ns"))


def _reference_columns_of_frame(frame: Any, select: Selection) -> list[int]:
    """Return the positions of the columns of a pandas DataFrame that hold references."""
    columns = (frame.iloc[:, position] for position in range(frame.shape[1]))
    return [position for position, column in enumerate(columns) if _holds_references(column, select)]


def _plain(column: Any) -> Any:
    """Return a column of pandas as one of Arrow, if it is of Arrow's types or texts; else as it is."""
    import pyarrow as pa

    if type(column.dtype).__name__ == "ArrowDtype":
        return pa.chunked_array([pa.array(column.array)]) if len(column) else pa.array(column.array)
    first = next((value for value in column if not is_null(value)), None)
    return pa.array(column) if isinstance(first, str) else column


def _missing(name: str, names: Iterable[Any]) -> str:
    return f"expected a column {name!r}, found the columns {', '.join(map(str, names))}"


def _chosen(names: list[Any], found: list[int]) -> int | None:
    """Return the position of the column of references; None if each row is a reference."""
    if len(found) == 1 and not {"uri", "pts_ns"} <= set(names):
        return found[0]
    if not found and "uri" in names:
        return None
    name = names[found[0]] if found else "frame"
    raise InvalidReferenceError(
        "expected a table with one column of references, or with the columns uri and pts_ns, found "
        f"{'both, or several,' if found else 'neither'} among the columns {', '.join(map(str, names))}; "
        f"pass column={name!r}, or the column itself, such as table[{name!r}]"
    )


def _holds_references(column: Any, select: Selection) -> bool:
    first = next((value for value in column if not is_null(value)), None)
    if first is not None and _is_list(first):
        first = next(iter(first), None)
    if isinstance(first, str):
        return holds_json_reference(first, select.parts)
    try:
        first = _at_path(first, select, 0)
    except ValueError:
        return False
    return (isinstance(first, Mapping) and "uri" in first) or hasattr(first, "pts_ns")


def is_column(value: Any) -> bool:
    """Whether a value is a column, and not a text or a value of a row."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and not hasattr(value, "as_py")


def is_data_frame(refs: Any) -> bool:
    """Whether an input is a table of pandas."""
    return hasattr(refs, "itertuples") and hasattr(refs, "columns")


def is_arrow_input(refs: Any) -> bool:
    """Whether an input is read by Arrow: its own columns and tables, and objects of the PyCapsule interface.

    DataFrames and columns of pandas are not, as they may hold objects, unless their type is of Arrow.
    """
    if is_of_pyarrow(refs):
        return not hasattr(refs, "as_py") and (hasattr(refs, "type") or is_table_of_arrow(refs))
    if hasattr(refs, "itertuples"):
        return False
    if hasattr(refs, "iloc"):
        return type(refs.dtype).__name__ == "ArrowDtype" and hasattr(refs, "__arrow_c_stream__")
    return hasattr(refs, "__arrow_c_stream__") or hasattr(refs, "__arrow_c_array__")


def is_table_of_arrow(refs: Any) -> bool:
    """Whether an input is a table of Arrow or of Polars or DuckDB, which name their columns."""
    is_table = hasattr(refs, "columns") or (hasattr(refs, "schema") and is_of_pyarrow(refs))
    return is_table and hasattr(refs, "__arrow_c_stream__") and not hasattr(refs, "itertuples")


def is_of_pyarrow(refs: Any) -> bool:
    """Whether an input is an object of pyarrow."""
    return type(refs).__module__.partition(".")[0] == "pyarrow"


def _pair(ref: Any, position: int) -> tuple[str, int | None]:
    ref = ref.as_py() if hasattr(ref, "as_py") else ref  # a row of Arrow
    if isinstance(ref, Mapping):
        uri, pts_ns = ref.get("uri"), ref.get("pts_ns")
    else:
        uri, pts_ns = getattr(ref, "uri", None), getattr(ref, "pts_ns", None)
    uri = uri.as_py() if uri is not None and hasattr(uri, "as_py") else uri
    if is_null(uri) or not isinstance(uri, str) or not uri:
        raise ValueError(f"expected a reference with a uri at position {position}, found {ref!r:.200}")
    return uri, None if is_null(pts_ns) else _whole(pts_ns, position)


def is_null(value: Any) -> bool:
    """Whether a value is None, NA or NaT of pandas, or a null of Arrow. NaN is a wrong number and no null."""
    value = value.as_py() if hasattr(value, "as_py") else value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _whole(pts_ns: Any, position: int) -> int:
    """Return a ``pts_ns`` as an int; refuse fractions and booleans."""
    pts_ns = pts_ns.as_py() if hasattr(pts_ns, "as_py") else pts_ns
    if isinstance(pts_ns, bool):
        raise TypeError(f"expected pts_ns to be a whole number at position {position}, found {pts_ns!r}")
    try:
        value = operator.index(pts_ns)
    except TypeError:
        raise TypeError(
            f"expected pts_ns to be a whole number at position {position}, found {pts_ns!r}; seconds become "
            "such with pts_ns_from_seconds; whole numbers with gaps stay such in pandas with the dtype Int64"
        ) from None
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"expected pts_ns to fit into int64 at position {position}, found {value}")
    return value
