"""The frame index of a video as it is found: of use, stale, damaged, or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.errors import (
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    FrameIndexVersionError,
    InvalidReferenceError,
    MediaNotFoundError,
    MediaRefError,
)
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location, is_data, is_remote
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.index_metadata import recorded_uri
from mediaref_ursa._model.segment import DECODED, SPARSE, SegmentTable
from mediaref_ursa._plan.segments import SegmentSequence
from mediaref_ursa.layout import CACHE, COLLECTION, INDEX_DIR, IndexLocation, index_locations
from mediaref_ursa.store import ObjectInfo
from mediaref_ursa.store._location import Location

FRESH = "fresh"
STALE = "stale"
NO_INDEX = "none"
DAMAGED = "damaged"
NEWER = "newer version"
BASE_COLUMNS = "base columns only"

_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class FoundIndex:
    """The index of a video, as it was found.

    Attributes:
        state: ``FRESH``, ``STALE``, ``NO_INDEX``, ``DAMAGED``, ``NEWER`` or ``BASE_COLUMNS``.
        index: The index where it can be opened, stale or not.
        tables: All its segments where it is fresh, else nothing.
        reason: Why it cannot be used, or empty.
        location: Where it stands, one word of :mod:`mediaref_ursa.layout`; None where there is none.
    """

    state: str
    index: LanceFrameIndex | None = None
    tables: tuple[SegmentTable, ...] = ()
    reason: str = ""
    location: IndexLocation | None = None

    @property
    def has_own_timestamps(self) -> bool:
        """Whether a caller gave the timestamps, from a camera's clock for instance, instead of pts."""
        if self.index is None or not self.index.has_packets:
            return self.index is not None
        try:
            tables = [self.index.segment_table(number) for number in range(len(self.index.segments))]
        except FrameIndexInvalidError:
            return False
        offsets = SegmentSequence(tuple(tables)).offsets
        return not all(
            np.allclose(table.timestamp, table.beginning_at(offset).timestamp, 0, _SAME_SECONDS)
            for table, offset in zip(tables, offsets, strict=True)
        )

    @property
    def is_sparse(self) -> bool:
        """Whether parts of the media were not read when it was written, so that checksums are unknown."""
        return self.index is not None and any(info.verified == SPARSE for info in self.index.segments)

    def describes(
        self,
        segment_uris: Sequence[str],
        timestamps: npt.ArrayLike | None,
        full: bool | None,
        stream_index: int | None,
        decode: bool = False,
    ) -> bool:
        """Return whether the index is usable and has the segments and timestamps that a caller gives."""
        if self.index is None or self.state not in (FRESH, BASE_COLUMNS) or (full and self.is_sparse):
            return False
        if decode and not self.is_decoded and not self.has_own_timestamps:
            return False
        infos = self.index.segments
        recorded = [recorded_uri(part) for part in segment_uris]
        if recorded and recorded != [recorded_uri(info.uri) for info in infos]:
            return False
        if stream_index is not None and any(info.stream_index != stream_index for info in infos):
            return False
        given = None if timestamps is None else np.asarray(timestamps, dtype=np.float64)
        return given is None or np.array_equal(given, self.index.timestamps())

    def check_replaceable(self, uri: str, *, has_timestamps: bool = False) -> None:
        """Refuse to replace an index whose content a scan cannot restore, unless the caller gives it.

        Args:
            uri: The video.
            has_timestamps: Whether the new index is given timestamps of its own.

        Raises:
            FrameIndexVersionError: A newer version of this library wrote it.
            FrameIndexInvalidError: It is damaged, or a table of another program.
            FrameIndexStaleError: It describes another file, and holds the timestamps of a clock.
        """
        if self.state in (NEWER, DAMAGED):
            kind = FrameIndexVersionError if self.state == NEWER else FrameIndexInvalidError
            raise kind(
                f"{self.reason}; if_exists='replace' or --overwrite replaces what stands there", uri=uri
            )
        if self.state == STALE and self.has_own_timestamps and not has_timestamps:
            raise FrameIndexStaleError(
                "the frame index is stale, and its timestamps were given by its writer: a new one would lose "
                "them; give them to write_frame_index again, or drop them with if_exists='replace' "
                "(index --overwrite)",
                uri=uri,
            )

    @property
    def is_decoded(self) -> bool:
        """Whether every frame was decoded when it was written, so that damaged pictures are known."""
        return self.index is not None and all(info.verified == DECODED for info in self.index.segments)

    @property
    def segment_uris(self) -> tuple[str, ...] | None:
        """All files of a recording of several, for writing this index anew; None for one file."""
        infos = () if self.index is None else self.index.segments
        return tuple(info.uri for info in infos) if len(infos) > 1 else None


