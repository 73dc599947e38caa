"""The collection that a video is found in without being named: the environment's, or that of a folder above.

``MEDIAREF_URSA_INDEX`` names a collection that is asked first. Then the nearest ``.mediaref/index.lance`` in
the video's folder or one above it. What is read is kept, up to 64 MiB a collection, while a table on this
machine has not changed; one in a cloud store is read anew after a minute, and after a second
where it holds the media too.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Hashable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from mediaref_ursa._core.errors import FrameIndexInvalidError, FrameIndexMissingError, InvalidReferenceError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.lru import LruBytes, LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import LongLock, ShortLock
from mediaref_ursa._core.uris import absolute_location, is_local, local_path, split_blob
from mediaref_ursa._index.location import info_of
from mediaref_ursa.layout import collections_above
from mediaref_ursa.store import ObjectInfo
from mediaref_ursa.store._asked_together import videos_asked_for
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.collection_schema import OtherTableError
    from mediaref_ursa._index.collection_table import (
        CollectedVideo,
        CollectionTable,
        VideoRows,
        local_version,
        missing_collection,
    )
    from mediaref_ursa._index.packed_segment import PackedSegment

VARIABLE = "MEDIAREF_URSA_INDEX"

_KEPT_COLLECTIONS, _KEPT_FOLDERS, _READ_TOGETHER = 16, 4096, 256
_KEPT_BYTES, _BYTES_A_VIDEO = 64 << 20, 4 << 10
_FRESH_SECONDS = 60.0
_FRESH_MEDIA_SECONDS = 1.0  # of a table whose media, too, may be replaced


def collected_video(video: Location, info: ObjectInfo | None = None) -> CollectedVideo:
    """Return the rows of a video in the collection of the environment, or of its folder.

    Args:
        video: An absolute location.
        info: What its store says of it, if that is known.

    Raises:
        FrameIndexMissingError: There is no collection, or it has no such video.
        FrameIndexInvalidError: The collection is damaged, or the environment names none.
        FrameIndexVersionError: A newer version of this library wrote it.
        StoreError: It cannot be read.
    """
    named = os.environ.get(VARIABLE)
    if named:
        try:
            found = _collections.open(absolute_location(named), video, None)
        except FrameIndexMissingError as error:
            raise FrameIndexInvalidError(
                f"expected a collection at the location in {VARIABLE}, found none; correct or unset it",
                uri=error.uri,
            ) from error
        if (rows := found.rows_of(video.uri)) is not None:
            return CollectedVideo.of(found.table.uri, video.uri, rows, video.access)
    if split_blob(video.uri) is not None:
        return _packed_video(video, info)
    bounds = video.access.bounds_of_index(video.uri)
    for uri in collections_above(video.uri):
        try:
            if is_local(uri) and not _is_usable(uri, video.uri, bounds):
                continue
            found = _collections.open(uri, video, bounds)
        except FrameIndexMissingError:
            continue
        if (rows := found.rows_of(video.uri)) is not None:
            return CollectedVideo.of(uri, video.uri, rows, video.access)
        break
    raise missing_collection(video.uri)


def _packed_video(video: Location, info: ObjectInfo | None) -> CollectedVideo:
    """Return the rows of a blob in its own table, which is trusted as much as the media in it.

    The version of the blob's row is taken first, and stands in the index as the entity tag: a blob that is
    replaced meanwhile has another one, so that no read of it fits the index. Rows that are kept and describe
    another length are read anew.
    """
    (uri,) = collections_above(video.uri)
    info = info_of(video) if info is None else info
    if info is None:
        raise missing_collection(video.uri)
    try:
        for is_anew in (False, True):
            found = _collections.open(uri, video, video.access.bounds_of_index(video.uri), anew=is_anew)
            if (rows := found.rows_of(video.uri)) is None:
                break
            packed = CollectedVideo.of(uri, video.uri, rows, video.access)
            if is_anew or packed.segments[0].info.length == info.size:
                return packed.with_etag(info.etag)
    except OtherTableError:  # media without indexes
        pass
    raise missing_collection(video.uri)


def versions_above(video: str) -> tuple[str, ...]:
    """Return the paths that change when a local collection is written in which a video is looked for."""
    return _versions_above(video, os.environ.get(VARIABLE))


@functools.lru_cache(maxsize=4096)
def _versions_above(video: str, named: str | None) -> tuple[str, ...]:
    own = [absolute_location(named)] if named and is_local(named) else []
    above = [uri for uri in collections_above(video) if is_local(uri)]
    return tuple(f"{local_path(uri)}/_versions" for uri in (*own, *above))


def _is_usable(uri: str, video: str, bounds: str | None) -> bool:
    """Return whether a table is there, in a folder that may be trusted as much as the video's own.

    In a folder that many may write to, such as ``/tmp``, another user could lay down an index for all below.
    """
    try:
        hidden, own = os.stat(os.path.dirname(local_path(uri))), os.stat(os.path.dirname(local_path(video)))  # noqa: PTH116, PTH120
    except OSError:
        return False
    if not os.path.isdir(f"{local_path(uri)}/_versions"):  # noqa: PTH112
        return False
    if bounds is not None:
        folder = Path(os.path.realpath(local_path(uri))).parent.parent
        if not folder.is_relative_to(os.path.realpath(bounds)):
            return False
    return hidden.st_uid in (own.st_uid, os.geteuid(), 0)


class _Opened:
    """A collection that was opened, and rows that were read of it. Safe for many threads."""

    def __init__(self, table: CollectionTable) -> None:
        self.table = table
        self._began = time.monotonic()
        self._version = local_version(table.uri)
        self._rows: LruBytes[str, VideoRows] = LruBytes(_KEPT_BYTES)
        self._reading = LongLock()

    @property
    def is_current(self) -> bool:
        """Whether the table has not changed since; of one in a cloud store, whether it was read just now."""
        if self._version is not None:
            return self._version == local_version(self.table.uri)
        fresh_seconds = _FRESH_MEDIA_SECONDS if self.table.holds_media else _FRESH_SECONDS
        return time.monotonic() - self._began < fresh_seconds

    def rows_of(self, video: str) -> tuple[PackedSegment, ...] | None:
        """Return the rows of a video, read together with those of the videos that are asked for with it.

        Raises:
            FrameIndexError: They are damaged.
        """
        try:
            key = self.table.key_of(video)
        except InvalidReferenceError:  # a name that no row can hold
            return None
        with self._reading.held():
            rows = self._rows.use(key)
            rows = self._read(key) if rows is None else rows
        return rows.checked() or None

    def _read(self, key: str) -> VideoRows:
        """Read the rows of a video and of those that are asked for with it, and keep them for these."""
        wanted = [key]
        for video in islice(videos_asked_for(), _READ_TOGETHER):
            with suppress(InvalidReferenceError):
                wanted.append(self.table.key_of(video))
        new = [name for name in dict.fromkeys(wanted) if self._rows.use(name) is None]
        found = self.table.find(new)
        for name in new:
            rows = found.get(name, VideoRows())
            self._rows.put(name, rows, _BYTES_A_VIDEO + sum(len(row.value) for row in rows.packed))
        return found.get(key, VideoRows())


class _Collections(ProcessState):
    """The collections that were found, and the folders of cloud stores in which none is."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew in a forked child."""
        self._lock = ShortLock()
        self._opened: LruDict[Hashable, _Opened] = LruDict(_KEPT_COLLECTIONS)
        self._opening: LruDict[Hashable, LongLock] = LruDict(_KEPT_FOLDERS)
        self._absent: LruDict[Hashable, float] = LruDict(_KEPT_FOLDERS)

    def close(self) -> None:
        """Forget all that was found."""
        with self._lock:
            self._opened.clear()
            self._absent.clear()

    def open(self, uri: str, video: Location, confine_to: str | None, *, anew: bool = False) -> _Opened:
        """Return a collection, opened with the options and the access of a video.

        Raises:
            FrameIndexError: There is none, or it cannot be read.
        """
        options = repr(sorted((video.storage_options or {}).items(), key=repr))
        key = (uri, options, video.access, confine_to)
        if not anew and (kept := self._kept(key, uri)) is not None:
            return kept
        with self._lock:
            opening = self._opening.setdefault(key, LongLock())
        with opening.held():  # once, however many threads ask for it
            if not anew and (kept := self._kept(key, uri)) is not None:
                return kept
            return self._open(key, uri, video, confine_to)

    def _kept(self, key: Hashable, uri: str) -> _Opened | None:
        """Return a collection that is open and current.

        Raises:
            FrameIndexMissingError: There was none a short while ago.
        """
        with self._lock:
            opened, absent = self._opened.use(key), self._absent.get(key)
        if opened is not None and opened.is_current:
            return opened
        if absent is not None and time.monotonic() - absent < _FRESH_SECONDS:
            raise missing_collection(uri)
        return None

    def _open(self, key: Hashable, uri: str, video: Location, confine_to: str | None) -> _Opened:
        try:
            opened = _Opened(CollectionTable.open(uri, video.storage_options, video.access, confine_to))
        except FrameIndexMissingError:
            if not is_local(uri):
                with self._lock:
                    self._absent[key] = time.monotonic()
            raise
        with self._lock:
            self._opened[key] = opened
        return opened


_collections = register(_Collections())
