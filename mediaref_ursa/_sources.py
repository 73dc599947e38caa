"""Videos that references name: their index, checked to be fresh, and where their packets come from.

Indexes are kept, by what identifies the file, so that the second batch finds them in memory. The
cache is shared by all threads and bounded in bytes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from mediaref_ursa._errors import (
    CorruptMediaError,
    FrameIndexError,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    MediaNotFoundError,
)
from mediaref_ursa._extras import needs_extra
from mediaref_ursa._frame_index import LanceFrameIndex
from mediaref_ursa._frame_table import UNKNOWN, EncodedPacket, SegmentInfo, SegmentTable
from mediaref_ursa._open_store import open_store
from mediaref_ursa._ranges import merge_ranges
from mediaref_ursa._scan_uri import reader_of, scan_uri
from mediaref_ursa._time import Int64Array
from mediaref_ursa._uri_text import redact
from mediaref_ursa._uris import absolute_place, is_local, local_path
from mediaref_ursa.layout import lance_frame_index_uri
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._local import check_under_base

with needs_extra("video"):
    from mediaref_ursa._pyav._demuxed import demuxed_packets

_CACHE_BYTES = 512 << 20
_MAX_GAP_BYTES = 64 << 10
_MAX_READ_BYTES = 8 << 20


@dataclass(frozen=True)
class VideoSource:
    """One video, ready to be planned and read: safe for many threads, holds no open file.

    Attributes:
        uri: Where the video is; an absolute path if it is local.
        store: Where its bytes are.
        segments: The table of each segment, in order.
    """

    uri: str
    store: ObjectStore
    segments: tuple[SegmentTable, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the tables take, about."""
        return sum(64 * len(table) + 48 * len(table.packets) for table in self.segments)


def open_source(
    uri: str,
    frame_index: LanceFrameIndex | None = None,
    *,
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
    base_dir: str | os.PathLike[str] | None = None,
) -> VideoSource:
    """Return the video at ``uri`` with an index that is fresh.

    The caller's index if there is one, else the one beside the video, else one that is built in
    memory. One that is stale or damaged is not used: the video is scanned instead.

    Args:
        uri: The video.
        frame_index: The caller's own index.
        store: Where its bytes are; chosen by the URI's scheme without it.
        storage_options: For cloud stores.
        base_dir: A directory that no segment which an index names may lie outside of.

    Raises:
        FrameIndexStaleError: The caller's own index is stale, or describes another video.
        InvalidReferenceError: It leads out of the base directory.
        MediaRefError: As stores and the scan raise.
    """
    place = absolute_place(uri) if store is None else uri
    found_in = open_store(place, store, storage_options)
    if frame_index is not None:
        return _with_index(place, found_in, frame_index, base_dir)
    options = tuple(sorted((storage_options or {}).items(), key=repr))
    # A source keeps its store, so that no other can have its identity as long as the entry stands.
    key = (place, found_in.head(place), _local_identity(place), id(store), repr(options), str(base_dir))
    return _cache.get(key, lambda: _find(place, found_in, storage_options, base_dir))


def forget_sources() -> None:
    """Drop all indexes that are kept in memory."""
    _cache.clear()


def packets_of(source: VideoSource, table: SegmentTable, rows: Int64Array) -> Iterator[EncodedPacket]:
    """Yield packets of ascending numbers, each checked against the index.

    Raises:
        CorruptMediaError: The bytes are not those that were indexed, or the file holds part of them.
        StoreError: They cannot be read.
    """
    damaged = rows[table.packets.is_corrupt[rows]]
    whole = rows[rows < damaged[0]] if len(damaged) else rows
    if table.info.addressable:
        yield from _ranged_packets(source.store, table, whole)
    elif len(whole):
        info = source.store.head(table.info.uri)
        yield from demuxed_packets(reader_of(table.info.uri, source.store, info), table, whole)
    if len(damaged):
        raise CorruptMediaError(
            f"packet {damaged[0]} is incomplete: the file is cut short, or its container says so",
            uri=table.info.uri,
        )


def _ranged_packets(store: ObjectStore, table: SegmentTable, rows: Int64Array) -> Iterator[EncodedPacket]:
    """Read packets in decode order, a bounded number of bytes at a time."""
    sizes = table.packets.size[rows]
    chunk_of = np.cumsum(sizes) // _MAX_READ_BYTES
    for chunk in np.split(rows, np.flatnonzero(np.diff(chunk_of)) + 1) if len(rows) else []:
        offsets, sizes = table.packets.offset[chunk], table.packets.size[chunk]
        merged = merge_ranges(
            offsets, sizes, max_gap_bytes=_MAX_GAP_BYTES, max_read_bytes=2 * _MAX_READ_BYTES
        )
        blobs = [memoryview(blob) for blob in store.get_ranges(table.info.uri, merged.ranges)]
        columns = (chunk, sizes, merged.read_of, merged.start_in_read, table.packets.is_keyframe[chunk])
        for row, size, read, start, key in zip(*(column.tolist() for column in columns), strict=True):
            data = bytes(blobs[read][start : start + size])
            _check_crc(table, row, data)
            yield EncodedPacket(row, data, key)


