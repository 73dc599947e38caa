"""References to and from columns of tables, as whole columns.

Needs pyarrow, which the ``video`` extra brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import from_json

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._references.columns import column_of_table, is_table_of_arrow
from mediaref_ursa._references.media_ref import MediaRef, trusted_refs

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["from_arrow", "to_arrow"]

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def to_arrow(refs: Iterable[MediaRef]) -> pa.StructArray:
    """Return the references as an Arrow array ``struct<uri: string, pts_ns: int64>``.

    Args:
        refs: References, in order. ``pts_ns`` of an image is null.

    Raises:
        TypeError: Something else than a ``MediaRef``.
        LimitExceededError: More than 2 GiB of URIs.
        MissingExtraError: pyarrow is not installed.

    >>> to_arrow([MediaRef("a.mp4", 5), MediaRef("b.png")]).to_pylist()
    [{'uri': 'a.mp4', 'pts_ns': 5}, {'uri': 'b.png', 'pts_ns': None}]
    """
    with needs_extra("video"):
        from mediaref_ursa._references.arrow import refs_to_struct_array
    refs = refs if isinstance(refs, list | tuple) else list(refs)
    strangers = {type(ref).__name__ for ref in refs if not isinstance(ref, MediaRef)}
    if strangers:
        raise TypeError(f"expected references, found {', '.join(sorted(strangers))}")
    return refs_to_struct_array([ref.uri for ref in refs], [ref.pts_ns for ref in refs])


def from_arrow(array: pa.Array | pa.ChunkedArray | pa.Table) -> list[MediaRef]:
    """Return the references in a column.

    Args:
        array: An array or chunked array of structs with the fields ``uri`` and ``pts_ns``, or of JSON
            strings as ``model_dump_json`` writes them. URIs may be dictionary-encoded; times may be any
            integers that fit, or durations or timestamps in nanoseconds. Further fields are dropped. A table
            with one such column of structs, or with the columns ``uri`` and ``pts_ns``.

    Raises:
        InvalidReferenceError: The column is of another type, or a row holds no reference: null, or
            without a valid ``uri``. The message has the row's number.
        MissingExtraError: pyarrow is not installed.

    >>> import pyarrow as pa
    >>> from_arrow(pa.array(['{"uri":"a.mp4","pts_ns":5}']))
    [MediaRef(uri='a.mp4', pts_ns=5)]
    """
    with needs_extra("video"):
        from mediaref_ursa._references.arrow import is_string_array, strings_of, struct_array_to_columns
    if is_table_of_arrow(array):
        array = column_of_table(array)
    if is_string_array(array):
        return _from_json_rows(strings_of(array))
    uris, pts_ns, is_null = struct_array_to_columns(array)
    times: list[int | None] = pts_ns.tolist()
    for row in is_null.nonzero()[0].tolist():
        times[row] = None
    return trusted_refs(uris, times)


def _from_json_rows(rows: list[str | None]) -> list[MediaRef]:
    """Return the references of JSON rows; rows not plainly valid go through the model for its error."""
    uris: list[str] = []
    times: list[int | None] = []
    for number, text in enumerate(rows):
        if text is None:
            raise InvalidReferenceError(
                f"expected a reference in every row, found a null row at row {number}"
            )
        uri, pts = _plain_fields(text) or _validated_fields(text, number)
        uris.append(uri)
        times.append(pts)
    return trusted_refs(uris, times)


def _plain_fields(text: str) -> tuple[str, int | None] | None:
    try:
        fields = from_json(text)
        uri, pts = fields["uri"], fields.get("pts_ns")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    plain_uri = type(uri) is str and uri and "\0" not in uri
    plain_pts = pts is None or (type(pts) is int and _INT64_MIN <= pts <= _INT64_MAX)
    return (uri, pts) if plain_uri and plain_pts else None


def _validated_fields(text: str, row: int) -> tuple[str, int | None]:
    try:
        ref = MediaRef.model_validate_json(text)
    except ValidationError as error:
        raise InvalidReferenceError(
            f"expected a reference in every row, found at row {row}: {error}"
        ) from error
    return ref.uri, ref.pts_ns
