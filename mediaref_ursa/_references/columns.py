"""References as columns: the input of resolving and planning."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import InvalidReferenceError


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


References: TypeAlias = (
    Iterable[ReferenceLike | Mapping[str, Any]] | Mapping[str, Iterable[Any]] | ArrowTable | DataFrame
)
"""A sequence of ``MediaRef`` or of dicts; two columns; a column or a table of Arrow, pandas or Polars."""


@dataclass(frozen=True)
class ReferenceColumns:
    """References as columns.

    Attributes:
        uris: ``n`` URIs.
        pts_ns: int64 ``(n,)``; 0 where the reference is to an image.
        is_image: bool ``(n,)``.
    """

    uris: list[str]
    pts_ns: Int64Array
    is_image: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.uris)

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


def reference_columns(refs: References | Any) -> ReferenceColumns:
    """Return the columns of any input that holds references; the only function that decides its kind.

    Args:
        refs: Objects with ``uri`` and ``pts_ns``, or dicts of the two, in any iterable; an Arrow
            struct array or chunked array of the two; a table (of Arrow, pandas, Polars) with exactly one
            column of such, or with columns ``uri`` and ``pts_ns``; a dict of these two columns.

    Raises:
        TypeError: Something else.
        ValueError: A reference that is None, or has no URI; a table with no column of references, or several.
    """
    if is_table_of_arrow(refs):
        refs = column_of_table(refs)
    if _is_arrow(refs) and hasattr(refs, "type") and not hasattr(refs, "as_py"):
        from mediaref_ursa._references.arrow import struct_array_to_columns

        return ReferenceColumns(*struct_array_to_columns(refs))
    if hasattr(refs, "itertuples") and hasattr(refs, "columns"):
        return _of_frame(refs)
    if isinstance(refs, Mapping) and _is_column(refs.get("uri")):
        return _of_two_columns(refs["uri"], refs.get("pts_ns"))
    if isinstance(refs, (str, bytes)):
        raise TypeError(
            f"expected a sequence of references, found {type(refs).__name__}; "
            "make it a MediaRef(uri, pts_ns), and wrap one in a list"
        )
    if (
        isinstance(refs, Mapping)
        or hasattr(refs, "pts_ns")
        or not isinstance(refs, Iterable)
        or _is_arrow(refs)
    ):
        raise TypeError(f"expected a sequence of references, found {type(refs).__name__}; wrap one in a list")
    return _of_pairs([_pair(ref, position) for position, ref in enumerate(refs)])


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


def column_of_table(table: Any) -> Any:
    """Return the one column of references of a table that Arrow reads, or its columns uri and pts_ns as one.

    Raises:
        InvalidReferenceError: No column of it holds references, or several do.
    """
    from mediaref_ursa._references.arrow import reference_columns_in, rows_as_structs, table_of

    table = table_of(table)
    found = reference_columns_in(table)
    chosen = _chosen(table.column_names, found)
    return rows_as_structs(table) if chosen is None else table.column(chosen)


def _of_frame(frame: Any) -> ReferenceColumns:
    """Return the references of a pandas DataFrame, as :func:`column_of_table` does."""
    if not len(frame):
        return _of_pairs([])
    columns = [frame.iloc[:, position] for position in range(frame.shape[1])]
    found = [position for position, column in enumerate(columns) if _holds_references(column)]
    chosen = _chosen(list(frame.columns), found)
    if chosen is not None:
        return reference_columns(columns[chosen])
    return _of_two_columns(frame["uri"], frame.get("pts_ns"))


def _chosen(names: list[Any], found: list[int]) -> int | None:
    """Return the position of the column of references; None if each row is a reference."""
    if len(found) == 1 and not {"uri", "pts_ns"} <= set(names):
        return found[0]
    if not found and "uri" in names:
        return None
    raise InvalidReferenceError(
        "expected a table with one column of references, or with the columns uri and pts_ns, found "
        f"{'both, or several,' if found else 'neither'} among the columns {', '.join(map(str, names))}; "
        f"pass the column itself, such as table[{names[found[0]] if found else 'frame'!r}]"
    )


def _holds_references(column: Any) -> bool:
    first = next((value for value in column if not _is_null(value)), None)
    return (isinstance(first, Mapping) and "uri" in first) or hasattr(first, "pts_ns")


def _is_column(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and not hasattr(value, "as_py")


def is_table_of_arrow(refs: Any) -> bool:
    """Whether an input is an Arrow table or parts of one. DataFrames are not, as they may hold objects."""
    is_table = hasattr(refs, "columns") or hasattr(refs, "schema")
    return is_table and hasattr(refs, "__arrow_c_stream__") and not hasattr(refs, "itertuples")


def _is_arrow(refs: Any) -> bool:
    return type(refs).__module__.partition(".")[0] == "pyarrow"


def _pair(ref: Any, position: int) -> tuple[str, int | None]:
    ref = ref.as_py() if hasattr(ref, "as_py") else ref  # a row of Arrow
    if isinstance(ref, Mapping):
        uri, pts_ns = ref.get("uri"), ref.get("pts_ns")
    else:
        uri, pts_ns = getattr(ref, "uri", None), getattr(ref, "pts_ns", None)
    uri = uri.as_py() if uri is not None and hasattr(uri, "as_py") else uri
    if not uri or not isinstance(uri, str):
        raise ValueError(f"expected a reference with a uri at position {position}, found {ref!r:.200}")
    return uri, None if _is_null(pts_ns) else _whole(pts_ns, position)


def _is_null(value: Any) -> bool:
    """Whether a value is None, the null of pandas, or a null of Arrow. NaN is a wrong number and no null."""
    value = value.as_py() if hasattr(value, "as_py") else value
    return value is None or type(value).__name__ == "NAType"


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
