"""Building the frame index of a video: in memory, or to be written next to the video."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from loguru import logger

from mediaref_ursa._core.extras import check_packages_of, needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location, is_cloud, scheme_of
from mediaref_ursa._index.found import FoundIndex, checked_if_exists, find_index
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa._model.damage import warn_of_problems
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._model.segment_uris import all_segments, given_segments, names_first_segment
from mediaref_ursa._plan.segments import SegmentSequence
from mediaref_ursa._scan.options import Progress, ScanOptions
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.writer import IndexTarget
    from mediaref_ursa._scan.sandbox.parent import scan_video
    from mediaref_ursa._scan.scan_uri import scan_uri


def scan_frame_index(
    uri: str | os.PathLike[str],
    *,
    segment_uris: Sequence[str | os.PathLike[str]] = (),
    segments: Sequence[str | os.PathLike[str]] | None = None,
    timestamps: npt.ArrayLike | None = None,
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    full: bool | None = None,
    stream_index: int | None = None,
    decode: bool = False,
    access: Access = TRUSTED,
) -> LanceFrameIndex:
    """Build the index of a video in memory: as :func:`write_frame_index`, without writing.

    Each file must be one that ``access`` permits; where it sets limits, files are scanned sandboxed, without
    ``progress``, ``full`` and ``decode``.
    """
    video = Location(os.fspath(uri), store, storage_options, access).absolute()
    named = given_segments(video.uri, segment_uris, segments)
    files = all_segments(video.uri, named, has_own_store=store is not None)
    options = ScanOptions(full=full, stream_index=stream_index, decode=decode)

    def scan(file: str) -> SegmentTable:
        video.at(file).permitted_video()
        if access.scan_limits is not None:
            return scan_video(file, video.at(file).open_store(), access, stream_index=stream_index)
        return scan_uri(file, video.at(file).open_store(), options, progress)

    files = [video.at(file).absolute().uri for file in files]
    return _index_of(video.uri, files, scan, timestamps, is_list=len(named) > 0)


def scan_video_index(video: Location, segment_uris: Sequence[str]) -> LanceFrameIndex:
    """Build the index of a video in memory, of all its segments: as ``scan_frame_index``, under limits."""

    def scan(file: str) -> SegmentTable:
        video.access.check_video_uri(file)
        return scan_video(file, video.at(file).open_store(), video.access)

    files = [video.at(file).absolute().uri for file in segment_uris]
    return _index_of(video.absolute().uri, files, scan, is_list=len(files) > 1)


def _index_of(
    uri: str,
    files: Sequence[str],
    scan: Callable[[str], SegmentTable],
    timestamps: npt.ArrayLike | None = None,
    *,
    is_list: bool,
) -> LanceFrameIndex:
    """Scan the files of a video in order, and return their index in memory."""
    tables = []
    for file in files:
        with names_first_segment(is_list and file == uri):
            tables.append(scan(file))
    return LanceFrameIndex._of(uri, file=None, tables=with_timestamps(tables, timestamps, uri))


@set_module("mediaref_ursa")
def write_frame_index(
    uri: str | os.PathLike[str],
    *,
    segment_uris: Sequence[str | os.PathLike[str]] = (),
    segments: Sequence[str | os.PathLike[str]] | None = None,
    timestamps: npt.ArrayLike | None = None,
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    full: bool | None = None,
    index_dir: str | os.PathLike[str] | None = None,
    stream_index: int | None = None,
    if_exists: Literal["error", "keep", "replace"] | None = None,
    decode: bool = False,
    hidden: bool | None = None,
) -> LanceFrameIndex:
    """Scan a video once and write its frame index: to ``<uri>.lance``, or to ``.mediaref/<name>.lance``.

    Where nothing can be written next to the video (an http server, a read-only bucket or directory), the
    index goes to this user's cache directory, and :meth:`LanceFrameIndex.open` finds it there.

    The write is one commit: a writer that is killed leaves the old index, or none.

    Args:
        uri: The video, the first segment of a recording of several files.
        segment_uris: The additional files of the recording, in order. A list that contains ``uri`` is the
            whole list in its order.
        segments: All files of a recording whose name, ``uri``, is no file; instead of ``segment_uris``.
        timestamps: float64 ``(n,)``, recording-relative seconds of every frame over all segments,
            ascending, such as those of a camera's clock. Without them a frame's timestamp is
            ``pts * time_base`` plus the lengths of the segments before.
        store: Where the video's bytes are; chosen by each URI's scheme without it. The index is written by
            Lance, to the location that the URI names.
        storage_options: For cloud stores, of the video and of the index, as fsspec or as Lance spell them.
        overwrite: Replace an existing index: ``if_exists="replace"``.
        progress: Called now and then with bytes done and bytes in all, of each segment in turn.
        full: Whether every byte of the video is read. Without a word, of a remote MP4 or MOV file little more
            is read than what describes its samples, if that is enough to find every frame. The checksums of
            packets then stay unknown, and which frames others refer to: bytes that were changed without a
            new length or entity tag are not found out, and a few packets more are read for each frame.
        index_dir: Write the index to this directory, under a name made from the URI and the version of the
            video, and not next to the video.
        stream_index: The video stream of each file, counted across all kinds of streams as FFmpeg does;
            FFmpeg's best without it.
        if_exists: ``"error"`` (the default) raises where there is an index already. ``"keep"`` does what the
            command line does: an index that describes what is asked for is kept, and one that is stale, or of
            other segments, timestamps or another stream than are given, is written anew; what could not be
            made again is an error. ``"replace"`` writes in any case.
        decode: Decode every frame too, linearly and from its random access point, which takes as long as
            two linear decodes. Damaged pictures, which no checksum reveals, are then recorded. Without it
            they are found when a frame is decoded that refers to one; it is an error either way.
        hidden: Write the index to the folder ``.mediaref`` next to the video, where programs do not find it
            that take a folder for a data set, as Hugging Face's ``load_dataset`` does. A
            local ``<uri>.lance``
            is replaced by it, or moved there where ``"keep"`` keeps it. False moves and writes the other way.
            Without a word the index goes to where one stands already, else to ``<uri>.lance``.

    Warns:
        DamagedMediaWarning: Frames are lost: the file is cut short or damaged, or other frames have their
            times.

    Returns:
        The index; ``place`` says where it stands, and ``location`` in which kind of location.

    Raises:
        FrameIndexExistsError: There is an index, and ``if_exists`` is ``"error"``; or the index of a video in
            a cloud store shall be hidden, and ``<uri>.lance`` is there, which is found first.
        FrameIndexVersionError: With ``"keep"``: a newer version of this library wrote the one that is there.
        FrameIndexInvalidError: With ``"keep"``: the one that is there is damaged.
        FrameIndexStaleError: With ``"keep"``: the one that is there is stale, and holds timestamps that were
            given by its writer.
        ValueError: Timestamps of another number than there are frames, not finite, or descending; both
            ``segments`` and ``segment_uris``; both ``hidden`` and ``index_dir``.
        UnsupportedMediaError: No video, or a codec that cannot be decoded here.
        CorruptMediaError: A video that FFmpeg cannot read.
        StoreError: The video cannot be read, or the index not be written, where they are.

    Example:
        >>> index = write_frame_index("clip.mp4")
        >>> index.pts_table(0)[:3].tolist()
        [0, 512, 1024]
        >>> write_frame_index("clip.mp4", if_exists="keep").place == index.place
        True
    """
    replace_or_keep = checked_if_exists(if_exists, overwrite)
    video = absolute_location(uri) if store is None else os.fspath(uri)
    if store is None and is_cloud(video):
        check_packages_of(scheme_of(video), video)
    location = Location(video, store, storage_options)
    target = IndexTarget(location.absolute(), index_dir, hidden)
    if replace_or_keep == "error":
        target.refuse_existing()
    elif replace_or_keep == "keep":
        named = given_segments(video, segment_uris, segments)
        wanted = all_segments(video, named, has_own_store=store is not None) if named else []
        if store is None:
            wanted = [absolute_location(part) for part in wanted]
        found = find_index(location, index_dir, is_name=bool(named))
        if found.index is not None and found.describes(wanted, timestamps, full, stream_index, decode):
            return settled(found, target)
        found.check_replaceable(video, has_timestamps=timestamps is not None)
        if not named:
            segments = found.segment_uris
    target.check_movable()
    index = scan_frame_index(
        uri,
        segment_uris=segment_uris,
        segments=segments,
        timestamps=timestamps,
        store=store,
        storage_options=storage_options,
        progress=progress,
        full=full,
        stream_index=stream_index,
        decode=decode,
    )
    tables = [index.segment_table(i) for i in range(len(index.segments))]
    index._location, index._written_to = target.write(tables, overwrite=replace_or_keep != "error")
    warn_of_problems(video, tables)
    logger.info("wrote the frame index of {} ({} frames)", redact(index.uri), len(index))
    return index


def settled(found: FoundIndex, target: IndexTarget) -> LanceFrameIndex:
    """Return an index that is of use, moved to where it is wanted: see :meth:`IndexTarget.settle`.

    Raises:
        FrameIndexExistsError: It cannot be moved.
    """
    assert found.index is not None
    where = target.settle(found.location)
    if where is None or where == found.location:
        return found.index
    return LanceFrameIndex.open_at(target.video, where)


def with_timestamps(
    tables: Sequence[SegmentTable], timestamps: npt.ArrayLike | None, uri: str
) -> list[SegmentTable]:
    """Return the tables of a video's segments with given timestamps, or such as run on through them.

    Args:
        tables: Of all segments, in order.
        timestamps: float64 ``(n,)``, seconds of every frame over all segments, ascending.
        uri: The video, for messages.

    Raises:
        ValueError: Timestamps of another number than there are frames, not finite, or descending.
    """
    if timestamps is None:
        offsets = SegmentSequence(tuple(tables)).offsets
        return [table.beginning_at(by) if by else table for table, by in zip(tables, offsets, strict=True)]
    given = np.asarray(timestamps, dtype=np.float64)
    counts = [len(table) for table in tables]
    if given.shape != (sum(counts),):
        raise ValueError(
            f"expected {sum(counts)} timestamps, one for each frame of {redact(uri)}, "
            f"found an array of shape {given.shape}"
        )
    check_ascending(given)
    parts = np.split(given, np.cumsum(counts)[:-1])
    return [replace(table, timestamp=part) for table, part in zip(tables, parts, strict=True)]


def check_ascending(timestamps: npt.NDArray[np.float64], of: str = "") -> None:
    """Refuse timestamps that are not finite or that descend.

    Args:
        timestamps: float64 ``(n,)``, seconds.
        of: What they are of, for the message.

    Raises:
        ValueError: With the first value that is wrong, and its position.

    >>> check_ascending(np.array([0.0, 0.5, 0.5]))
    """
    is_wrong = ~np.isfinite(timestamps)
    if not is_wrong.any():
        is_wrong[1:] = timestamps[1:] < timestamps[:-1]
    for position in np.flatnonzero(is_wrong)[:1].tolist():
        raise ValueError(
            f"expected finite, ascending timestamps{of}, found {timestamps[position]} at position {position}"
        )
