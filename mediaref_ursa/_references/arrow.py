"""Arrow columns of references: ``struct<uri: string, pts_ns: int64>``, converted as whole columns.

The only module of the references that imports pyarrow. It knows columns and rows; models are made
by ``table``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.errors import InvalidReferenceError, LimitExceededError, MediaRefError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._references.json_rows import holds_json_reference

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.compute as pc

STRUCT_TYPE = pa.struct([pa.field("uri", pa.string()), pa.field("pts_ns", pa.int64())])
"""The Arrow type of references: a plain struct, since some readers refuse extension types."""

# At its first conversion pyarrow looks for pandas, holding a lock that a forked child would wait for. Within
# this import a fork waits for it: see _core/process_state.
pa.array([], pa.string())

_ROWS_LOOKED_AT = 1024
_NANOSECONDS = (pa.duration("ns"), pa.timestamp("ns"))


def refs_to_struct_array(uris: Sequence[str], pts_ns: Sequence[int | None]) -> pa.StructArray:
    """Return a struct array of ``STRUCT_TYPE`` from one sequence a field.

    Raises:
        InvalidReferenceError: A value that is no string or no int64.
        LimitExceededError: More than 2 GiB of URIs, which one such array cannot hold.
    """
    with _mapped_errors():
        uri_column = pa.array(uris, type=pa.string())
        if isinstance(uri_column, pa.ChunkedArray):
            raise LimitExceededError("expected at most 2 GiB of URIs in one array; convert them in parts")
        pts_column = pa.array(pts_ns, type=pa.int64())
        return pa.StructArray.from_arrays([uri_column, pts_column], fields=list(STRUCT_TYPE))


def is_string_array(array: Any) -> bool:
    """Return whether ``array`` is a column of strings, dictionary-encoded or not.

    Raises:
        TypeError: It is no array of Arrow.
    """
    if not isinstance(array, pa.Array | pa.ChunkedArray):
        raise TypeError(f"expected an Arrow array or chunked array, found {type(array).__name__}")
    kind = array.type.storage_type if isinstance(array.type, pa.BaseExtensionType) else array.type
    return _is_string(kind.value_type if pa.types.is_dictionary(kind) else kind)


def strings_of(array: Any) -> list[str | None]:
    """Return the strings of a column."""
    with _mapped_errors():
        rows: list[str | None] = _one_chunk(array).to_pylist()
        return rows


def table_of(source: Any) -> pa.Table:
    """Return a table made from a table, a record batch, a reader, or any stream of batches.

    Raises:
        InvalidReferenceError: It cannot be read.
    """
    with _mapped_errors():
        if isinstance(source, pa.RecordBatch):
            return pa.Table.from_batches([source])
        if isinstance(source, pa.Table):
            return source
        table = pa.table(source)
        table.validate(full=True)  # another library's memory
        return table


def column_of(source: Any) -> pa.Array | pa.ChunkedArray:
    """Return a column made from any object of the Arrow PyCapsule interface.

    Raises:
        InvalidReferenceError: It cannot be read.
    """
    with _mapped_errors():
        streams = hasattr(source, "__arrow_c_stream__")
        column = pa.chunked_array(source) if streams else pa.array(source)
        column.validate(full=True)  # another library's memory
        return column


def as_table(column: pa.Array | pa.ChunkedArray) -> pa.Table | None:
    """Return a column of structs as a table, unless its structs are references themselves; else None."""
    kind = column.type
    if not pa.types.is_struct(kind):
        return None
    if kind.get_field_index("uri") >= 0 and not any(_is_reference(field.type) for field in kind):
        return None
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    batches = [pa.RecordBatch.from_struct_array(chunk) for chunk in chunks]
    return pa.Table.from_batches(batches, schema=pa.schema(list(kind)))


def reference_columns_in(table: pa.Table, path: Sequence[str] = ()) -> list[int]:
    """Return the positions of the columns that hold references: structs with a uri, or lists of those.

    Where there is none of these, those of JSON objects with a uri.
    """
    found = [position for position, field in enumerate(table.schema) if _is_reference(field.type, path)]
    if found or "uri" in table.column_names:
        return found
    return [
        position
        for position, field in enumerate(table.schema)
        if _is_text(field.type) and _begins_with_json(table.column(position), path)
    ]


def rows_as_structs(table: pa.Table, uri: str = "uri", pts_ns: str | None = "pts_ns") -> pa.StructArray:
    """Return the columns of URIs and, where there is one, of times as one column of structs."""
    with _mapped_errors():
        names = {"uri": uri, "pts_ns": pts_ns}
        columns = {
            name: _one_chunk(table.column(column))
            for name, column in names.items()
            if column is not None and column in table.column_names
        }
        return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def _is_reference(arrow_type: pa.DataType, path: Sequence[str] = ()) -> bool:
    kind = arrow_type.storage_type if isinstance(arrow_type, pa.BaseExtensionType) else arrow_type
    if _is_list(kind):
        return _is_reference(kind.value_type, path)
    for name in path:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return False
        kind = kind.field(name).type
    return bool(pa.types.is_struct(kind) and kind.get_field_index("uri") >= 0)


def _is_list(kind: pa.DataType) -> bool:
    names = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(getattr(pa.types, name)(kind) for name in names if hasattr(pa.types, name))


def _is_text(arrow_type: pa.DataType) -> bool:
    kind = arrow_type.storage_type if isinstance(arrow_type, pa.BaseExtensionType) else arrow_type
    return _is_string(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _begins_with_json(column: pa.ChunkedArray, path: Sequence[str]) -> bool:
    first = next((text for text in column.slice(0, _ROWS_LOOKED_AT).to_pylist() if text is not None), "")
    return holds_json_reference(first, path)


def list_column(array: Any) -> tuple[Any, npt.NDArray[np.int64]] | None:
    """Return the values of a column of lists, end to end, and the length of each; None of other columns.

    Raises:
        InvalidReferenceError: A null list.
    """
    with _mapped_errors():
        column = _one_chunk(array)
        if not _is_list(column.type):
            return None
        _refuse(column.is_null(), "a null list")
        lengths = np.asarray(pc.list_value_length(column).cast(pa.int64()).to_numpy(zero_copy_only=False))
        return column.flatten(), lengths.astype(np.int64)


def field_at(array: Any, path: Sequence[str]) -> Any:
    """Return a nested field of a column of structs.

    Raises:
        InvalidReferenceError: A struct without the field, or null.
    """
    with _mapped_errors():
        column = _one_chunk(array)
        for name in path:
            if not pa.types.is_struct(column.type) or column.type.get_field_index(name) < 0:
                text = "; make text of it with cast(pa.string())" if _is_bytes(column.type) else ""
                raise InvalidReferenceError(
                    f"expected structs with the field {name}, found {column.type}{text}"
                )
            _refuse(column.is_null(), "a null row")
            column = pc.struct_field(column, name)
        return column


def with_uris_changed(array: Any, change: Callable[[str], str]) -> Any:
    """Return a column of references, or of URIs, whose URIs are changed; other fields stay.

    Raises:
        InvalidReferenceError: Another column.
    """
    with _mapped_errors():
        if isinstance(array, pa.Scalar):
            raise InvalidReferenceError("expected a column of references, found one row; take its as_py()")
        column = _one_chunk(array)
        if _is_text(column.type):
            return _texts_changed(column, change)
        if _is_list(column.type):
            return _lists_changed(column, change)
        if not pa.types.is_struct(column.type) or column.type.get_field_index("uri") < 0:
            raise InvalidReferenceError(f"expected a column of references or of URIs, found {column.type}")
        parts = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        parts["uri"] = _texts_changed(parts["uri"], change)
        mask = column.is_null() if column.null_count else None
        return pa.StructArray.from_arrays(list(parts.values()), names=list(parts), mask=mask)


def _lists_changed(column: Any, change: Callable[[str], str]) -> Any:
    """Return a column of lists whose URIs are changed: of the same kind, views as plain lists."""
    changed = with_uris_changed(column.flatten(), change)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    mask = column.is_null() if column.null_count else None
    if pa.types.is_fixed_size_list(column.type):
        if mask is not None:
            raise InvalidReferenceError("expected lists of one size in every row, found a null list")
        return pa.FixedSizeListArray.from_arrays(changed, column.type.list_size)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if pa.types.is_large_list(column.type):
        return pa.LargeListArray.from_arrays(pa.array(offsets), changed, mask=mask)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), changed, mask=mask)


def _texts_changed(column: Any, change: Callable[[str], str]) -> Any:
    encoded = column if pa.types.is_dictionary(column.type) else _plain(column).dictionary_encode()
    texts = [None if text is None else change(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(texts, type=encoded.dictionary.type).take(encoded.indices)


def struct_array_to_columns(
    array: pa.StructArray | pa.ChunkedArray,
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Take a struct column apart and check every row.

    Equal URIs come back as one object, so that a million references to a thousand videos hold a
    thousand strings.

    Args:
        array: Structs with a field ``uri`` (strings, also large or dictionary-encoded) and, or else all
            times are null, ``pts_ns`` (integers, or duration or timestamp in nanoseconds). Further
            fields are ignored.

    Returns:
        The URIs; the times, int64 ``(n,)``, 0 where null; where they are null, bool ``(n,)``.

    Raises:
        InvalidReferenceError: No such column, or a row that is no reference; the message has its number.
    """
    with _mapped_errors():
        column = _one_chunk(array)
        if not pa.types.is_struct(column.type) or column.type.get_field_index("uri") < 0:
            text = "; make text of JSON with cast(pa.string())" if _is_bytes(column.type) else ""
            raise InvalidReferenceError(
                f"expected struct<uri: string, pts_ns: int64>, found {column.type}{text}"
            )
        _refuse(column.is_null(), "a null row")
        fields = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        uris = _uris(fields["uri"])
        pts = _pts(fields.get("pts_ns", pa.nulls(len(column), pa.int64())))
        is_null = pts.is_null().to_numpy(zero_copy_only=False)
        return uris, pts.fill_null(0).to_numpy(zero_copy_only=False), is_null


