"""``rebase``: references of tables that were written where the media had other locations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mediaref_ursa._core.public import set_module
from mediaref_ursa._references.media_ref import MediaRef
from mediaref_ursa._references.prefixes import Prefixes, rebaser


@set_module("mediaref_ursa")
def rebase(refs: Any, prefixes: Prefixes) -> Any:
    """Return references with the first part of their URIs replaced: of media that moved.

    Args:
        refs: A ``MediaRef`` or a URI; a sequence of these and of dicts with ``uri``; an Arrow or pandas
            column of references or of URIs.
        prefixes: From what a URI begins with to what it is to begin with: folders, buckets, hosts. Of several
            that fit, the longest counts. A prefix ends where a part of the path does: ``/data/a`` is none of
            ``/data/ab.mp4``. A plain path also is the prefix of a ``file://`` URI; of a path of Windows, what
            follows is written with slashes.

    Returns:
        As ``refs``: one reference, a list, or a column. URIs that no prefix fits, and data URIs, stay as they
            are.

    Raises:
        TypeError: A prefix or its replacement that is no text or path, or something else than references.

    Example:
        >>> from mediaref_ursa import MediaRef, rebase
        >>> rebase([MediaRef("/home/them/data/a.mp4", 5)], {"/home/them/data": "media"})
        [MediaRef(uri='media/a.mp4', pts_ns=5)]
        >>> rebase("s3://old/x.mp4", {"s3://old": "s3://new/video"})
        's3://new/video/x.mp4'
    """
    change = rebaser(prefixes)
    if isinstance(refs, str | MediaRef | Mapping):
        return _changed(refs, change)
    if type(refs).__module__.partition(".")[0] == "pyarrow" and hasattr(refs, "type"):
        from mediaref_ursa._references.arrow import with_uris_changed

        return with_uris_changed(refs, change)
    if hasattr(refs, "map") and hasattr(refs, "iloc"):  # a column of pandas
        return refs.map(lambda ref: _changed(ref, change), na_action="ignore")
    if isinstance(refs, bytes) or not hasattr(refs, "__iter__") or hasattr(refs, "columns"):
        raise TypeError(
            f"expected references or a column of them, found {type(refs).__name__}; pass the "
            "column of a table"
        )
    return [_changed(ref, change) for ref in refs]


def _changed(ref: Any, change: Callable[[str], str]) -> Any:
    if isinstance(ref, str):
        return change(ref)
    if isinstance(ref, MediaRef):
        return MediaRef(change(ref.uri), ref.pts_ns)
    if isinstance(ref, Mapping) and isinstance(ref.get("uri"), str):
        return {**ref, "uri": change(ref["uri"])}
    raise TypeError(f"expected a reference, a dict with uri or a URI, found {type(ref).__name__}")
