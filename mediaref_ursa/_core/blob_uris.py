"""URIs of blobs in Lance tables: ``<table>.lance/@<column>/<key>``. Pure.

The table is a path or a URI like any other. Behind it stand the column, and the key of the row,
percent-encoded (RFC 3986) whatever the table is: so the same text follows a relative path, ``file://`` and
``s3://``, and a table that is copied or moved needs no more than another prefix.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import is_data, split_blob, without_query

KEY_COLUMN = "key"
"""The column of keys, where a URI names none."""

_TABLE_SUFFIX = ".lance"
_KEPT_IN_KEYS = "/@:=+,"
# Tools that join paths drop these: a slash that begins or ends a key or follows another, and parts that are
# dots alone.
_LOST_SLASH = re.compile(r"(?<=/)/|^/|/$")
_DOTS = re.compile(r"(?:(?<=/)|^)\.{1,2}(?=/|$)")


@dataclass(frozen=True)
class BlobUri:
    """A blob of a Lance table, as a URI names it.

    Attributes:
        table: The path or URI of the table.
        column: The column of blobs.
        key: The key of the row, as text.
        key_column: The column that holds the keys.
    """

    table: str
    column: str
    key: str
    key_column: str = KEY_COLUMN

    def __str__(self) -> str:
        named = quote(self.column, safe="")
        if self.key_column != KEY_COLUMN:
            named += f":{quote(self.key_column, safe='')}"
        return f"{self.table}/@{named}/{_quoted_key(self.key)}"

    @classmethod
    def parse(cls, uri: str) -> BlobUri:
        """Take the URI of a blob apart.

        Query and fragment of a URI with a scheme are left out.

        Raises:
            InvalidReferenceError: It names no blob, or its percent-encoding is none of UTF-8.

        >>> BlobUri.parse("sets/train.lance/@video/takes/a%20b.mp4")
        BlobUri(table='sets/train.lance', column='video', key='takes/a b.mp4', key_column='key')
        """
        parts = split_blob(uri)
        if parts is None:
            raise InvalidReferenceError(
                "expected a blob of a Lance table, such as set.lance/@video/a.mp4, found another URI", uri=uri
            )
        table, named = parts
        columns, _, key = named.removeprefix("/@").partition("/")
        column, colon, key_column = columns.partition(":")
        found = cls(
            table, _unquoted(column, uri), _unquoted(key, uri), _unquoted(key_column, uri) or KEY_COLUMN
        )
        if not found.column or (colon and not key_column):
            raise InvalidReferenceError(
                "expected the name of a column behind '/@', and behind ':' if there is one, found none",
                uri=uri,
            )
        return found


@set_module("mediaref_ursa")
def blob_uri(
    table: str | os.PathLike[str], column: str, key: str | int, *, key_column: str = KEY_COLUMN
) -> str:
    """Return the URI of a blob in a Lance table: ``<table>.lance/@<column>/<key>``.

    Args:
        table: The path or URI of the table; its name ends in ``.lance``.
        column: The column that holds the blobs.
        key: The value of the key column in the blob's row.
        key_column: The column by whose values rows are found. One of another name stands in the URI, as
            ``@<column>:<key column>``.

    Raises:
        ValueError: A table whose name ends otherwise, a data URI, a query, or a name that is empty or cannot
            be written as UTF-8.

    Example:
        >>> from mediaref_ursa import blob_uri
        >>> blob_uri("train.lance", "video", "takes/a b.mp4")
        'train.lance/@video/takes/a%20b.mp4'
        >>> blob_uri("s3://bucket/pictures.lance", "image", 17, key_column="id")
        's3://bucket/pictures.lance/@image:id/17'
    """
    place = os.fspath(table).rstrip("/")
    if is_data(place) or not place.endswith(_TABLE_SUFFIX) or without_query(place) != place:
        raise ValueError(f"expected a table whose name ends in {_TABLE_SUFFIX}, found {place[:100]!r}")
    if split_blob(f"{place}/@a/b") != (place, "/@a/b"):
        raise ValueError(f"expected a table that is in no blob of another, found {place[:100]!r}")
    found = BlobUri(place, column, str(key), key_column)
    if not (found.column and found.key and found.key_column):
        raise ValueError("expected a column, a key and a column of keys, found an empty one")
    try:
        return str(found)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected a column and a key that UTF-8 can write, found {error.object!a}"
        ) from error


def _quoted_key(key: str) -> str:
    quoted = _DOTS.sub(lambda dots: dots[0].replace(".", "%2E"), quote(key, safe=_KEPT_IN_KEYS))
    return _LOST_SLASH.sub("%2F", quoted)


def _unquoted(text: str, uri: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError as error:
        raise InvalidReferenceError(
            "expected the column and the key of a blob in the percent-encoding of UTF-8, found other bytes",
            uri=uri,
        ) from error
