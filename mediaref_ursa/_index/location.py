"""Where the frame index of a video stands: next to it, hidden, or in a directory for many."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mediaref_ursa._cache.folder import CacheFolder
from mediaref_ursa._cache.settings import cache_directory
from mediaref_ursa._core.errors import MediaNotFoundError, StoreError
from mediaref_ursa._core.uris import absolute_location, is_local
from mediaref_ursa.layout import (
    HIDDEN,
    INDEX_DIR,
    SIDECAR,
    IndexLocation,
    frame_index_name,
    hidden_frame_index_uri,
    lance_frame_index_uri,
)
from mediaref_ursa.store import ObjectInfo
from mediaref_ursa.store._location import Location

_FOLDER_NAME = "frame_indexes"
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def index_folder() -> Path:
    """Return this user's folder of indexes, in the cache directory."""
    return cache_directory() / _FOLDER_NAME


def index_uri(
    video: Location,
    where: IndexLocation,
    info: ObjectInfo | None = None,
    index_dir: str | os.PathLike[str] | None = None,
) -> str:
    """Return the URI of a video's index in one of the locations of :mod:`mediaref_ursa.layout`.

    Args:
        video: The video.
        where: The word of the location.
        info: What stands at the video's URI; a directory for many has a name for each version of a video.
        index_dir: The directory of ``index_dir``.
    """
    if where == SIDECAR:
        return lance_frame_index_uri(video.uri)
    if where == HIDDEN:
        return hidden_frame_index_uri(video.uri)
    return index_in_cache_dir(video.uri, info, index_dir if where == INDEX_DIR else None)


def index_in_cache_dir(
    video: str, info: ObjectInfo | None, index_dir: str | os.PathLike[str] | None = None
) -> str:
    """Return the location of a video's index in the cache directory or in ``index_dir``.

    Args:
        video: An absolute path or a URI.
        info: The object at the URI; None if that is only the name of a video of several files.
        index_dir: A directory, or the URI of one in a cloud store; this user's own without it.
    """
    folder = absolute_location(index_dir if index_dir is not None else index_folder())
    if info is None:
        name = frame_index_name(video)
    else:
        name = frame_index_name(video, length=info.size, etag=info.etag, modified=info.modified)
    return f"{folder.rstrip('/')}/{name}"


def info_of(video: Location) -> ObjectInfo | None:
    """Return the object at a URI, None if the URI is only the name of a video of several files.

    Raises:
        InvalidReferenceError: It may not be read.
        StoreError: That cannot be known.
    """
    try:
        return video.open_store().head(video.uri)
    except MediaNotFoundError:
        return None


def make_index_folder(index_dir: str | os.PathLike[str] | None = None) -> None:
    """Make the directory of :func:`index_in_cache_dir`; the user's own is readable by this user alone.

    Raises:
        StoreError: It cannot be made, belongs to another user, or others may write in it.
    """
    if index_dir is not None:
        if is_local(os.fspath(index_dir)):
            _make(Path(absolute_location(index_dir)))
        return
    folder = index_folder()
    try:
        CacheFolder(folder.parent).make()
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise _cannot_make(folder, error) from error
    _make(folder, mode=0o700)
    check_index_folder()


def check_index_folder() -> None:
    """Refuse the user's index folder if other users may write in it: their indexes would be used.

    Raises:
        StoreError: It belongs to another user, or others may write in it.
    """
    folder = index_folder()
    try:
        found = folder.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS_MAY_WRITE:
        raise StoreError(
            f"expected a directory that only you (user {os.geteuid()}) may write in, found one of user "
            f"{found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}: {folder}; remove it, or name "
            "another directory for indexes with index_dir="
        )


def _make(folder: Path, mode: int = 0o777) -> None:
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(folder, error) from error


def _cannot_make(folder: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    return StoreError(
        f"cannot make the directory for frame indexes {folder}: {reason}; name another with index_dir="
    )
