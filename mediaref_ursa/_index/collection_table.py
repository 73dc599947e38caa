"""The table of a collection: its columns, their checks, and the rows of videos found, put in and removed."""

from __future__ import annotations

import errno
import functools
import json
import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mediaref_ursa._core.errors import (
    FrameIndexError,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    InvalidReferenceError,
    LimitExceededError,
    MediaRefError,
    StoreError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import absolute_location, is_data, is_local, local_path, scheme_of
from mediaref_ursa._core.wording import ADD_ANEW
from mediaref_ursa._index.collection_schema import (
    BLOBS,
    SCHEMA,
    VERSION,
    check_schema,
    checked_root,
    checked_text,
    recorded_root,
    relative_to,
)
from mediaref_ursa._index.lance_table import (
    check_count,
    check_writable,
    checked,
    lance_errors,
    refusals,
    unusable_name,
)
from mediaref_ursa._index.local_tables import make_folder
from mediaref_ursa._index.packed_segment import PackedSegment, pack_segment, unpack_segment
from mediaref_ursa._lance import collection_calls, lance_calls
from mediaref_ursa._lance.lance_calls import Rules
from mediaref_ursa._lance.lance_files import check_local_table
from mediaref_ursa._lance.lance_location import lance_location
from mediaref_ursa._lance.lance_process import TableTooLargeError
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.index_metadata import SegmentEntry, recorded_uri
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.layout import COLLECTION_KEY

with needs_extra("video"):
    import pyarrow as pa

_FOUND_AT_ONCE = 256  # URIs of one question: a bound on the rows in memory
_LISTED_AT_ONCE = 8192  # rows of a few numbers and texts each
_SPARE_BYTES, _BYTES_A_VIDEO = 64 << 20, 1 << 20
_MAX_ANSWER_BYTES = 1 << 30


@dataclass(frozen=True)
class CollectedVideo:
    """The rows of one video in a collection, instead of a table of its own. Holds no handle of Lance.

    Attributes:
        uri: The collection.
        segments: What each segment is.
        packed: The columns of each segment.
    """

    uri: str
    segments: tuple[SegmentEntry, ...]
    packed: tuple[PackedSegment, ...] = field(repr=False)

    @classmethod
    def of(cls, uri: str, video: str, packed: Sequence[PackedSegment], access: Access) -> CollectedVideo:
        """Return the rows of a video, checked to be whole.

        Raises:
            FrameIndexInvalidError: A segment is missing, or its metadata cannot be read.
            FrameIndexVersionError: A newer version of this library wrote it.
            LimitExceededError: It has more packets than the limits allow.
        """
        newest = _newest(packed, uri, video)
        entries = tuple(segment.entry(video) for segment in newest)
        check_count(sum(entry.packets for entry in entries), access, uri)
        return cls(uri, entries, newest)

    def with_etag(self, etag: str | None) -> CollectedVideo:
        """Return the rows of a video of one file with the entity tag of that file."""
        entries = [replace(entry, info=replace(entry.info, etag=etag)) for entry in self.segments]
        return replace(self, segments=tuple(entries))

    @property
    def rows(self) -> int:
        """How many frames there are."""
        return sum(entry.frames for entry in self.segments)

    def segment_tables(self, number: int) -> dict[int, SegmentTable]:
        """Return the columns of one segment, by its number.

        Raises:
            FrameIndexInvalidError: They cannot be true, or their CRC-32 is another.
        """
        entry = self.segments[number]
        return {number: checked(self.packed[number].table(entry), entry, number, self.uri)}


ROW_ERRORS = (FrameIndexError, LimitExceededError)
"""Errors of the rows of one video."""


@dataclass(frozen=True)
class VideoRows:
    """The rows of a video as a table has them.

    Attributes:
        packed: Those that can be read.
        error: The error of one that cannot.
    """

    packed: tuple[PackedSegment, ...] = ()
    error: MediaRefError | None = None

    @property
    def left_from(self) -> int | None:
        """The number of segments of the video, if the table has rows from there on that were left behind."""
        count = max((row.count for row in self.packed if row.written_ns == self._written_ns), default=0)
        return count if self.has_segments_from(count) else None

    def has_segments_from(self, count: int) -> bool:
        """Whether there is a row of a segment with this number or a larger one; True if that is unknown."""
        return self.error is not None or any(row.number >= count for row in self.packed)

    @property
    def _written_ns(self) -> int:
        return max((row.written_ns for row in self.packed), default=0)

    def checked(self) -> tuple[PackedSegment, ...]:
        """Return the rows, or raise the error of the one that cannot be read."""
        if self.error is not None:
            raise self.error
        return self.packed


def _newest(packed: Sequence[PackedSegment], uri: str, video: str) -> tuple[PackedSegment, ...]:
    """Return the segments that were written last, in order: a video that has fewer now leaves old ones."""
    last = max(segment.written_ns for segment in packed)
    by_number = {segment.number: segment for segment in packed if segment.written_ns == last}
    count = max(segment.count for segment in by_number.values())
    if sorted(by_number) != list(range(count)):
        raise FrameIndexInvalidError(
            f"the collection is damaged: expected {count} segments of this video in {uri}, found the "
            f"numbers {sorted(by_number)}; {ADD_ANEW}",
            uri=video,
        )
    return tuple(by_number[number] for number in range(count))


def local_version(uri: str) -> tuple[int, ...] | None:
    """Return what changes with each commit to a local table; None for one in a cloud store."""
    if not is_local(uri):
        return None
    try:
        found = os.stat(f"{local_path(uri)}/_versions")  # noqa: PTH116 - paths cost more than the call
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns


@dataclass(frozen=True)
class CollectionTable:
    """The Lance table of a collection. Every call opens its latest version; no handle is kept or pickled.

    Attributes:
        uri: Where it is; absolute if it is on this machine.
        storage_options: In any spelling that :mod:`mediaref_ursa._model.storage_options` knows.
        access: What may be read of it, and how much.
        root: Where the relative URIs of its rows begin; absolute, without a slash at its end.
        confine_to: A folder that no symbolic link among its files may lead out of; None for any.
    """

    uri: str
    storage_options: Mapping[str, Any] = field(repr=False)
    access: Access
    root: str
    confine_to: str | None = None

    @classmethod
    def open(
        cls,
        uri: str,
        storage_options: Mapping[str, Any] | None,
        access: Access,
        confine_to: str | None = None,
    ) -> CollectionTable:
        """Open a collection: its metadata and the types of its columns are checked.

        Raises:
            FrameIndexMissingError: No table is there.
            FrameIndexInvalidError: It is no collection, it is damaged, or it leads where it may not.
            FrameIndexVersionError: A newer version of this library wrote it.
        """
        table = cls(absolute_location(uri), dict(storage_options or {}), access, "", confine_to)
        _, _, schema = table._describe()
        object.__setattr__(table, "root", checked_root(schema, table.uri))
        return table

    @classmethod
    def create(
        cls, uri: str, storage_options: Mapping[str, Any] | None, access: Access, root: str | None
    ) -> CollectionTable:
        """Make an empty collection unless there is one, and open it.

        Raises:
            StoreError: Nothing may be written there.
            FrameIndexError: As :meth:`open` raises.
        """
        location = absolute_location(uri)
        value = {"version": "{}.{}".format(*VERSION), "root": recorded_root(location, root)}
        schema = SCHEMA.with_metadata({COLLECTION_KEY: json.dumps(value)})
        check_writable(location)
        if is_local(location):
            make_folder(Path(local_path(location)).parent, location)
        with lance_errors("write it", location), refusals(location):
            collection_calls.create(
                *lance_location(location, dict(storage_options or {})), schema.empty_table()
            )
        return cls.open(location, storage_options, access)

    @property
    def holds_media(self) -> bool:
        """Whether its videos are its own blobs."""
        return self.root.startswith(f"{self.uri}/{BLOBS}")

    def key_of(self, uri: str) -> str:
        """Return the URI of a video as rows have it: relative to the root where it is below it.

        Raises:
            InvalidReferenceError: A data URI, or letters that are no Unicode text, which no row can hold.
        """
        if is_data(uri):
            raise InvalidReferenceError("expected a path or URL of a video, found a data URI", uri=uri)
        return relative_to(self.root, checked_text(recorded_uri(absolute_location(uri)), uri))

    def uri_of(self, key: str) -> str:
        """Return the absolute URI of a row's."""
        if scheme_of(key) or posixpath.isabs(key):
            return key
        return f"{self.root.rstrip('/')}/{key.removeprefix('./')}"

    def find(self, keys: Iterable[str]) -> dict[str, VideoRows]:
        """Return the rows of videos, those of one question to Lance for some hundred videos.

        A row that is damaged is an error of its own video alone.

        Raises:
            FrameIndexError: The table cannot be read.
            StoreError: The store cannot be read.
        """
        wanted = list(dict.fromkeys(keys))
        found: dict[str, VideoRows] = {}
        for first in range(0, len(wanted), _FOUND_AT_ONCE):
            rows = self._find(wanted[first : first + _FOUND_AT_ONCE], ["uri", "segment"])
            for key, value in zip(rows.column("uri").to_pylist(), rows.column("segment"), strict=True):
                before = found.get(key, VideoRows())
                try:
                    packed = (*before.packed, self._unpacked(key, value.as_py() or b""))
                    found[key] = replace(before, packed=packed)
                except ROW_ERRORS as error:
                    found[key] = replace(before, error=error)
        return found

    def _unpacked(self, key: str, value: bytes) -> PackedSegment:
        """Return the segment in a row.

        Raises:
            FrameIndexError: It is damaged, of a newer version, or of another video.
        """
        video = self.uri_of(key)
        packed = unpack_segment(value, self.access, video)
        if packed.key != key:
            raise FrameIndexInvalidError(
                f"the collection is damaged: the row of this video holds another one's; {ADD_ANEW}", uri=video
            )
        return packed

    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of some keys that rows have; no row is read but its URI."""
        wanted = list(dict.fromkeys(keys))
        found: set[str] = set()
        for first in range(0, len(wanted), _FOUND_AT_ONCE):
            table = self._find(wanted[first : first + _FOUND_AT_ONCE], ["uri"])
            found.update(table.column("uri").to_pylist())
        return found

    def _find(self, keys: list[str], columns: list[str]) -> pa.Table:
        """Return columns of the rows of some videos; where these are too large for the limits, bit by bit."""
        self._check_files()
        size = min(_MAX_ANSWER_BYTES, _SPARE_BYTES + _BYTES_A_VIDEO * len(keys))
        try:
            with lance_errors("read its rows", self.uri):
                return collection_calls.find(
                    *self._location, keys, columns, rules=self._rules, max_answer_bytes=size
                )
        except FrameIndexInvalidError as error:
            if len(keys) == 1 or not isinstance(error.__cause__, TableTooLargeError):
                raise
        half = len(keys) // 2
        return pa.concat_tables([self._find(keys[:half], columns), self._find(keys[half:], columns)])

    def blocks(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield columns of all rows of one version, a few thousand rows at a time.

        Raises:
            FrameIndexError: The table cannot be read.
        """
        version, rows, _ = self._describe()
        for first in range(0, rows, _LISTED_AT_ONCE):
            where = {"offset": first, "limit": min(_LISTED_AT_ONCE, rows - first)}
            try:
                with lance_errors("read its rows", self.uri):
                    block = lance_calls.read(
                        *self._location,
                        version,
                        columns,
                        where,
                        rules=self._rules,
                        max_answer_bytes=_SPARE_BYTES,
                    )
            except FrameIndexMissingError as error:
                raise StoreError(
                    f"expected version {version} of the collection, which is being read, found that it was "
                    "removed: the table was compacted many times meanwhile; begin again",
                    uri=self.uri,
                ) from error
            yield block

    def latest_version(self) -> object:
        """Return a value that is another one once the table has changed; of a local one without opening it.

        Raises:
            FrameIndexError: The table cannot be read.
        """
        return self._describe()[0] if (version := local_version(self.uri)) is None else version

    def count_videos(self) -> int:
        """Return how many videos there are."""
        version, _, _ = self._describe()
        with lance_errors("read its rows", self.uri):
            return collection_calls.count_videos(*self._location, version, self._rules)

    def check_takes_indexes(self) -> None:
        """Raise a StoreError where the table holds the media as well, whose rows only packing writes."""
        if self.holds_media:
            raise StoreError(
                "expected a collection of indexes, found a table that holds its videos as well; add videos "
                "to it with pack_videos or mediaref-ursa pack",
                uri=self.uri,
            )

    def put(self, videos: Mapping[str, Sequence[SegmentTable]]) -> None:
        """Put the segments of videos in, by absolute URI, in one commit; older rows of them are replaced.

        Raises:
            StoreError: Nothing may be written there.
        """
        self.put_rows(rows_of(self, videos))

    def put_rows(self, rows: pa.Table) -> None:
        """Put rows in, as :func:`rows_of` makes them, in one commit.

        Raises:
            StoreError: Nothing may be written there.
        """
        check_writable(self.uri)
        with lance_errors("write it", self.uri), refusals(self.uri):
            collection_calls.merge(*self._location, rows)

    def delete(self, keys: Sequence[str], first_segment: int = 0) -> None:
        """Delete the rows of videos, from a segment on, in one commit for some hundred videos.

        Raises:
            StoreError: Nothing may be written there.
        """
        check_writable(self.uri)
        for first in range(0, len(keys), _FOUND_AT_ONCE):
            some = keys[first : first + _FOUND_AT_ONCE]
            with lance_errors("write it", self.uri), refusals(self.uri):
                collection_calls.delete(*self._location, some, first_segment)

    def tidy(self, *, compact: bool) -> None:
        """Put new rows into the scalar index; with ``compact`` also join small files and drop old versions.

        Raises:
            StoreError: Nothing may be written there.
        """
        check_writable(self.uri)
        with lance_errors("write it", self.uri), refusals(self.uri):
            collection_calls.tidy(*self._location, compact=compact)

    @property
    def _location(self) -> tuple[str, dict[str, str]]:
        return lance_location(self.uri, self.storage_options)

    @property
    def _rules(self) -> Rules:
        access = self.access
        return Rules(
            access.allow_outside_index, access.untrusted, is_collection=True, limits=access.scan_limits
        )

    def _describe(self) -> tuple[int, int, pa.Schema]:
        self._check_files()
        try:
            with lance_errors("open it", self.uri):
                version, rows, schema = lance_calls.describe(*self._location, None, self._rules)
        except FrameIndexMissingError as error:
            raise missing_collection(self.uri) from error
        check_schema(schema, self.uri)
        return version, rows, schema

    def _check_files(self) -> None:
        """Check the files of a local table before Lance opens them."""
        if not is_local(self.uri):
            return
        with lance_errors("open it", self.uri):
            if unusable_name(self.uri) is not None:
                raise missing_collection(self.uri)
            try:
                found = check_local_table(
                    local_path(self.uri),
                    allow_outside=self.access.allow_outside_index,
                    strict=self.access.untrusted,
                    is_collection=True,
                    confine_to=self.confine_to,
                )
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                    raise missing_collection(self.uri) from error
                raise
            if found is None:
                raise missing_collection(self.uri)
            _check_deletion_files(Path(local_path(self.uri), "_deletions"))


def _check_deletion_files(folder: Path) -> None:
    """Refuse damaged files of deleted rows, for which Lance takes whatever memory they claim.

    Raises:
        OSError: One is damaged, as Arrow has it.
    """
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.endswith(".arrow"):
            found = entry.stat()
            _check_arrow_file(entry.path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _check_arrow_file(path: str, size: int, changed_ns: int) -> None:
    del size, changed_ns  # a file that was checked is not read again
    with pa.OSFile(path) as file:
        pa.ipc.open_file(file).read_all().validate(full=True)


def missing_collection(uri: str) -> FrameIndexMissingError:
    """Return the error for a location in which no collection stands."""
    return FrameIndexMissingError(
        "there is no collection of frame indexes here; write one with: mediaref-ursa index VIDEO... --into, "
        "or CollectionIndex.open(uri, create=True)",
        uri=uri,
    )


def rows_of(table: CollectionTable, videos: Mapping[str, Sequence[SegmentTable]]) -> pa.Table:
    """Return the rows of videos, by absolute URI, as a collection has them."""
    rows: list[dict[str, Any]] = []
    for uri, tables in videos.items():
        video = absolute_location(uri)
        key, written_ns = table.key_of(video), time.time_ns()
        for number, segment in enumerate(tables):
            info = segment.info
            rows.append(
                {
                    "uri": key,
                    "segment_idx": number,
                    "segment_count": len(tables),
                    "segment_uri": table.key_of(info.uri),
                    "written_ns": written_ns,
                    "length": info.length,
                    "etag": info.etag,
                    "codec": info.codec,
                    "frames": len(segment),
                    "packets": len(segment.packets),
                    "seconds": float(segment.seconds),
                    "segment": pack_segment(key, number, len(tables), written_ns, segment, video),
                }
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)
