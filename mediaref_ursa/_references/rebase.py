"""``rebase``: references of tables that were written where the media had other locations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mediaref_ursa._core.public import set_module
from mediaref_ursa._references.columns import (
    is_arrow_input,
    is_column,
    is_data_frame,
    is_of_pyarrow,
    is_table_of_arrow,
    reference_column_name,
)
from mediaref_ursa._references.media_ref import MediaRef
from mediaref_ursa._references.prefixes import Prefixes, rebaser


@set_module("mediaref_ursa")
def rebase(refs: Any, prefixes: Prefixes, *, column: str | None = None) -> Any:
    """Return references with the first part of their URIs replaced: of media that moved.

    Args:
        refs: A ``MediaRef`` or a URI; a sequence of these, of dicts with ``uri``, of JSON objects with it, or
            of lists of them; an Arrow or pandas column of any of these; a table.
        prefixes: From what a URI begins with to what it is to begin with: folders, buckets, hosts. Of several
            that fit, the longest counts. A prefix ends where a part of the path does: ``/data/a`` is none of
            ``/data/ab.mp4``. A plain path also is the prefix of a ``file://`` URI; of a path of Windows, what
            follows is written with slashes.
        column: The name of a table's column of references or of URIs; found by its contents without it, or
            the column ``uri``.

    Returns:
        As ``refs``: one reference, a list, a column or a table; of tables and columns of other libraries that
            Arrow reads (Polars, DuckDB), one of Arrow. URIs that no prefix fits, data URIs and all other
            columns and fields stay as they are; JSON is written without spaces.

    Raises:
        TypeError: A prefix or its replacement that is no text or path, or something else than references.
        InvalidReferenceError: A column or a table without references.

    Example:
        >>> from mediaref_ursa import MediaRef, rebase
        >>> rebase([MediaRef("/home/them/data/a.mp4", 5)], {"/home/them/data": "media"})
        [MediaRef(uri='media/a.mp4', pts_ns=5)]
        >>> rebase("s3://old/x.mp4", {"s3://old": "s3://new/video"})
        's3://new/video/x.mp4'
    """
    change = rebaser(prefixes)
    if is_data_frame(refs):
        name = reference_column_name(refs, column)
        changed = refs.copy(deep=False)
        changed[name] = rebase(refs[name], prefixes)
        return changed
    if isinstance(refs, Mapping) and not isinstance(refs.get("uri"), str):  # a dict of columns
        name = column or "uri"
        if not is_column(refs.get(name)):
            raise TypeError(
                f"expected a reference, or a dict with a column {name!r}, found the keys {list(refs)}"
            )
        return {**refs, name: rebase(refs[name], prefixes)}
    if not hasattr(refs, "iloc") and is_arrow_input(refs):
        return _arrow_changed(refs, _with_json(change), column)
    if column is not None:
        raise TypeError(f"expected a table for column={column!r}, found {type(refs).__name__}")
    if isinstance(refs, str | MediaRef | Mapping):
        return _changed(refs, _with_json(change))
    if hasattr(refs, "map") and hasattr(refs, "iloc"):  # a column of pandas
        return refs.map(lambda ref: _changed(ref, _with_json(change)), na_action="ignore")
    if isinstance(refs, bytes) or not hasattr(refs, "__iter__"):
        raise TypeError(f"expected references, a column or a table of them, found {type(refs).__name__}")
    return [_changed(ref, _with_json(change)) for ref in refs]


def _changed(ref: Any, change: Callable[[str], str]) -> Any:
    if isinstance(ref, str):
        return change(ref)
    if isinstance(ref, MediaRef):
        return MediaRef(change(ref.uri), ref.pts_ns)
    if isinstance(ref, Mapping) and isinstance(ref.get("uri"), str):
        return {**ref, "uri": change(ref["uri"])}
    if is_column(ref):
        return [_changed(one, change) for one in ref]
    raise TypeError(f"expected a reference, a dict with uri or a URI, found {type(ref).__name__}")


def _with_json(change: Callable[[str], str]) -> Callable[[str], str]:
    """Return the change of a URI as one of texts, which may be JSON of a reference or of lists of them."""

    def changed(text: str) -> str:
        if not text.lstrip().startswith(("{", "[")):
            return change(text)
        try:
            value = json.loads(text)
        except ValueError:
            return change(text)
        return json.dumps(_changed(value, change), ensure_ascii=False, separators=(",", ":"))

    return changed


def _arrow_changed(refs: Any, change: Callable[[str], str], name: str | None) -> Any:
    """Return a column or a table that Arrow reads, as one of Arrow, with its URIs changed."""
    from mediaref_ursa._references.arrow import as_table, column_of, table_of, with_uris_changed

    if is_table_of_arrow(refs):
        table = table_of(refs)
    else:
        column = refs if is_of_pyarrow(refs) else column_of(refs)
        table = None if is_of_pyarrow(refs) else as_table(column)
        if table is None:
            if name is not None:
                raise TypeError(f"expected a table for column={name!r}, found a column of {column.type}")
            return with_uris_changed(column, change)
    position = table.column_names.index(reference_column_name(table, name))
    changed = with_uris_changed(table.column(position), change)
    return table.set_column(position, table.field(position).with_type(changed.type), changed)
