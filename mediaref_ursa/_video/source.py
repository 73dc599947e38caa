"""``VideoSource``: a video's segment tables, checked to be fresh, and the store of its packets.

Indexes are kept, by what identifies the file, so that the second batch finds them in memory. The
cache is shared by all threads and bounded in bytes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TypeGuard

import numpy as np
from loguru import logger

from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import (
    FrameIndexError,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    FrameIndexWarning,
    MediaNotFoundError,
)
from mediaref_ursa._core.etags import is_strong
from mediaref_ursa._core.media_warnings import warn_once
from mediaref_ursa._core.process_state import register
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.reentrancy import refuse_amid_change
from mediaref_ursa._core.uris import is_local, local_path, split_blob
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._index.folder_collection import versions_above
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa._model.alpha import table_with_alpha
from mediaref_ursa._model.segment import ALPHA_UNKNOWN, SegmentInfo, SegmentTable
from mediaref_ursa._plan.segments import SegmentSequence
from mediaref_ursa._scan.sandbox.parent import scan_video
from mediaref_ursa._video.source_cache import SourceCache
from mediaref_ursa.layout import (
    CACHE,
    IndexLocation,
    hidden_frame_index_uri,
    index_locations,
    lance_frame_index_uri,
)
from mediaref_ursa.store import ObjectInfo, ObjectStore
from mediaref_ursa.store._cached import CachedStore
from mediaref_ursa.store._local import check_under_base
from mediaref_ursa.store._location import Location
from mediaref_ursa.store._protocol import ReadsOneVersion
from mediaref_ursa.store._token import tokens

_CACHE_BYTES = 512 << 20  # of each cache; a source in two of them takes its memory once
# Measured (tracemalloc): a video of one segment takes about 7 KB besides its frames and packets.
_SOURCE_BYTES = 3 << 10
_SEGMENT_BYTES = 4 << 10
_HEADER_BYTES = 200


@dataclass(frozen=True)
class VideoSource:
    """One video, ready to be planned and read. Safe for many threads; holds no open file.

    Attributes:
        uri: Where the video is; an absolute path if it is local.
        store: Where its bytes are.
        segments: The table of each segment, in order.
    """

    uri: str = field(repr=False)  # it may hold a password
    store: ObjectStore
    segments: tuple[SegmentTable, ...]

    @cached_property
    def sequence(self) -> SegmentSequence:
        """The segments on one timeline."""
        return SegmentSequence(self.segments)

    @property
    def nbytes(self) -> int:
        """Approximate bytes of memory: the tables, and a constant for each video and each segment."""
        return _SOURCE_BYTES + sum(_table_bytes(table) for table in self.segments)


def _table_bytes(table: SegmentTable) -> int:
    info = table.info
    headers = sum(_HEADER_BYTES + len(part) for _, part in info.start_headers)
    texts = len(info.extradata) + len(info.uri) + headers
    return _SEGMENT_BYTES + texts + 96 * len(table) + 48 * len(table.packets)


def open_source(
    video: Location, frame_index: LanceFrameIndex | None = None, *, ask_store: bool = False
) -> VideoSource:
    """Return a video with an index that is fresh.

    The caller's index if there is one, else the first of the video's (:mod:`mediaref_ursa.layout` has their
    order), else one that is built in memory. One that is stale or damaged is not used: the
    video is scanned instead.

    A remote store is not asked whether the video is still the one that an index describes, if the index
    records the entity tag: each read is then of that very object, or a ``MediaChangedError``.

    Args:
        video: Where it is. No segment which an index names may lie outside its access's base directory.
        frame_index: The caller's own index.
        ask_store: Ask all the same, and forget what is in memory: for another try after that error.

    Raises:
        FrameIndexStaleError: The caller's own index is stale, or describes another video.
        InvalidReferenceError: It leads out of the base directory.
        MediaRefError: As stores and the scan raise.
    """
    refuse_amid_change()
    video = video.absolute()
    store = video.open_store()
    if frame_index is not None:
        return _with_index(video.uri, store, frame_index, video.access, ask_store)
    options = repr(sorted((video.storage_options or {}).items(), key=repr))
    key = (video.uri, tokens.of(video.store), options, video.access)
    absent: set[IndexLocation] = set()
    if isinstance(store, CachedStore) and not ask_store:
        pinned = _pinned.get(key, partial(_pinned_by_index, video, store, absent))
        if pinned.source is not None:
            return pinned.source
    info = store.head(video.uri)
    version = (*key, info, _local_identity(video.uri))
    source = _by_version.get(version, partial(_find, video, store, info, absent))
    if source.segments and all(is_etag_pinned(store, table.info) for table in source.segments):
        _pinned.put(key, _Pinned(source))  # from now on its entity tag is known
    elif ask_store:
        _pinned.put(key, _Pinned(None))
    return source


@dataclass(frozen=True)
class _Pinned:
    """Cache entry: a video whose reads are pinned to entity tags; always revalidate with HEAD if it has none.

    Attributes:
        source: The video; every read of it names the entity tag of its index.
    """

    source: VideoSource | None

    @property
    def nbytes(self) -> int:
        return _SOURCE_BYTES if self.source is None else self.source.nbytes


_pinned: SourceCache[_Pinned] = register(SourceCache(_CACHE_BYTES, attrgetter("nbytes")))
"""Videos pinned to entity tags, by location: no request is needed to use them."""
_by_version: SourceCache[VideoSource] = register(SourceCache(_CACHE_BYTES, attrgetter("nbytes")))
"""Videos by location and version, which HEAD or the file system reports."""
_with_alpha: SourceCache[VideoSource] = register(SourceCache(_CACHE_BYTES, attrgetter("nbytes")))
"""Segments scanned for their alpha, by the identity of the segment's packets."""


