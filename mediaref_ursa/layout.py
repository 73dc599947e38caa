"""Names of frame indexes: next to the video they describe, or in a directory for many."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re

from mediaref_ursa._core.etags import is_strong
from mediaref_ursa._core.redaction import without_credentials
from mediaref_ursa._core.uris import is_data, is_local, without_query

__all__ = ["frame_index_name", "lance_frame_index_uri"]

_ODD_LETTERS = re.compile(r"[^A-Za-z0-9._-]+")
_DISPLAYED_CHARACTERS = 60
_DIGEST_CHARACTERS = 32


def lance_frame_index_uri(uri: str) -> str:
    """Return the URI of the frame index of the video at ``uri``: ``<uri>.lance``.

    Query and fragment of a URI with a scheme are left out: they sign or select, and name no other
    file. In a plain path ``?`` and ``#`` are letters like any others.

    Args:
        uri: A path, or a URI that is no data URI.

    Raises:
        ValueError: A data URI has no location next to it.

    >>> lance_frame_index_uri("recordings/a.mp4")
    'recordings/a.mp4.lance'
    >>> lance_frame_index_uri("https://host/a.mp4?X-Amz-Signature=1#t=3")
    'https://host/a.mp4.lance'
    """
    if is_data(uri):
        raise ValueError("expected a path or URL, found a data URI: no file can be next to it")
    return f"{without_query(uri)}.lance"


def frame_index_name(
    uri: str, *, length: int | None = None, etag: str | None = None, modified: float | None = None
) -> str:
    """Return the name of a video's frame index in a directory that holds those of many videos.

    Two versions of one object have two names. The entity tag distinguishes them where the store gives a
    strong one; else the length, the time of change and a weak tag do, and the query counts, since it may be
    what chooses the object. Of a local file, which may be copied together with its index, only the length
    counts. No name contains a query or credentials.

    Args:
        uri: An absolute path, or a URI that is no data URI.
        length: Bytes of the object, None where ``uri`` is no object but the name of a video of several.
        etag: The store's entity tag.
        modified: Seconds since the epoch of the object's last change.

    Raises:
        ValueError: A data URI is the video itself, and has no index.

    >>> frame_index_name("https://host/videos/a.mp4?signature=1", length=5, etag='"abc"')
    'a.mp4-83ce600a441db739cf264203519e50c4.lance'
    """
    if is_data(uri):
        raise ValueError("expected a path or URL, found a data URI, which has no frame index")
    location = without_query(without_credentials(uri))
    version: list[object] = [length]
    if is_local(uri):
        pass
    elif is_strong(etag):
        version.append(etag)
    else:
        version += [etag, None if modified is None else repr(modified), uri if location != uri else None]
    digest = hashlib.sha256(json.dumps([location, *version]).encode("utf-8", "surrogatepass")).hexdigest()
    readable = _ODD_LETTERS.sub("_", posixpath.basename(location))[-_DISPLAYED_CHARACTERS:].lstrip(".")
    return f"{readable}-{digest[:_DIGEST_CHARACTERS]}.lance"
