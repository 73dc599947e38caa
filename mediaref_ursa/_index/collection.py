"""``CollectionIndex``: the frame indexes of many videos in one Lance table."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.errors import (
    FrameIndexInvalidError,
    FrameIndexMissingError,
    MediaNotFoundError,
    MediaRefError,
    StoreError,
)
from mediaref_ursa._core.extras import check_packages_of, needs_extra
from mediaref_ursa._core.lru import LruBytes
from mediaref_ursa._core.process_state import register_while_alive
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa._core.uris import REMOTE_SCHEMES, absolute_location, is_cloud, is_local, scheme_of, several
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa.layout import COLLECTION
from mediaref_ursa.store._asked_together import asked_together
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.collection_table import ROW_ERRORS, CollectedVideo, CollectionTable, VideoRows

if TYPE_CHECKING:
    from mediaref_ursa._index.collection_build import AddedVideo, AddReport

_KEPT_BYTES = 256 << 20
_BYTES_A_VIDEO, _BYTES_A_PACKET = 8 << 10, 192  # rows, and the columns that become of them
_FRESH_SECONDS = 1.0  # of a table in a cloud store
_AT_ONCE = 256  # videos: a bound on the rows in memory
_COMPARED = ["uri", "segment_uri", "length", "etag"]


class _File(NamedTuple):
    """A segment's file as its row has it: the video that it belongs to, its URI, length and ETag."""

    video: str
    uri: str
    length: int
    etag: str | None