def _one_chunk(array: Any) -> Any:
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # no chunk at all, or too much for one
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    if pa.types.is_dictionary(array.type) and not _is_text(array.type):
        return array.dictionary_decode()
    return array


def _uris(column: Any) -> list[str]:
    if not is_string_array(column):
        raise InvalidReferenceError(f"expected uri to be a column of strings, found {column.type}")
    _refuse(column.is_null(), "a null uri")
    encoded = column if pa.types.is_dictionary(column.type) else _plain(column).dictionary_encode()
    texts, codes = _plain(encoded.dictionary), encoded.indices
    for is_bad, what in (
        (texts.is_null(), "a null uri"),
        (pc.equal(pc.binary_length(texts), 0), "an empty uri"),
        (pc.match_substring(texts, "\0"), "a NUL byte in the uri"),
    ):
        _refuse(pc.take(is_bad, codes), what)
    known = texts.to_pylist()
    return [known[code] for code in codes.to_pylist()]


def _plain(strings: Any) -> Any:
    """Convert string views to strings, since few functions of Arrow take views; old ones have no cast."""
    if strings.type in (pa.string(), pa.large_string()):
        return strings
    try:
        return strings.cast(pa.large_string())
    except pa.ArrowNotImplementedError:
        return pa.array(strings.to_pylist(), pa.large_string())


def _pts(column: Any) -> Any:
    if column.type in _NANOSECONDS or pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.int64())
    raise InvalidReferenceError(
        f"expected pts_ns to be int64 nanoseconds, found {column.type}; seconds become such with "
        "pts_ns_from_seconds; whole numbers with gaps stay such in pandas with the dtype Int64"
    )


def _is_string(arrow_type: Any) -> bool:
    names = ("is_string", "is_large_string", "is_string_view")
    return any(getattr(pa.types, name)(arrow_type) for name in names if hasattr(pa.types, name))


def _is_bytes(arrow_type: Any) -> bool:
    names = ("is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary")
    return any(getattr(pa.types, name)(arrow_type) for name in names if hasattr(pa.types, name))


def _refuse(is_bad: Any, what: str) -> None:
    row = pc.index(is_bad, True).as_py()
    if row >= 0:
        raise InvalidReferenceError(f"expected a reference in every row, found {what} at row {row}")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except MediaRefError:
        raise
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError) as error:
        raise InvalidReferenceError(f"the column holds no references: {error}") from error