def _pinned_by_index(video: Location, store: CachedStore, absent: set[IndexLocation]) -> _Pinned:
    """Return the video as the index next to it has it, if that has the entity tag of each segment.

    Args:
        video: The video.
        store: Where it is.
        absent: Gets the locations in which no index was found, which need not be asked again.
    """
    for where in index_locations(video.uri):
        if where == CACHE:  # found by the video's version: the store must be asked for that
            break
        try:
            index = LanceFrameIndex.open_at(replace(video, store=store), where)
            infos = _segments_of(video.uri, index, video.access) if index.has_packets else ()
            if infos and all(is_strong(info.etag) for info in infos):
                return _Pinned(_with_index(video.uri, store, index, video.access, ask_store=False))
        except FrameIndexMissingError:
            absent.add(where)
            continue
        except (FrameIndexError, MediaNotFoundError):
            pass  # the store is asked, and the error reported then
        break
    return _Pinned(None)


def is_etag_pinned(store: ObjectStore, info: SegmentInfo) -> TypeGuard[ReadsOneVersion]:
    """Whether reads of a segment are pinned to the object that its index describes."""
    return isinstance(store, ReadsOneVersion) and is_strong(info.etag)


def _find(
    video: Location, store: ObjectStore, info: ObjectInfo, absent: Collection[IndexLocation]
) -> VideoSource:
    """Return the video with the first of its indexes that is of use, else scanned."""
    for where in index_locations(video.uri):
        if where in absent:
            continue
        try:
            index = LanceFrameIndex.open_at(replace(video, store=store), where, info=info)
            return _with_index(video.uri, store, index, video.access, ask_store=True)
        except FrameIndexMissingError:
            pass
        except (FrameIndexError, MediaNotFoundError) as error:
            logger.warning("the frame index is not used: {}", error)
            warn_once(FrameIndexWarning, f"the frame index is not used: {error.message}", uri=video.uri)
    return VideoSource(video.uri, store, (scan_video(video.uri, store, video.access),))


def _with_index(
    uri: str,
    store: ObjectStore,
    index: LanceFrameIndex,
    access: Access,
    ask_store: bool,
) -> VideoSource:
    if not index.has_packets:
        access.check_frame_count(index.row_count, store.head(uri).size, uri)
        if len(index.segment_frame_counts()) != 1:
            raise FrameIndexInvalidError(
                "expected a frame index that names its segments, found the four base columns of several; "
                "read it with LazyVideo.from_segments([...], uri=)",
                uri=uri,
            )
        return VideoSource(uri, store, (complete_base_index(uri, store, index, 0, access),))
    tables = []
    infos = _segments_of(uri, index, access)
    for number in _segments_on_timeline(uri, infos):
        info = infos[number]
        # Its length first: it bounds what is read of the index.
        if ask_store or not is_etag_pinned(store, info):
            index.check_fresh(number, store.head(info.uri))
        table = index.segment_table(number).with_uri(info.uri)
        tables.append(scanned_if_outdated(table, store, access))
    return VideoSource(uri, store, tuple(tables))


def _segments_of(uri: str, index: LanceFrameIndex, access: Access) -> tuple[SegmentInfo, ...]:
    """Return the segments that an index describes for the video at ``uri``.

    The index of one file may have been written for the same file at another location.

    Raises:
        FrameIndexStaleError: It describes several files of another video.
        InvalidReferenceError: It leads out of the base directory, or to where the access does not reach.
        LimitExceededError: It has more frames than its file can hold.
    """
    infos = index.segments
    for info, count in zip(infos, index.packet_counts(), strict=True):
        access.check_frame_count(count, info.length, uri)
    if index.uri != uri:
        if len(infos) != 1:
            raise FrameIndexStaleError(
                f"the frame index describes another video, {redact(index.uri)}, of {len(infos)} segments",
                uri=uri,
            )
        return (replace(infos[0], uri=uri),)
    for info in infos:
        check_segment(uri, info.uri, access)
    return infos


