"""``LanceFrameIndex``: the frame index of a video, whose metadata is read on opening, and columns on use."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import (
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    MediaRefError,
)
from mediaref_ursa._core.extras import check_packages_of, needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location, is_cloud, is_remote, scheme_of
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._index.location import check_index_folder, index_uri, info_of
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa._model.index_metadata import recorded_uri
from mediaref_ursa._model.segment import SegmentInfo, SegmentTable
from mediaref_ursa.layout import (
    CACHE,
    COLLECTION,
    HIDDEN,
    INDEX_DIR,
    INDEX_SUFFIX,
    IndexLocation,
    described_video,
    index_locations,
    lance_frame_index_uri,
)
from mediaref_ursa.store import ObjectInfo, ObjectStore
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.collection_table import CollectedVideo
    from mediaref_ursa._index.folder_collection import collected_video
    from mediaref_ursa._index.lance_table import LanceIndexFile, missing_index

if TYPE_CHECKING:
    import lance


@set_module("mediaref_ursa")
class LanceFrameIndex:
    """The frame index of a video: the segment, the time and the byte range of every frame.

    Opening reads metadata only; each segment's columns are read when they are first needed, and kept.
    Safe to use from many threads, after a fork, and to pickle.

    ``LanceFrameIndex(dataset, uri)`` takes a table that the caller has opened. It is read again by its URI,
    in the same version, with the checks of :meth:`open`: no handle of Lance is kept, so that forks are safe.

    Args:
        dataset: A ``lance.LanceDataset`` with at least the four base columns.
        uri: The video that it describes.
        access: What may be read of it, and how much.

    Attributes:
        uri: The video that the index describes.

    Raises:
        TypeError: Another object than a ``lance.LanceDataset``.
        FrameIndexError: As :meth:`open` raises.

    Example:
        >>> import lance
        >>> from mediaref_ursa import LanceFrameIndex, write_frame_index
        >>> _ = write_frame_index("clip.mp4")
        >>> len(LanceFrameIndex(lance.dataset("clip.mp4.lance"), "clip.mp4"))
        60
    """

    def __init__(
        self, dataset: lance.LanceDataset, uri: str | os.PathLike[str], *, access: Access = TRUSTED
    ) -> None:
        if not _is_lance_dataset(dataset):
            raise TypeError(
                f"expected a lance.LanceDataset, found {type(dataset).__name__}; to open the index of a "
                "video by its URI, use LanceFrameIndex.open(uri)"
            )
        options = getattr(dataset, "_storage_options", None)
        file = LanceIndexFile(dataset.uri, options, access, version=dataset.version)
        self._set(absolute_location(uri), file)

    @classmethod
    def _of(
        cls,
        uri: str,
        *,
        file: LanceIndexFile | CollectedVideo | None,
        tables: Sequence[SegmentTable] = (),
        location: IndexLocation | None = None,
    ) -> LanceFrameIndex:
        """Return the index of a table that was opened, of a collection's rows, or of tables in memory."""
        made = cls.__new__(cls)
        made._set(uri, file, tables, location)
        return made

    def _set(
        self,
        uri: str,
        file: LanceIndexFile | CollectedVideo | None,
        tables: Sequence[SegmentTable] = (),
        location: IndexLocation | None = None,
    ) -> None:
        self.uri = uri
        self._location = location
        self._written_to: str | None = None
        self._file = file
        self._tables: dict[int, SegmentTable] = dict(enumerate(tables))
        self._base: tuple[Int64Array, Int64Array, npt.NDArray[np.float64]] | None = None

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str],
        store: ObjectStore | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        index_dir: str | os.PathLike[str] | None = None,
        info: ObjectInfo | None = None,
        access: Access = TRUSTED,
    ) -> LanceFrameIndex:
        """Open the index of a video: next to it, hidden, in a collection, or in the cache directory.

        The first that is there is opened. One that stands next to a video, or in ``.mediaref`` next to it, is
        opened as it is. One in a directory for many is found by the
        version of the video that stands there now, which costs a request, and fits it.

        Args:
            uri: The video, or the index itself (``<uri>.lance`` or ``.mediaref/<name>.lance``).
            store: Where the video's bytes are; chosen by the URI's scheme without it.
            storage_options: For cloud stores, as fsspec or as Lance spell them.
            index_dir: Look in this directory only, where ``write_frame_index(index_dir=)`` put it.
            info: What stands at ``uri``, where the caller has asked the store already.
            access: What may be read of it, and how much; as the options of other calls have it.

        Raises:
            FrameIndexMissingError: There is none.
            FrameIndexInvalidError: It is damaged, no frame index, or its files lie outside its own folder.
            FrameIndexStaleError: The one in a directory for many describes another file.
            FrameIndexVersionError: A newer version of this library wrote it.
            MissingExtraError: The package of a cloud store is not installed.
            StoreError: Nothing can be read where the video is.

        Example:
            >>> from mediaref_ursa import LanceFrameIndex, write_frame_index
            >>> _ = write_frame_index("clip.mp4")
            >>> index = LanceFrameIndex.open("clip.mp4")
            >>> len(index), index.segment_frame_counts().tolist()
            (60, [60])
        """
        name = absolute_location(uri) if store is None else os.fspath(uri)
        video, where = described_video(name) if name.endswith(INDEX_SUFFIX) else (name, None)
        at = Location(video, store, storage_options, access)
        if index_dir is not None:
            return cls.open_at(at, INDEX_DIR, info=info, index_dir=index_dir)
        if store is None and is_cloud(video):
            check_packages_of(scheme_of(video), video)
        if where is not None:  # the caller names the index itself, and may have it wherever it is
            described_at = lance_frame_index_uri(video)
            file = LanceIndexFile(index_uri(at, where), storage_options, access, described_at=described_at)
            return cls._of(video, file=file, location=where)
        return cls._open_first(at, info)

    @classmethod
    def open_elsewhere(
        cls,
        uri: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        store: ObjectStore | None = None,
        info: ObjectInfo | None = None,
        access: Access = TRUSTED,
    ) -> LanceFrameIndex:
        """Open the index in this user's cache directory, also where another stands next to the video.

        Arguments and errors are those of :meth:`open`.
        """
        at = Location(os.fspath(uri), store, storage_options, access).absolute()
        return cls.open_at(at, CACHE, info=info)

    @classmethod
    def _open_first(cls, video: Location, info: ObjectInfo | None) -> LanceFrameIndex:
        for where in index_locations(video.uri):
            try:
                return cls.open_at(video, where, info=info)
            except FrameIndexMissingError:
                continue
            except MediaRefError:
                if where != CACHE or is_remote(video.uri):
                    raise
        # Of a video that cannot be reached either, the missing index is the news.
        raise missing_index(lance_frame_index_uri(video.uri))

    @classmethod
    def open_at(
        cls,
        video: Location,
        where: IndexLocation,
        *,
        info: ObjectInfo | None = None,
        index_dir: str | os.PathLike[str] | None = None,
    ) -> LanceFrameIndex:
        """Open the index that stands in one location; :mod:`mediaref_ursa.layout` names them.

        Args:
            video: An absolute location.
            where: The word of the location.
            info: What stands at the video's URI, where the caller has asked the store already.
            index_dir: The directory of ``index_dir``.

        Raises:
            FrameIndexError: As :meth:`open` raises.
            StoreError: Nothing can be read there.
        """
        if where == COLLECTION:
            return cls._of(video.uri, file=collected_video(video, info), location=where)
        is_for_many = where in (CACHE, INDEX_DIR)
        if where == CACHE:
            check_index_folder()
        if is_for_many and info is None:
            info = info_of(video)
        file = LanceIndexFile(
            index_uri(video, where, info, index_dir),
            video.storage_options,
            video.access,
            None if is_for_many else video.access.bounds_of_index(video.uri),
            lance_frame_index_uri(video.uri) if where == HIDDEN else None,
        )
        found = cls._of(video.uri, file=file, location=where)
        is_of_one = is_for_many and len(found.segments) == 1 and found.segments[0].uri == video.uri
        if info is not None and is_of_one:
            found.check_fresh(0, info)
        return found

    @property
    def place(self) -> str | None:
        """Where the table is, a path or a URI: that of a collection too; None for one built in memory."""
        return self._written_to if self._file is None else self._file.uri

    @property
    def location(self) -> IndexLocation | None:
        """The kind of :attr:`place`, one word of :mod:`mediaref_ursa.layout`; None for one built in memory.

        ``beside`` for a sidecar, ``hidden`` for the folder ``.mediaref`` next to the video, ``cache`` for
        this user's cache directory, ``collection`` for the rows of a :class:`CollectionIndex`, or
        ``index_dir`` for a directory that the caller named.
        """
        return self._location

    @property
    def row_count(self) -> int:
        """The number of frames by the table's metadata; no column is read."""
        return len(self) if self._file is None else self._file.rows

    def packet_counts(self) -> list[int]:
        """Return the number of packets of each segment, output or not, by its metadata; empty without any."""
        if self._file is None:
            return [len(table.packets) for table in self._tables.values()]
        return [entry.packets for entry in self._file.segments or ()]

    def __len__(self) -> int:
        return int(self.segment_frame_counts().sum())

    def __repr__(self) -> str:
        counts = self.segment_frame_counts()
        return f"LanceFrameIndex({redact(self.uri)!r}, frames={counts.sum()}, segments={len(counts)})"

    @property
    def has_packets(self) -> bool:
        """Whether the table has packet columns; a table with only the four base columns does not."""
        return self._file is None or self._file.segments is not None

    @cached_property
    def segments(self) -> tuple[SegmentInfo, ...]:
        """The ``SegmentInfo`` of each segment; empty if the table has only the four base columns."""
        if self._file is None:
            return tuple(table.info for table in self._tables.values())
        recorded = recorded_uri(self.uri)
        infos = (entry.info for entry in self._file.segments or ())
        # The video has its own URI, with the signature that no index records.
        return tuple(replace(info, uri=self.uri) if info.uri == recorded else info for info in infos)

    def segment_frame_counts(self) -> Int64Array:
        """Return int64 ``(n_segments,)``, read-only: the number of displayed frames of each segment."""
        return self._frame_counts

    @cached_property
    def _frame_counts(self) -> Int64Array:
        if self._file is None:
            counts = np.array([len(table) for table in self._tables.values()], dtype=np.int64)
        elif self._file.segments is not None:
            counts = np.array([entry.frames for entry in self._file.segments], dtype=np.int64)
        else:
            counts = np.bincount(self._base_columns()[0]).astype(np.int64)
        counts.flags.writeable = False
        return counts

    def pts_table(self, segment_idx: int) -> Int64Array:
        """Return int64 ``(n,)``: the pts of a segment's frames in presentation order, in ticks.

        Raises:
            IndexError: There is no such segment.
        """
        self._check_segment(segment_idx)
        if self.has_packets:
            return self.segment_table(segment_idx).pts
        segment, pts, _ = self._base_columns()
        of_segment: Int64Array = pts[segment == segment_idx]
        return of_segment

    def timestamps(self) -> npt.NDArray[np.float64]:
        """Return float64 ``(n,)``: recording-relative seconds of all frames, segment after segment.

        Raises:
            FrameIndexInvalidError: One of them is not finite, or the rows are damaged.
        """
        if self.has_packets:
            count = len(self.segment_frame_counts())
            found = np.concatenate([np.zeros(0), *(self.segment_table(i).timestamp for i in range(count))])
        else:
            found = self._base_columns()[2]
        if not np.isfinite(found).all():
            raise FrameIndexInvalidError(
                f"expected finite timestamps in the frame index, found {found[~np.isfinite(found)][0]}; "
                f"{WRITE_ANEW}",
                uri=self.uri,
            )
        return found

    def segment_table(self, segment_idx: int) -> SegmentTable:
        """Return the segment table of a segment, read once and cached.

        Raises:
            IndexError: There is no such segment.
            FrameIndexInvalidError: Its rows are damaged, or the table has only the four base columns.
        """
        self._check_segment(segment_idx)
        table = self._tables.get(segment_idx)
        if table is None:
            if self._file is None or self._file.segments is None:
                raise FrameIndexInvalidError(
                    "expected packets in the frame index, found the four base columns only", uri=self.uri
                )
            # Two threads may both read it; the first result is kept, so that no lock is held at a fork.
            for number, read in self._file.segment_tables(segment_idx).items():
                self._tables.setdefault(number, read.with_uri(self.segments[number].uri))
            table = self._tables[segment_idx]
        return table

    def check_fresh(self, segment_idx: int, found: ObjectInfo) -> None:
        """Compare the size and version of a segment in the index with those of its file now.

        Raises:
            FrameIndexStaleError: Another length, or another ETag where the index recorded one.
        """
        if not self.has_packets:
            return
        info = self.segments[segment_idx]
        if info.length != found.size:
            what, expected, seen = "length", str(info.length), str(found.size)
        elif info.etag is not None and found.etag is not None and info.etag != found.etag:
            what, expected, seen = "ETag", info.etag, found.etag
        else:
            return
        raise FrameIndexStaleError(
            f"the frame index describes another file: expected {what} {expected}, found {seen}; {WRITE_ANEW}",
            uri=info.uri,
        )

    def _base_columns(self) -> tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]:
        if self._base is None:
            assert isinstance(self._file, LanceIndexFile)
            self._base = self._file.base_columns()
        return self._base

    def _check_segment(self, segment_idx: int) -> None:
        count = len(self.segment_frame_counts())
        if not 0 <= segment_idx < count:
            raise IndexError(f"expected a segment from 0 to {count - 1}, found {segment_idx}")


def _is_lance_dataset(value: object) -> bool:
    """Return whether a value is a Lance table; Lance is loaded wherever there is one."""
    module: Any = sys.modules.get("lance")
    return module is not None and isinstance(value, module.LanceDataset)
