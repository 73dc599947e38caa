"""Scanning of a video in a store, by its byte ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.errors import memory_limits
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._scan.options import Progress, ScanOptions
from mediaref_ursa.store import ObjectInfo, ObjectStore
from mediaref_ursa.store._protocol import ReadsOneVersion, is_local_store

with needs_extra("video"):
    from mediaref_ursa._scan.scan_segment import scan_segment

_REMOTE_BLOCKS_KEPT = 32  # of 1 MiB: what probing read, and a window that streams through the file
_REMOTE_BLOCKS_AHEAD = 8
_DEFAULT_OPTIONS = ScanOptions()


def reader_of(uri: str, store: ObjectStore, info: ObjectInfo) -> RangeReader:
    """Return a file over the byte ranges of an object; one of a remote store is read in large requests.

    Where the store can, it reads the version that ``info`` describes and no other.
    """
    if is_local_store(store):
        return RangeReader(lambda offset, length: store.get_range(uri, offset, length), info.size)

    def read_ranges(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if isinstance(store, ReadsOneVersion):
            return store.get_ranges_of(uri, info, ranges)
        return store.get_ranges(uri, ranges)

    return RangeReader(
        lambda offset, length: read_ranges([(offset, length)])[0],
        info.size,
        read_ranges=read_ranges,
        blocks_kept=_REMOTE_BLOCKS_KEPT,
        max_blocks_ahead=_REMOTE_BLOCKS_AHEAD,
    )


def options_for(store: ObjectStore, options: ScanOptions) -> ScanOptions:
    """Return options with ``full`` set, if it was not: a local file is read in full."""
    return replace(options, full=True) if options.full is None and is_local_store(store) else options


def scan_uri(
    uri: str,
    store: ObjectStore,
    options: ScanOptions = _DEFAULT_OPTIONS,
    progress: Progress | None = None,
    *,
    info: ObjectInfo | None = None,
) -> SegmentTable:
    """Scan the video at ``uri`` once.

    Args:
        uri: The video.
        store: Where it is.
        options: What is read, and of which stream.
        progress: Called now and then with bytes done and bytes in all.
        info: What stands at ``uri``, where the caller has asked the store already.

    Raises:
        MediaRefError: As :func:`mediaref_ursa._scan.scan_segment.scan_segment`, and the store's errors.
    """
    info = info or store.head(uri)
    with memory_limits(uri):
        return scan_segment(
            reader_of(uri, store, info),
            uri=uri,
            etag=info.etag,
            options=options_for(store, options),
            progress=progress,
        )