def _segments_on_timeline(uri: str, infos: Sequence[SegmentInfo]) -> list[int]:
    """Return the segments of a URI's timeline: all of a recording, or the one file of that name.

    A reference to a segment goes by that file's own time. The first segment's time is that of the whole; one
    that stands later in the list gives its name to the recording, and its frames would be others.
    """
    own = [number for number, info in enumerate(infos) if info.uri == uri]
    return own[:1] if own and own[0] else list(range(len(infos)))


def check_segment(video: str, segment: str, access: Access) -> None:
    """Refuse a segment that an index names, where references may not lead there.

    Raises:
        InvalidReferenceError: They may not.
    """
    access.check_segment(video, segment)
    if segment == video or not is_local(video):
        return
    if access.confines_to_base:
        assert access.base_dir is not None
        check_under_base(segment, access.base_dir)
    elif access.untrusted and not access.allow_outside_base:
        check_under_base(segment, str(Path(local_path(video)).parent))


def scanned_if_outdated(table: SegmentTable, store: ObjectStore, access: Access = TRUSTED) -> SegmentTable:
    """Return a segment of an index, or a scan if an earlier version wrote it and may be wrong.

    Raises:
        FrameIndexStaleError: The scan gives other frames.
    """
    uri = table.info.uri
    if not table.info.is_outdated:
        return table
    logger.warning(
        "an earlier version wrote the frame index of {}, and could mistake random access points; the video "
        "is scanned instead; " + WRITE_ANEW,
        redact(uri),
    )
    scanned = scan_video(uri, store, access, stream_index=table.info.stream_index)
    if not np.array_equal(table.pts, scanned.pts):
        raise FrameIndexStaleError(
            f"an earlier version wrote the frame index, and found other frames: expected {len(scanned)} "
            f"frames, found {len(table)}, or their pts differ; {WRITE_ANEW}",
            uri=uri,
        )
    return replace(scanned, timestamp=table.timestamp)


def complete_base_index(
    uri: str, store: ObjectStore, index: LanceFrameIndex, segment: int, access: Access = TRUSTED
) -> SegmentTable:
    """Complete a segment of an index with base columns only, by scanning its file.

    Raises:
        FrameIndexStaleError: The file at ``uri`` has other frames.
    """
    table = scan_video(uri, store, access)
    counts = index.segment_frame_counts()
    if not np.array_equal(index.pts_table(segment), table.pts):
        raise FrameIndexStaleError(
            f"the frame index describes another video: expected {counts[segment]} frames, "
            f"found {len(table)}, or their pts differ; {WRITE_ANEW}",
            uri=uri,
        )
    first = int(counts[:segment].sum())
    return replace(table, timestamp=index.timestamps()[first : first + len(table)])


def source_with_alpha(source: VideoSource, access: Access = TRUSTED) -> VideoSource:
    """Return a video for decoding with alpha: see :func:`mediaref_ursa._model.alpha.table_with_alpha`.

    An index of an older version does not record whether there is alpha in the packets' side data. Such a
    segment is scanned anew, once as long as its index is in memory.

    Raises:
        UnsupportedMediaError: There is alpha that cannot be read.
        FrameIndexStaleError: The file is no more what the index describes.
    """
    tables = tuple(
        table_with_alpha(_with_known_alpha(table, source.store, access)) for table in source.segments
    )
    return replace(source, segments=tables)


def _with_known_alpha(table: SegmentTable, store: ObjectStore, access: Access) -> SegmentTable:
    if table.info.alpha != ALPHA_UNKNOWN or not table.info.may_have_separate_alpha:
        return table
    logger.info("{} is scanned: its index does not say whether there is alpha", redact(table.info.uri))

    def completed() -> VideoSource:
        uri = table.info.uri
        found = scan_video(uri, store, access, stream_index=table.info.stream_index)
        if not np.array_equal(found.packets.crc32, table.packets.crc32):
            raise FrameIndexStaleError(
                f"the frame index describes another file; {WRITE_ANEW}",
                uri=uri,
            )
        info = replace(table.info, alpha=found.info.alpha, alpha_packets=found.info.alpha_packets)
        return VideoSource(uri, store, (replace(table, info=info),))

    return _with_alpha.get((table.packets.identity, len(table), tokens.of(store)), completed).segments[0]


def _local_identity(uri: str) -> tuple[tuple[int, ...], ...]:
    """Return what changes when a local video is replaced, or an index next to it written anew."""
    identity = []
    for path in (*_identity_paths(uri), *(versions_above(uri) if is_local(uri) else ())):
        try:
            found = os.stat(path)  # noqa: PTH116 - paths cost more than the call
        except OSError:
            continue
        identity.append((found.st_dev, found.st_ino, found.st_mtime_ns))
    return tuple(identity)


@functools.lru_cache(maxsize=4096)
def _identity_paths(uri: str) -> tuple[str, ...]:
    if not is_local(uri) or split_blob(uri) is not None:  # a blob's store distinguishes versions
        return ()
    path = local_path(uri)
    return (path, f"{lance_frame_index_uri(path)}/_versions", f"{hidden_frame_index_uri(path)}/_versions")