def state_of(open_index: Callable[[], LanceFrameIndex], head: Callable[[str], ObjectInfo]) -> FoundIndex:
    """Open an index and compare it with the files that it describes.

    Args:
        open_index: Opens it, or raises what is wrong with it.
        head: Returns the ``ObjectInfo`` of a segment's URI.

    Raises:
        StoreError: A file cannot be looked at.
    """
    index: LanceFrameIndex | None = None
    try:
        index = open_index()
        if not index.has_packets:
            return FoundIndex(BASE_COLUMNS, index)
        for number, info in enumerate(index.segments):
            index.check_fresh(number, head(info.uri))
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


def find_index(
    video: Location,
    index_dir: str | os.PathLike[str] | None = None,
    *,
    is_name: bool = False,
    in_collections: bool = False,
) -> FoundIndex:
    """Look for the index of a video in each location, and compare it with the video.

    Args:
        video: The video, or the name of a recording of several files.
        index_dir: Look in this directory only.
        is_name: The caller knows the files of the recording, so that its name need not be one.
        in_collections: Look in the collection of the folder too, as readers do, and writers do not.

    Raises:
        InvalidReferenceError: A data URI, next to which nothing can stand.
        MediaNotFoundError: There is neither such a file nor an index of that name.
        StoreError: The video cannot be read.

    Returns:
        The first that is fresh, else the first that is there.
    """
    if is_data(video.uri):
        raise InvalidReferenceError("expected a path or URL of a video, found a data URI", uri=video.uri)

    def ask(part: str) -> ObjectInfo:
        return video.at(part).open_store().head(part)

    try:
        info: ObjectInfo | None = ask(video.uri)
        missing = None
    except MediaNotFoundError as error:  # the name of a recording, where an index has it
        info, missing = None, error
    names = (video.uri, absolute_location(video.uri))

    def head(part: str) -> ObjectInfo:
        return info if info is not None and part in names else ask(part)

    first = FoundIndex(NO_INDEX)
    for where in index_locations(video.uri) if index_dir is None else (INDEX_DIR,):
        if where == COLLECTION and not in_collections:
            continue
        found = _found_at(video.absolute(), where, head, info, index_dir)
        if found.state == FRESH:
            return found
        first = found if first.state == NO_INDEX else first
    if missing is not None and first.state == NO_INDEX and not is_name:
        raise missing
    return first


def _found_at(
    video: Location,
    where: IndexLocation,
    head: Callable[[str], ObjectInfo],
    info: ObjectInfo | None,
    index_dir: str | os.PathLike[str] | None,
) -> FoundIndex:
    """Look for an index in one location."""

    def open_index() -> LanceFrameIndex:
        return LanceFrameIndex.open_at(video, where, info=info, index_dir=index_dir)

    # Next to a video that is not served over HTTP a new one can be written: what cannot be opened in the
    # cache directory is not in its way.
    if where == CACHE and not is_remote(video.uri):
        try:
            index = open_index()
        except MediaRefError:
            return FoundIndex(NO_INDEX)
        found = state_of(lambda: index, head)
    else:
        found = state_of(open_index, head)
    return found if found.state == NO_INDEX else replace(found, location=where)


def checked_if_exists(if_exists: str | None, overwrite: bool) -> str:
    """Return ``if_exists``, checked: ``"error"`` for an existing index, ``"keep"`` or ``"replace"`` it.

    Raises:
        ValueError: Another word, or one that contradicts ``overwrite``.
    """
    if if_exists is None:
        return "replace" if overwrite else "error"
    if if_exists not in ("error", "keep", "replace"):
        raise ValueError(f"expected if_exists to be 'error', 'keep' or 'replace', found {if_exists!r}")
    if overwrite and if_exists != "replace":
        raise ValueError(f"expected overwrite=True or if_exists={if_exists!r}, found both")
    return if_exists
