"""Where the files of this library stand: next to the media they describe, or in a directory for many.

The frame index of a video stands in one of these locations, and is looked for in this order. Each has one
word, which ``LanceFrameIndex.location`` and ``mediaref-ursa inspect --json`` give:

1. ``beside``: next to the video, at :func:`lance_frame_index_uri`.
2. ``hidden``: in the folder ``.mediaref`` next to the video, at :func:`hidden_frame_index_uri`.
   Programs that guess from file names what a folder holds do not see it there.
3. ``collection``: in the rows of a collection, a table for many videos: the one that the environment names
   (``MEDIAREF_URSA_INDEX``), else ``.mediaref/index.lance`` in the video's folder or the nearest above it.
4. ``cache``: in this user's cache directory, named by :func:`frame_index_name`.

``index_dir`` is a directory that the caller names. No other location is then looked at.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from typing import Final, Literal, TypeAlias

from mediaref_ursa._core.etags import is_strong
from mediaref_ursa._core.redaction import without_credentials
from mediaref_ursa._core.uris import is_cloud, is_data, is_local, split_blob, without_query

__all__ = ["IndexLocation", "frame_index_name", "hidden_frame_index_uri", "lance_frame_index_uri"]

IndexLocation: TypeAlias = Literal["beside", "hidden", "collection", "cache", "index_dir"]
"""The word for where a frame index stands."""

SIDECAR: Final = "beside"
HIDDEN: Final = "hidden"
COLLECTION: Final = "collection"
CACHE: Final = "cache"
INDEX_DIR: Final = "index_dir"
HIDDEN_FOLDER = ".mediaref"
INDEX_SUFFIX = ".lance"
COLLECTION_NAME = "index.lance"
COLLECTION_KEY = "mediaref_ursa_collection"  # of the schema's metadata, which a manifest contains

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
        raise ValueError("expected a path or URL, found a data URI: no index can be next to it")
    return f"{without_query(uri)}{INDEX_SUFFIX}"


def hidden_frame_index_uri(uri: str) -> str:
    """Return the URI of the hidden frame index of a video: ``.mediaref/<name>.lance`` in its folder.

    Query and fragment are left out as in :func:`lance_frame_index_uri`.

    Args:
        uri: A path, or a URI that is no data URI.

    Raises:
        ValueError: A data URI, or a URI that names a host or a bucket alone: neither is in a folder.

    >>> hidden_frame_index_uri("recordings/a.mp4")
    'recordings/.mediaref/a.mp4.lance'
    >>> hidden_frame_index_uri("s3://bucket/takes/a.mp4")
    's3://bucket/takes/.mediaref/a.mp4.lance'
    """
    folder, name = _split(lance_frame_index_uri(uri))
    if not is_local(uri) and not folder:
        raise ValueError("expected a URI of a file in a bucket or a folder, found that of a bucket or a host")
    return f"{folder}{HIDDEN_FOLDER}/{name}"


def _split(uri: str) -> tuple[str, str]:
    """Return the folder of a URI, up to and with its last slash, and the name in it; a host has no folder."""
    start = re.match(r"[a-z][a-z0-9+.-]+://|file:|", uri, re.IGNORECASE)
    assert start is not None
    folder, slash, name = uri[start.end() :].rpartition("/")
    if start[0].endswith("://") and not slash:
        return "", uri
    return f"{start[0]}{folder}{slash}", name


def index_locations(uri: str) -> tuple[IndexLocation, ...]:
    """Return where the frame index of a video is looked for, in order.

    Lance reads and writes next to local videos and those of cloud stores. Next to others, such as those that
    are served over HTTP or in a table of Lance, nothing is looked for.

    >>> index_locations("takes/a.mp4") == (SIDECAR, HIDDEN, COLLECTION, CACHE)
    True
    >>> index_locations("https://host/a.mp4")
    ('collection', 'cache')
    """
    if not (is_local(uri) or is_cloud(uri)) or split_blob(uri) is not None:
        return (COLLECTION, CACHE)
    in_folder = is_local(uri) or _split(uri)[0]
    return (SIDECAR, HIDDEN, COLLECTION, CACHE) if in_folder else (SIDECAR, COLLECTION, CACHE)


def collections_above(uri: str) -> tuple[str, ...]:
    """Return where the collection of a video's folder may be, the nearest first; none for HTTP.

    That of a blob of a Lance table is in the table itself.

    >>> collections_above("/data/takes/a.mp4")
    ('/data/takes/.mediaref/index.lance', '/data/.mediaref/index.lance', '/.mediaref/index.lance')
    >>> collections_above("s3://bucket/a.mp4")
    ('s3://bucket/.mediaref/index.lance',)
    >>> collections_above("/data/set.lance/@video/takes/a.mp4")
    ('/data/set.lance',)
    """
    blob = split_blob(uri)
    if blob is not None:
        return (blob[0],)
    if not (is_local(uri) or is_cloud(uri)):
        return ()
    folder, found = _split(without_query(uri))[0], []
    while folder:
        found.append(f"{folder}{HIDDEN_FOLDER}/{COLLECTION_NAME}")
        folder = _split(folder.rstrip("/"))[0] if folder.rstrip("/") else ""
    return tuple(found)


def described_video(index: str) -> tuple[str, IndexLocation]:
    """Return the video of the frame index at a path or URI with ``.lance``, and the location's word.

    >>> described_video("takes/a.mp4.lance") == ("takes/a.mp4", SIDECAR)
    True
    >>> described_video("takes/.mediaref/a.mp4.lance")
    ('takes/a.mp4', 'hidden')
    """
    video = index.removesuffix(INDEX_SUFFIX)
    folder, slash, name = video.rpartition("/")
    parent, _, last = folder.rpartition("/")
    if slash and last == HIDDEN_FOLDER and not parent.endswith(":/"):
        return f"{folder.removesuffix(HIDDEN_FOLDER)}{name}", HIDDEN
    return video, SIDECAR


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
    if is_local(uri) and split_blob(uri) is None:
        pass
    elif is_strong(etag):
        version.append(etag)
    else:
        version += [etag, None if modified is None else repr(modified), uri if location != uri else None]
    digest = hashlib.sha256(json.dumps([location, *version]).encode("utf-8", "surrogatepass")).hexdigest()
    readable = _ODD_LETTERS.sub("_", posixpath.basename(location))[-_DISPLAYED_CHARACTERS:].lstrip(".")
    return f"{readable}-{digest[:_DIGEST_CHARACTERS]}.lance"
