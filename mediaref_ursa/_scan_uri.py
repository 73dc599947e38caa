"""Scanning a video where it lies: a store's byte ranges, read through a demuxer."""

from __future__ import annotations

from mediaref_ursa._extras import needs_extra
from mediaref_ursa._frame_table import SegmentTable
from mediaref_ursa._reader import RangeReader
from mediaref_ursa.store import ObjectInfo, ObjectStore

with needs_extra("video"):
    from mediaref_ursa._pyav._scan import Progress, scan_segment


def reader_of(uri: str, store: ObjectStore, info: ObjectInfo) -> RangeReader:
    """Return a file over the byte ranges of an object."""
    return RangeReader(lambda offset, length: store.get_range(uri, offset, length), info.size)


def scan_uri(uri: str, store: ObjectStore, progress: Progress | None = None) -> SegmentTable:
    """Scan the video at ``uri`` once, from its first byte to its last.

    Raises:
        MediaRefError: As :func:`mediaref_ursa._pyav._scan.scan_segment`, and the store's errors.
    """
    info = store.head(uri)
    return scan_segment(reader_of(uri, store, info), uri=uri, etag=info.etag, progress=progress)


__all__ = ["Progress", "reader_of", "scan_uri"]
