"""References to and from columns of tables, as whole columns.

Needs pyarrow, which the ``video`` extra brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._references.columns import Selection, is_arrow_input, reference_columns
from mediaref_ursa._references.media_ref import MediaRef, trusted_refs

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["from_arrow", "to_arrow"]


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


def from_arrow(
    array: Any,
    *,
    column: str | None = None,
    uri: str | None = None,
    pts_ns: str | None = None,
    path: str | None = None,
) -> list[Any]:
    """Return the references in a column.

    Args:
        array: An array or chunked array of structs with the fields ``uri`` and ``pts_ns``, of JSON strings as
            ``model_dump_json`` writes them, or of lists of these. URIs may be dictionary-encoded; times may
            be any integers that fit, or durations or timestamps in nanoseconds. Further fields are dropped.
            Or a table with one such column, or with the columns ``uri`` and ``pts_ns``; any object that
            Arrow reads (``__arrow_c_stream__`` or ``__arrow_c_array__``), such as those of Polars and DuckDB;
            a table or a column of pandas; rows of Python. All that :func:`mediaref_ursa.batch_decode` takes.
        column: The name of the column, where a table has several.
        uri: The name of the column of URIs, of a table with a reference in each row.
        pts_ns: The name of the column of times, next to ``uri``.
        path: The nested field of structs or of JSON objects with the reference, such as ``"media_ref"``.

    Returns:
        A list of ``MediaRef``; of a column of lists, a list of lists of them.

    Raises:
        ValueError: The column is of another type, or a row holds no reference: null, or without a valid
            ``uri``. The message has the row's number. Mostly an ``InvalidReferenceError``.
        TypeError: Something else than a table, a column or rows.
        MissingExtraError: pyarrow is not installed.

    >>> import pyarrow as pa
    >>> from_arrow(pa.array(['{"uri":"a.mp4","pts_ns":5}']))
    [MediaRef(uri='a.mp4', pts_ns=5)]
    """
    with needs_extra("video"):
        import mediaref_ursa._references.arrow  # noqa: F401 - pyarrow is needed
    found = reference_columns(array, Selection(column, uri, pts_ns, path))
    times: list[int | None] = found.pts_ns.tolist()
    for row in found.is_image.nonzero()[0].tolist():
        times[row] = None
    is_checked = is_arrow_input(array)
    refs: list[Any] = (
        trusted_refs(found.uris, times)
        if is_checked
        else [MediaRef(uri, time_ns) for uri, time_ns in zip(found.uris, times, strict=True)]
    )
    if found.lengths is None:
        return refs
    ends = found.lengths.cumsum().tolist()
    return [refs[end - length : end] for end, length in zip(ends, found.lengths.tolist(), strict=True)]