@set_module("mediaref_ursa")
class CollectionIndex:
    """The frame indexes of many videos in one Lance table, one row a segment.

    A video's rows are found by its URI, relative to the collection's root, so that a folder or a bucket may
    be moved together with its collection. They are the same index as a table next to the video: the same
    checks, and the same frames. A row that is damaged is an error of its own video alone.

    Every call reads the latest version of the table, in a cloud store that of a second ago. Indexes that
    were found are kept while it stays the same, up to 256 MiB. Safe for many threads and processes, also for
    several writers; it pickles, and works in forked processes.

    Attributes:
        uri: Where the table is.
        root: Where the relative URIs of its rows begin: the folder that holds it, or the one above
            ``.mediaref``, unless another was given when it was made.

    Example:
        >>> from mediaref_ursa import CollectionIndex, batch_decode
        >>> collection = CollectionIndex.open("set.lance", create=True)
        >>> collection.add(["clip.mp4"]).added
        1
        >>> len(collection), "clip.mp4" in collection, collection.missing(["clip.mp4", "other.mp4"])
        (1, True, ['other.mp4'])
        >>> batch_decode([{"uri": "clip.mp4", "pts_ns": 0}], frame_index=collection)[0].shape
        (96, 128, 3)
    """

    def __init__(self, table: CollectionTable) -> None:
        self._table = table
        self._begin()

    def _begin(self) -> None:
        self._version: tuple[object, float] = None, -math.inf
        self._kept_version: object = None
        self._kept: LruBytes[str, LanceFrameIndex] = LruBytes(_KEPT_BYTES)
        self.forget()
        register_while_alive(self)

    def forget(self) -> None:
        """Take a new lock in a forked child: another thread of the parent may have held the old one."""
        self._lock = ShortLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_table": self._table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._table = state["_table"]
        self._begin()

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str],
        *,
        create: bool = False,
        root: str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        access: Access = TRUSTED,
    ) -> CollectionIndex:
        """Open a collection by its path or URI; no row is read.

        Args:
            uri: The table, such as ``set.lance`` or ``s3://bucket/.mediaref/index.lance``.
            create: Make an empty one where there is none.
            root: Where relative URIs begin in one that is made, which must be so in one that is there; if not
                given, the folder that holds ``uri``, or the folder above ``.mediaref``.
            storage_options: For cloud stores, of table and videos, as fsspec or as Lance spell them.
            access: What may be read of it, and how much; as the options of other calls have it. Videos that
                are put in must be permitted too, and are scanned in a process of their own where it sets
                limits of scans, as ``Access(untrusted=True)`` does.

        Raises:
            FrameIndexMissingError: There is none.
            FrameIndexInvalidError: It is no collection, it is damaged, or its files lie outside its folder.
            FrameIndexVersionError: A newer version of this library wrote it.
            MissingExtraError: The package of a cloud store is not installed.
            StoreError: Nothing can be read there; with ``create``, nothing can be written.
            ValueError: It has another root.

        Example:
            >>> import os
            >>> CollectionIndex.open("set.lance", create=True).root == os.getcwd()
            True
        """
        place = absolute_location(uri)
        if is_cloud(place):
            check_packages_of(scheme_of(place), place)
        if scheme_of(place) in REMOTE_SCHEMES:
            raise StoreError(
                f"expected a table on this machine or in a cloud store, found {scheme_of(place)}, from which "
                "Lance does not read; copy the table",
                uri=place,
            )
        start = None if root is None else os.fspath(root)
        try:
            table = CollectionTable.open(place, storage_options, access)
        except FrameIndexMissingError:
            if not create:
                raise
            table = CollectionTable.create(place, storage_options, access, start)
        if start is not None and table.root != (absolute_location(start).rstrip("/") or "/"):
            raise ValueError(f"expected the collection's root {redact(table.root)}, found root={start!r}")
        return cls(table)

    @property
    def uri(self) -> str:
        """Where the table is: an absolute path or a URI."""
        return self._table.uri

    @property
    def root(self) -> str:
        """Where the relative URIs of rows begin: an absolute path or a URI."""
        return self._table.root

    def __len__(self) -> int:
        """Return how many videos there are."""
        return self._table.count_videos()

    def __bool__(self) -> bool:
        """Return True, also for a collection without videos."""
        return True

    def __iter__(self) -> Iterator[str]:
        """Yield the absolute URI of each video, as references may name it, in the order of the rows.

        Of a version of the table that was opened when the iteration began, a few thousand rows at a time.
        """
        for block in self._table.blocks(["uri", "segment_idx"]):
            for key, number in zip(*(column.to_pylist() for column in block.columns), strict=True):
                if number == 0:
                    yield self._table.uri_of(key)

    def __contains__(self, uri: object) -> bool:
        """Return whether there are rows of a video, fresh or not."""
        return isinstance(uri, (str, os.PathLike)) and not self.missing([uri])

    def __repr__(self) -> str:
        return f"CollectionIndex({redact(self.uri)!r})"

    def get(self, uri: str | os.PathLike[str]) -> LanceFrameIndex:
        """Return the frame index of a video.

        Args:
            uri: The video, as references name it: a path, relative to the working directory or absolute, or
                a URI, whose query is left out.

        Raises:
            FrameIndexMissingError: The collection has no such video.
            FrameIndexInvalidError: Its rows, or the table, are damaged.
            FrameIndexVersionError: A newer version of this library wrote them.
            StoreError: The table cannot be read.

        Example:
            >>> collection = CollectionIndex.open("set.lance", create=True)
            >>> _ = collection.add(["clip.mp4"])
            >>> len(collection.get("clip.mp4"))
            60
        """
        found = self.get_many([uri])
        if not found:
            raise FrameIndexMissingError(
                f"the collection {redact(self.uri)} has no such video; add it with CollectionIndex.add or "
                "mediaref-ursa index VIDEO --into",
                uri=absolute_location(uri),
            )
        return next(iter(found.values()))

    def get_many(self, uris: Iterable[str | os.PathLike[str]]) -> dict[str, LanceFrameIndex]:
        """Return the frame indexes of videos by the URIs that are given, read together; others are left out.

        Raises:
            FrameIndexError: As :meth:`get` raises, but for videos that are not there.

        Example:
            >>> collection = CollectionIndex.open("set.lance", create=True)
            >>> _ = collection.add(["clip.mp4"])
            >>> collection.get_many(["clip.mp4", "other.mp4"])
            {'clip.mp4': LanceFrameIndex('...clip.mp4', frames=60, segments=1)}
        """
        indexes: dict[str, LanceFrameIndex] = {}
        for uri, found in self._get_each(uris).items():
            if isinstance(found, MediaRefError):
                raise found
            indexes[uri] = found
        return indexes

    def _get_each(self, uris: Iterable[str | os.PathLike[str]]) -> dict[str, LanceFrameIndex | MediaRefError]:
        """Return the frame indexes of videos, and the errors of those whose rows are damaged."""
        given = {os.fspath(uri): absolute_location(uri) for uri in several(uris)}
        version = self._latest_version()
        with self._lock:
            if version != self._kept_version:
                self._kept.clear()
                self._kept_version = version
            kept = {video: index for video in given.values() if (index := self._kept.use(video)) is not None}
        keys = {video: self._table.key_of(video) for video in given.values() if video not in kept}
        rows = self._table.find(keys.values()) if keys else {}
        found: dict[str, LanceFrameIndex | MediaRefError] = dict(kept)
        with asked_together([video for video, key in keys.items() if key in rows]):
            for video, key in keys.items():
                if key in rows:
                    found[video] = self._index_or_error(video, rows[key])
        with self._lock:
            for video in keys:
                new = found.get(video)
                if isinstance(new, LanceFrameIndex) and version == self._kept_version:
                    packets = sum(new.packet_counts())
                    self._kept.put(video, new, _BYTES_A_VIDEO + _BYTES_A_PACKET * packets)
        return {uri: found[video] for uri, video in given.items() if video in found}

    def _latest_version(self) -> object:
        """Return what changes with the table; of one in a cloud store it is asked for once a second."""
        with self._lock:
            version, asked_at = self._version
        if is_local(self.uri) or time.monotonic() - asked_at > _FRESH_SECONDS:
            version = self._table.latest_version()
            with self._lock:
                self._version = version, time.monotonic()
        return version

    def _index_or_error(self, video: str, rows: VideoRows) -> LanceFrameIndex | MediaRefError:
        try:
            file = CollectedVideo.of(self.uri, video, rows.checked(), self._table.access)
            if self._table.holds_media:  # the version of a row stands for an entity tag
                file = file.with_etag(self._location(video).open_store().head(video).etag)
        except (*ROW_ERRORS, MediaNotFoundError) as error:
            return error
        return LanceFrameIndex._of(video, file=file, location=COLLECTION)

    def missing(self, uris: Iterable[str | os.PathLike[str]]) -> list[str]:
        """Return the URIs, as they are given, of which the collection has no rows.

        Raises:
            FrameIndexError: The table cannot be read.
        """
        keys = {os.fspath(uri): self._table.key_of(os.fspath(uri)) for uri in several(uris)}
        known = self._table.known(keys.values())
        return [uri for uri, key in keys.items() if key not in known]

    def stale(self, uris: Iterable[str | os.PathLike[str]] | None = None, *, jobs: int = 16) -> list[str]:
        """Return the videos whose files have another length or ETag than their rows, or are not there.

        One request, or a look at the file system, for each segment.

        Args:
            uris: The videos to look at; all without it. Those that the collection does not have are left out.
            jobs: Requests at once.

        Returns:
            URIs as they are given; absolute ones without ``uris``.

        Raises:
            StoreError: A store cannot be asked.
        """
        stale, errors = self._compared(None if uris is None else several(uris), jobs)
        for error in errors.values():
            raise error
        return stale

    def _compared(
        self, uris: Iterable[str | os.PathLike[str]] | None = None, jobs: int = 16
    ) -> tuple[list[str], dict[str, MediaRefError]]:
        """Return the videos that are stale, and the errors of those whose stores cannot be asked."""
        stale: dict[str, None] = {}
        errors: dict[str, MediaRefError] = {}
        with ThreadPoolExecutor(jobs, thread_name_prefix="mediaref-index") as pool:
            for files in self._files() if uris is None else self._files_of(uris):
                asked = [pool.submit(in_this_context(self._is_changed), file) for file in files]
                for file, found in zip(files, asked, strict=True):
                    try:
                        if found.result():
                            stale[file.video] = None
                    except MediaRefError as error:
                        errors.setdefault(file.video, error)
        return list(stale), errors

    def _files(self) -> Iterator[list[_File]]:
        """Yield the files of all videos, some thousand at a time."""
        uri_of = self._table.uri_of
        for block in self._table.blocks(_COMPARED):
            rows = zip(*(column.to_pylist() for column in block.columns), strict=True)
            yield [_File(uri_of(video), uri_of(uri), length, etag) for video, uri, length, etag in rows]

    def _files_of(self, uris: Iterable[str | os.PathLike[str]]) -> Iterator[list[_File]]:
        """Yield the files of some videos, those of some hundred videos at a time."""
        left = iter(uris)
        while some := list(islice(left, _AT_ONCE)):
            yield [
                _File(video, info.uri, info.length, info.etag)
                for video, index in self.get_many(some).items()
                for info in index.segments
            ]

    def _is_changed(self, file: _File) -> bool:
        try:
            found = self._location(file.uri).open_store().head(file.uri)
        except MediaNotFoundError:
            return True
        has_etags = found.etag is not None and file.etag is not None
        return found.size != file.length or (has_etags and found.etag != file.etag)

    def _location(self, uri: str) -> Location:
        return Location(uri, None, self._table.storage_options, self._table.access)

    def add(
        self,
        uris: Iterable[str | os.PathLike[str]] | Mapping[str, Sequence[str | os.PathLike[str]]],
        *,
        jobs: int = 1,
        overwrite: bool = False,
        full: bool | None = None,
        decode: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        progress: Callable[[AddedVideo], None] | None = None,
    ) -> AddReport:
        """Put the frame indexes of videos in: those of their sidecars where these are fresh, else scanned.

        Videos whose rows are fresh are left alone, so that a call that was stopped goes on where it was; rows
        that are stale are replaced. Timestamps that a sidecar's writer gave are taken over, also where the
        video is scanned. Rows are committed some hundred videos, some seconds or 64 MiB at a time, each video
        whole. Several writers may add at once.

        Args:
            uris: The videos; of recordings of several files, a mapping from a URI to all of its segments.
            jobs: Videos that are scanned at once, on threads.
            overwrite: Scan and replace also what is fresh.
            full: As :func:`write_frame_index` takes it.
            decode: As :func:`write_frame_index` takes it.
            on_error: ``"raise"`` raises the first error, after a commit of what was done; ``"skip"`` goes on,
                and leaves such videos to ``failed`` of what is returned.
            progress: Called with each video once it is in the table, or needs nothing, or failed.

        Returns:
            How many videos were ``added``, ``replaced`` and ``kept``, and the errors by URI in ``failed``.

        Raises:
            MediaRefError: As :func:`write_frame_index` raises, of a video or of the collection.
            ValueError: Another word for ``on_error``; ``full`` or ``decode`` with limits of scans.

        Example:
            >>> collection = CollectionIndex.open("set.lance", create=True)
            >>> collection.add(["clip.mp4"], overwrite=True).kept
            0
            >>> collection.add(["clip.mp4"]).kept
            1
        """
        from mediaref_ursa._index.collection_build import Wanted, add_videos

        wanted = Wanted(jobs, overwrite, full, decode, on_error)
        try:
            return add_videos(self._table, several(uris), wanted, progress)
        finally:
            self._drop()

    def remove(self, uris: Iterable[str | os.PathLike[str]]) -> int:
        """Remove videos, each with all its rows; return how many were there.

        Raises:
            StoreError: Nothing may be written there.
        """
        known = self._table.known(self._table.key_of(os.fspath(uri)) for uri in several(uris))
        self._table.delete(sorted(known))
        self._drop()
        return len(known)

    def compact(self) -> None:
        """Join the small files that commits leave, renew the scalar index, and drop versions of an hour ago.

        Raises:
            StoreError: Nothing may be written there.
        """
        self._table.tidy(compact=True)

    def write_sidecars(
        self,
        uris: Iterable[str | os.PathLike[str]] | None = None,
        *,
        hidden: bool | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write an index next to each video, as :func:`write_frame_index` does, without reading the video.

        One that stands there is replaced, unless it has timestamps of its own, or cannot be read.

        Args:
            uris: The videos; all of the collection without it.
            hidden: As :func:`write_frame_index` takes it.
            overwrite: Replace also an index whose timestamps its writer gave and the collection does not
                have, one of a newer version, and one that is damaged.

        Returns:
            How many were written.

        Raises:
            FrameIndexMissingError: The collection has no such video.
            FrameIndexError: The index that is there would be lost; those of the videos before were written.
            StoreError: Nothing may be written there, or the videos are in the table itself.
        """
        from mediaref_ursa._index.writer import IndexTarget

        self._table.check_takes_indexes()
        left, count = iter(self if uris is None else uris), 0
        while some := [os.fspath(uri) for uri in islice(left, _AT_ONCE)]:
            found = self.get_many(some)
            for uri in some:
                index = found.get(uri) or self.get(uri)
                tables = [index.segment_table(number) for number in range(len(index.segments))]
                if not overwrite:
                    self._check_replaceable(uri, index)
                target = IndexTarget(self._location(absolute_location(uri)), None, hidden)
                target.check_movable()
                target.write(tables, overwrite=True)
                count += 1
        return count

    def _check_replaceable(self, uri: str, index: LanceFrameIndex) -> None:
        """Refuse to replace an index next to a video that has what the collection does not have."""
        from mediaref_ursa._index.found import BASE_COLUMNS, FRESH, find_index

        try:
            found = find_index(self._location(uri), is_name=True)
        except MediaNotFoundError:
            return
        found.check_replaceable(uri)
        if found.state not in (FRESH, BASE_COLUMNS) or found.index is None or not found.has_own_timestamps:
            return
        if not np.array_equal(found.index.timestamps(), index.timestamps()):
            raise FrameIndexInvalidError(
                "expected the timestamps of the collection in the index next to the video, or those of its "
                "frames, found others that its writer gave; put them into the collection with add(..., "
                "overwrite=True), or replace them with write_sidecars(..., overwrite=True)",
                uri=uri,
            )

    def _drop(self) -> None:
        with self._lock:
            self._kept.clear()
            self._version = None, -math.inf
