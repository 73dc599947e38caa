"""Scanning a video where it lies: a store's byte ranges, read through a demuxer."""

from __future__ import annotations

from collections.abc import Sequence

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.errors import memory_limits
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._model.pixels import MAX_PIXELS
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.store import LocalStore, MemoryStore, ObjectInfo, ObjectStore
from mediaref_ursa.store._protocol import ReadsOneVersion

with needs_extra("video"):
    from mediaref_ursa._scan.scan_segment import Progress, scan_segment

_REMOTE_BLOCKS_KEPT = 32  # of 1 MiB: what probing read, and a window that streams through the file
_REMOTE_BLOCKS_AHEAD = 8


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


def is_local_store(store: ObjectStore) -> bool:
    """Return whether a store's bytes are on this machine, so that reading all of them costs little."""
    return isinstance(store, LocalStore | MemoryStore)


def scan_uri(
    uri: str,
    store: ObjectStore,
    progress: Progress | None = None,
    *,
    stream_index: int | None = None,
    full: bool | None = None,
    decode: bool = False,
    info: ObjectInfo | None = None,
    max_pixels: int = MAX_PIXELS,
) -> SegmentTable:
    """Scan the video at ``uri`` once.

    Args:
        uri: The video.
        store: Where it is.
        progress: Called now and then with bytes done and bytes in all.
        stream_index: The video stream, counted across all kinds of streams as FFmpeg does; None is
            FFmpeg's best.
        full: Whether to read all of the file, from its first byte to its last. Without a word: a file of
            this machine, and any that must be. Else of an MP4 or MOV file little more is read than what
            describes its samples; what only the media contain then stays unknown.
        decode: Decode every frame to find damaged pictures.
        info: What stands at ``uri``, where the caller has asked the store already.
        max_pixels: The largest picture, width times height.

    Raises:
        MediaRefError: As :func:`mediaref_ursa._scan.scan_segment.scan_segment`, and the store's errors.
    """
    info = info or store.head(uri)
    with memory_limits(uri):
        return scan_segment(
            reader_of(uri, store, info),
            uri=uri,
            etag=info.etag,
            progress=progress,
            stream_index=stream_index,
            full=True if full is None and is_local_store(store) else full,
            decode=decode,
            max_pixels=max_pixels,
        )


__all__ = ["Progress", "is_local_store", "reader_of", "scan_uri"]