def _check_crc(table: SegmentTable, row: int, data: bytes) -> None:
    expected = int(table.packets.crc32[row])
    if expected != UNKNOWN and zlib.crc32(data) != expected:
        raise CorruptMediaError(
            f"packet {row} (offset {table.packets.offset[row]}, {len(data)} bytes) is not what was indexed: "
            f"expected CRC-32 {expected:08x}, found {zlib.crc32(data):08x}; the file was changed or damaged. "
            "If it was changed, write its index anew with: mediaref-ursa index --overwrite",
            uri=table.info.uri,
        )


def _find(
    uri: str,
    store: ObjectStore,
    storage_options: Mapping[str, Any] | None,
    base_dir: str | os.PathLike[str] | None,
) -> VideoSource:
    try:
        return _with_index(uri, store, LanceFrameIndex.open(uri, storage_options=storage_options), base_dir)
    except FrameIndexMissingError:
        pass
    except (FrameIndexError, MediaNotFoundError) as error:
        logger.warning("the frame index is not used, the video is scanned instead: {}", error)
    return VideoSource(uri, store, (scan_uri(uri, store),))


def _with_index(
    uri: str, store: ObjectStore, index: LanceFrameIndex, base_dir: str | os.PathLike[str] | None
) -> VideoSource:
    if not index.has_packets:
        if len(index.segment_frame_counts()) != 1:
            raise FrameIndexInvalidError(
                "expected a frame index that names its segments, found the four base columns of several; "
                "read it with LazyVideo(..., segment_uris=)",
                uri=uri,
            )
        return VideoSource(uri, store, (complete_base_index(uri, store, index, 0),))
    tables = []
    for number, info in enumerate(_segments_of(uri, index, base_dir)):
        index.check_fresh(number, store.head(info.uri))
        tables.append(replace(index.segment_table(number), info=info))
    return VideoSource(uri, store, tuple(tables))


def _segments_of(
    uri: str, index: LanceFrameIndex, base_dir: str | os.PathLike[str] | None
) -> tuple[SegmentInfo, ...]:
    """Return the segments that an index stands for when it is used for the video at ``uri``.

    The index of one file may have been written for the same file elsewhere.

    Raises:
        FrameIndexStaleError: It describes several files of another video.
        InvalidReferenceError: It leads out of the base directory.
    """
    infos = index.segments
    if index.uri != uri:
        if len(infos) != 1:
            raise FrameIndexStaleError(
                f"the frame index describes another video, {redact(index.uri)}, of {len(infos)} segments",
                uri=uri,
            )
        return (replace(infos[0], uri=uri),)
    if base_dir is not None:
        for info in infos:
            check_under_base(info.uri, base_dir)
    return infos


def complete_base_index(uri: str, store: ObjectStore, index: LanceFrameIndex, segment: int) -> SegmentTable:
    """Complete a segment of an index with base columns only by scanning what it describes.

    Raises:
        FrameIndexStaleError: The file at ``uri`` has other frames.
    """
    table = scan_uri(uri, store)
    counts = index.segment_frame_counts()
    if not np.array_equal(index.pts_table(segment), table.pts):
        raise FrameIndexStaleError(
            f"the frame index describes another video: expected {counts[segment]} frames, "
            f"found {len(table)}, or their pts differ; write it anew with: mediaref-ursa index --overwrite",
            uri=uri,
        )
    first = int(counts[:segment].sum())
    return replace(table, timestamp=index.timestamps()[first : first + len(table)])


def _local_identity(uri: str) -> tuple[tuple[int, ...], ...]:
    """Return what changes when a local video is replaced, or the index beside it written anew."""
    if not is_local(uri):
        return ()
    identity = []
    for path in (Path(local_path(uri)), Path(lance_frame_index_uri(local_path(uri))) / "_versions"):
        with contextlib.suppress(OSError):
            found = path.stat()
            identity.append((found.st_dev, found.st_ino, found.st_mtime_ns))
    return tuple(identity)


class _SourceCache:
    """Sources by identity, least recently used dropped first; each is built by one thread only."""

    def __init__(self) -> None:
        self._sources: OrderedDict[object, VideoSource] = OrderedDict()
        self._bytes = 0
        self._new_locks()

    def _new_locks(self) -> None:
        self._lock = threading.Lock()
        self._building: dict[object, threading.Lock] = {}

    def survive_forks(self) -> None:
        """Let a forked child keep what is here: it is forked while no thread changes it."""
        os.register_at_fork(
            before=lambda: self._lock.acquire(),  # noqa: PLW0108 - a child's lock is another
            after_in_parent=lambda: self._lock.release(),  # noqa: PLW0108
            after_in_child=self._new_locks,
        )

    def clear(self) -> None:
        with self._lock:
            self._sources.clear()
            self._bytes = 0

    def get(self, key: object, build: Callable[[], VideoSource]) -> VideoSource:
        with self._lock:
            source = self._sources.get(key)
            if source is not None:
                self._sources.move_to_end(key)
                return source
            building = self._building.setdefault(key, threading.Lock())
        try:
            with building:
                with self._lock:
                    source = self._sources.get(key)
                if source is None:
                    source = build()
                    self._add(key, source)
        finally:
            with self._lock:
                self._building.pop(key, None)
        return source

    def _add(self, key: object, source: VideoSource) -> None:
        with self._lock:
            self._sources[key] = source
            self._bytes += source.nbytes
            while self._bytes > _CACHE_BYTES and len(self._sources) > 1:
                _, dropped = self._sources.popitem(last=False)
                self._bytes -= dropped.nbytes


_cache = _SourceCache()
_cache.survive_forks()
