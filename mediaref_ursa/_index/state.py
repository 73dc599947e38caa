"""Search for the frame index of a video, and its comparison with the video."""

from __future__ import annotations

import os

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.uris import is_data, is_remote
from mediaref_ursa._index.found import FoundIndex, find_index_with
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa.store._location import Location


def find_index(uri: str, index_dir: str | os.PathLike[str] | None = None) -> FoundIndex:
    """Return the index of a video, found next to it or in the cache directory, with its state.

    Args:
        uri: The video.
        index_dir: Look in this directory only, and not next to the video nor in the cache directory.

    Raises:
        MissingExtraError: Lance or PyAV is not installed.
        InvalidReferenceError: A data URI, next to which nothing can stand.
        MediaNotFoundError: There is neither such a file nor an index of that name.
        StoreError: The video cannot be read.
    """
    if is_data(uri):
        raise InvalidReferenceError("expected a path or URL of a video, found a data URI", uri=uri)
    return find_index_with(LanceFrameIndex, Location(uri), index_dir)


def require_writable_location(uri: str) -> None:
    """Refuse a location that cannot hold an index.

    Raises:
        InvalidReferenceError: The video is served over HTTP.
    """
    if is_remote(uri):
        raise InvalidReferenceError(
            "expected a location that an index can be written to, found an HTTP URL; write it next to the "
            "file before it is uploaded",
            uri=uri,
        )
