"""The schema of a collection: its columns, its version, its root, and URIs relative to that. No I/O."""

from __future__ import annotations

import json
import posixpath
from typing import Any

from mediaref_ursa._core.errors import (
    FrameIndexInvalidError,
    FrameIndexVersionError,
    InvalidReferenceError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import absolute_location, is_data, scheme_of
from mediaref_ursa.layout import COLLECTION_KEY, COLLECTION_NAME, HIDDEN_FOLDER

with needs_extra("video"):
    import pyarrow as pa

VERSION = (1, 0)
BLOBS = "@"  # begins a root that is a column of blobs of the same table
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string()),
        pa.field("segment_idx", pa.int64()),
        pa.field("segment_count", pa.int64()),
        pa.field("segment_uri", pa.string()),
        pa.field("written_ns", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("frames", pa.int64()),
        pa.field("packets", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("segment", pa.large_binary()),
    ]
)
"""Documented column by column in ``docs/index-format.md``; a table may have more columns than these."""

_NO_COLLECTION = "the table is no collection of frame indexes"


class OtherTableError(FrameIndexInvalidError):
    """A table of another kind stands where a collection was expected."""


def check_schema(schema: pa.Schema, uri: str) -> None:
    """Refuse a table that is no collection, or of a newer version; columns that are not known are ignored.

    Raises:
        FrameIndexInvalidError: It lacks a column, or has it with another type.
        FrameIndexVersionError: A newer version of this library wrote it.
    """
    value = _metadata(schema, uri)
    try:
        major = int(str(value["version"]).split(".", maxsplit=1)[0])
    except (KeyError, ValueError) as error:
        raise _no_collection(f"its metadata has no version ({error!r})", uri) from error
    if major > VERSION[0]:
        raise FrameIndexVersionError(
            f"expected a collection of version {VERSION[0]}.x, found {value['version']!s:.20}; upgrade "
            "mediaref-ursa, or write the collection anew",
            uri=uri,
        )
    for column in SCHEMA:
        found = schema.field(column.name).type if column.name in schema.names else None
        if found != column.type:
            raise _no_collection(f"expected the column {column.name} of {column.type}, found {found}", uri)


def _metadata(schema: pa.Schema, uri: str) -> dict[str, Any]:
    text = (schema.metadata or {}).get(COLLECTION_KEY.encode())
    if text is None:
        raise OtherTableError(
            f"{_NO_COLLECTION}: its metadata has no {COLLECTION_KEY}; is it the index of one video?", uri=uri
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_collection(f"its metadata is no JSON value ({error!r:.100})", uri) from error
    if not isinstance(value, dict):
        raise _no_collection("its metadata is no JSON object", uri)
    return value


def _no_collection(what: str, uri: str) -> FrameIndexInvalidError:
    return FrameIndexInvalidError(f"{_NO_COLLECTION}: {what}", uri=uri)


def checked_root(schema: pa.Schema, uri: str) -> str:
    """Return the absolute root that a collection records: a URI, or a path relative to its own folder.

    Where the table holds the media as well, it is a column of its own blobs.
    """
    root = _metadata(schema, uri).get("root", ".")
    if not isinstance(root, str) or is_data(root):
        raise _no_collection(f"its root is {root!r:.100}", uri)
    if scheme_of(root) or posixpath.isabs(root):
        return absolute_location(root).rstrip("/") or "/"
    if root.startswith(BLOBS):
        return f"{uri}/{root}"
    if root not in (".", ".."):
        raise _no_collection(f"its root is {root!r:.100}, which is neither absolute, '.' nor '..'", uri)
    folder = uri.rpartition("/")[0]
    return (folder if root == "." else folder.rpartition("/")[0]) or "/"


def recorded_root(location: str, root: str | None) -> str:
    """Return the root as the table records it: its own folder goes along when both are moved."""
    folder = location.rpartition("/")[0]
    if root is None:
        return ".." if location.endswith(f"/{HIDDEN_FOLDER}/{COLLECTION_NAME}") else "."
    absolute = absolute_location(root).rstrip("/") or "/"
    if absolute == folder:
        return "."
    return ".." if absolute == folder.rpartition("/")[0] else absolute


def relative_to(root: str, uri: str) -> str:
    """Return an absolute URI relative to a folder, where it is below that.

    >>> relative_to("/data", "/data/a/b.mp4"), relative_to("/data", "/other/b.mp4")
    ('a/b.mp4', '/other/b.mp4')
    >>> relative_to("s3://bucket/set", "s3://bucket/set/b.mp4")
    'b.mp4'
    """
    start = root.rstrip("/") + "/"
    if not uri.startswith(start) or scheme_of(uri) != scheme_of(root):
        return uri
    relative = uri[len(start) :]
    return f"./{relative}" if scheme_of(relative) or posixpath.isabs(relative) else relative


def checked_text(text: str, uri: str) -> str:
    """Return a text that a row can hold.

    Raises:
        InvalidReferenceError: It has letters that are no Unicode text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidReferenceError(
            "expected a URI of Unicode text, found bytes that are no UTF-8, which no collection can hold; "
            "write a frame index next to this video instead",
            uri=uri,
        ) from error
    return text
