"""The frame index beside a video, as it is found: of use, stale, damaged, or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mediaref_ursa._errors import (
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    FrameIndexVersionError,
    InvalidReferenceError,
    MediaNotFoundError,
)
from mediaref_ursa._frame_index import LanceFrameIndex
from mediaref_ursa._frame_table import DECODED, SPARSE, SegmentTable
from mediaref_ursa._inspect import BASE_COLUMNS, DAMAGED, FRESH, NEWER, NO_INDEX, STALE
from mediaref_ursa._time import running_offsets
from mediaref_ursa._uri_text import redact
from mediaref_ursa._uris import is_data, is_remote
from mediaref_ursa.store import ObjectInfo, store_for

_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class FoundIndex:
    """The index beside a video, as it was found.

    Attributes:
        state: ``FRESH``, ``STALE``, ``NO_INDEX``, ``DAMAGED``, ``NEWER`` or ``BASE_COLUMNS``.
        index: The index where it can be opened, stale or not.
        tables: All its segments where it is fresh, else nothing.
        reason: Why it cannot be used, or empty.
    """

    state: str
    index: LanceFrameIndex | None = None
    tables: tuple[SegmentTable, ...] = ()
    reason: str = ""

    @property
    def has_own_timestamps(self) -> bool:
        """Whether the timestamps are other than pts give, a camera's clock for instance."""
        if self.index is None or not self.index.has_packets:
            return self.index is not None
        try:
            tables = [self.index.segment_table(number) for number in range(len(self.index.segments))]
        except FrameIndexInvalidError:
            return False
        offsets = running_offsets(table.span_seconds for table in tables)
        return not all(
            np.allclose(table.timestamp, table.beginning_at(offset).timestamp, 0, _SAME_SECONDS)
            for table, offset in zip(tables, offsets, strict=True)
        )

    @property
    def is_sparse(self) -> bool:
        """Whether parts of the media were not read when it was written, so that checksums are unknown."""
        return self.index is not None and any(info.verified == SPARSE for info in self.index.segments)

    @property
    def is_decoded(self) -> bool:
        """Whether every frame was decoded when it was written, so that damaged pictures are known."""
        return self.index is not None and all(info.verified == DECODED for info in self.index.segments)

    @property
    def segment_uris(self) -> tuple[str, ...] | None:
        """All files of a recording of several, for an index in place of this one; None for one file."""
        infos = () if self.index is None else self.index.segments
        return tuple(info.uri for info in infos) if len(infos) > 1 else None


def find_index(uri: str, index_dir: str | os.PathLike[str] | None = None) -> FoundIndex:
    """Look for the index of a video, beside it and in the cache directory, and compare it with the video.

    Args:
        uri: The video.
        index_dir: Look in this directory only, and not beside the video nor in the cache directory.

    Raises:
        MissingExtraError: Lance or PyAV is not installed.
        InvalidReferenceError: A data URI, beside which nothing can stand.
        StoreError: The video cannot be read.
    """
    if is_data(uri):
        raise InvalidReferenceError("expected a path or URL of a video, found a data URI", uri=uri)
    info = store_for(uri).head(uri)
    found = _state_of(info, lambda: LanceFrameIndex.open(uri, index_dir=index_dir, info=info))
    if found.state in (FRESH, NO_INDEX) or index_dir is not None:
        return found
    elsewhere = _state_of(info, lambda: LanceFrameIndex.open_elsewhere(uri, info=info))
    return elsewhere if elsewhere.state == FRESH else found


def _state_of(video: ObjectInfo, open_index: Callable[[], LanceFrameIndex]) -> FoundIndex:
    index: LanceFrameIndex | None = None
    try:
        index = open_index()
        if not index.has_packets:
            return FoundIndex(BASE_COLUMNS, index)
        for number, info in enumerate(index.segments):
            is_video = info.uri == index.uri
            index.check_fresh(number, video if is_video else store_for(info.uri).head(info.uri))
        tables = tuple(index.segment_table(number) for number in range(len(index.segments)))
        if not tables or not all(len(table) for table in tables):
            raise FrameIndexInvalidError("expected frames in every segment of the index, found none")
        if any(info.is_outdated for info in index.segments):
            return FoundIndex(STALE, index, reason="an earlier version wrote it, and could be wrong")
    except FrameIndexMissingError:
        return FoundIndex(NO_INDEX)
    except FrameIndexStaleError as error:
        return FoundIndex(STALE, index, reason=error.message)
    except MediaNotFoundError as error:  # a file that was renamed together with its index
        return FoundIndex(STALE, index, reason=f"it describes {redact(error.uri or '')}, which is not there")
    except FrameIndexVersionError as error:
        return FoundIndex(NEWER, reason=error.message)
    except FrameIndexInvalidError as error:
        return FoundIndex(DAMAGED, reason=error.message)
    return FoundIndex(FRESH, index, tables)


def require_index_place(uri: str) -> None:
    """Refuse to write an index where none can be written.

    Raises:
        InvalidReferenceError: The video is served over HTTP.
    """
    if is_remote(uri):
        raise InvalidReferenceError(
            "expected a place that an index can be written to, found an HTTP URL; write it beside the "
            "file before it is uploaded",
            uri=uri,
        )
