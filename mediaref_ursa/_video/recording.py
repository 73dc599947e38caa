"""``Recording``: the index, segments and timeline that all windows of a lazy video share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from loguru import logger

from mediaref_ursa._core.array_types import Float64Array, Int64Array
from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameIndexInvalidError, OutsideRecordingWarning
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.media_warnings import warn_once
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.seconds import pts_ns_from_seconds
from mediaref_ursa._core.tick_times import TickTimes
from mediaref_ursa._core.ticks import BEFORE_FIRST, NS_PER_SECOND, TOLERANCE_NS
from mediaref_ursa._core.uris import is_local, is_relative_path, local_path
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._model.segment_uris import ADDITIONAL, AllSegments, all_segments, uri_list
from mediaref_ursa._plan.frame_times import FrameTimes
from mediaref_ursa._plan.segments import SegmentSequence
from mediaref_ursa._plan.timeline import Timeline
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa._video.source import (
        VideoSource,
        check_segment,
        complete_base_index,
        is_etag_pinned,
        scanned_if_outdated,
        source_with_alpha,
    )


class Recording:
    """One logical video, whose index is read when timestamps are used, and whose media when frames are.

    What has been read is kept. Safe for many threads, after forks, and to pickle.

    Args:
        video: The name of the video, and how its segments are reached.
        index: Its frame index.
        segment_uris: Where its segments are, in place of what the index says.
        given: The name of the video as the caller wrote it. References of a recording that was opened by a
            relative path are relative to the same folder.

    Raises:
        InvalidReferenceError: The index names a segment where references may not lead.
        ValueError: Another number of segments than the index has.
    """

    def __init__(
        self,
        video: Location,
        index: LanceFrameIndex,
        segment_uris: Sequence[str] | None,
        *,
        given: str = "",
    ) -> None:
        uri, store, access = video.uri, video.store, video.access
        self.index = index
        self.video = replace(video, storage_options=dict(video.storage_options or {}))
        self._own_store = None if store is None else video.open_store()
        self._segments: dict[int, SegmentTable] = {}
        for info, packets in zip(index.segments, index.packet_counts(), strict=True):
            access.check_frame_count(packets, info.length, info.uri)
        count = len(index.segment_frame_counts())
        named = list(segment_uris or _own_segments(index, uri))
        if len(named) != count:
            raise ValueError(
                f"expected the URIs of {count} segments, as the frame index has, found {len(named)}; "
                f"{ADDITIONAL}"
            )
        for part in named if not segment_uris else ():
            check_segment(self._location(uri), self._location(part), access)
        self._is_one_file = count == 1 and self._location(named[0]) == self._location(uri)
        self._segment_uris = [uri] if self._is_one_file else named
        self._relative_to: str | None = None
        if store is None and given and is_relative_path(given):
            if access.base_dir is not None:
                self._relative_to = local_path(access.base_dir)
            elif not segment_uris:  # else the caller wrote each as it shall be
                self._relative_to = str(Path.cwd())

    @property
    def uri(self) -> str:
        """The name of the video."""
        return self.video.uri

    @property
    def frame_count(self) -> int:
        """Frames of all segments."""
        return len(self.index)

    @cached_property
    def timeline(self) -> Timeline:
        """All frames in the order of their timestamps, read from the index."""
        try:
            timeline = Timeline.from_timestamps(self.index.timestamps(), self.index.segment_frame_counts())
        except FrameIndexInvalidError as error:
            raise FrameIndexInvalidError(error.message, uri=error.uri or self.uri) from error
        if timeline.order is not None:
            logger.info(
                "the timestamps of {} do not ascend; they are sorted with their frames", redact(self.uri)
            )
        return timeline

    @cached_property
    def frame_times(self) -> FrameTimes:
        """When each frame of the timeline is displayed.

        Exact, by the ticks of the container, unless the timestamps of the index are other times.

        Raises:
            FrameIndexInvalidError: Timestamps that do not fit into int64 nanoseconds.
        """
        timestamps = self.timeline.timestamps
        if self.index.has_packets and self.timeline.order is None:
            numbers = range(len(self.index.segment_frame_counts()))
            segments = SegmentSequence(tuple(self.indexed_segment(number) for number in numbers))
            if np.array_equal(segments.times[0], timestamps):
                return segments.frame_times
        try:
            ns = pts_ns_from_seconds(timestamps)
        except ValueError as error:
            raise FrameIndexInvalidError(str(error), uri=self.uri) from error
        return FrameTimes((TickTimes(ns, Fraction(1, NS_PER_SECOND)),), int(ns.max(initial=0)))

    @property
    def is_cut_short(self) -> bool:
        """Whether frames at the end are lost, because the last file is cut short."""
        infos = self.index.segments
        return bool(infos) and infos[-1].cut_short

    def segment_uri(self, number: int) -> str:
        """Return the location of a segment, named by the caller or the index."""
        return self._segment_uris[number]

    def indexed_segment(self, number: int) -> SegmentTable:
        """Return the index's table of a segment, not compared with the media."""
        if not self.index.has_packets:
            return self.segment(number)
        table = self.index.segment_table(number)
        location = self._location(self._segment_uris[number])
        return table.with_uri(location)

    def segment(self, number: int, *, with_alpha: bool = False) -> SegmentTable:
        """Return the table of a segment, whose media were found to be what the index describes.

        Args:
            number: The segment's, from 0 on.
            with_alpha: Return the table for decoding with alpha.

        Raises:
            FrameIndexStaleError: They are not.
            StoreError: They cannot be reached.
            UnsupportedMediaError: There is alpha that cannot be read.
        """
        table = self._segments.get(number)
        if table is None:
            table = self._segments.setdefault(number, self._checked(number))
        if with_alpha:
            source = VideoSource(table.info.uri, self._store(table.info.uri), (table,))
            return source_with_alpha(source, self.video.access).segments[0]
        return table

    def sources_of(self, tables: Sequence[SegmentTable]) -> list[VideoSource]:
        """Return the video source of each segment."""
        return [
            VideoSource(
                table.info.uri if self._is_one_file else self.uri, self._store(table.info.uri), (table,)
            )
            for table in tables
        ]

    def frames_named(self, uri: str, t_ns: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the segment, and the frame within it, that references to one URI name.

        A URI of a segment goes with that file's own time; windows of one file may be segments of their
        own. The name of a video of several segments goes with the time that runs on through them.

        Raises:
            ValueError: The URI names neither the video nor one of its segments.
            FrameOutsideVideoError: A time at which no frame of the video is displayed.
        """
        location = self._location(self.video.at(uri).permitted().uri)
        numbers = [i for i, part in enumerate(self._segment_uris) if self._location(part) == location]
        groups = [[number] for number in numbers]
        if not groups and location == self._location(self.uri):
            groups = [list(range(len(self._segment_uris)))]
        if not groups:
            raise ValueError(
                f"expected references to {redact(self.uri)} or its segments, found {redact(uri)}"
            )
        segment = np.zeros(len(t_ns), dtype=np.int64)
        frame = np.full(len(t_ns), BEFORE_FIRST, dtype=np.int64)
        for group in groups:
            segments = SegmentSequence(tuple(self.indexed_segment(number) for number in group))
            part, found = segments.resolve(t_ns, TOLERANCE_NS)
            take = (frame < 0) & (found >= 0)
            segment[take], frame[take] = np.array(group)[part[take]], found[take]
        for i in np.flatnonzero(frame < 0)[:1].tolist():
            raise segments.outside_error(uri, int(t_ns[i]), int(found[i]))
        return segment, frame

    def names(self, uri: str) -> bool:
        """Whether a URI is that of the video or of one of its segments."""
        location = self._location(self.video.at(uri).permitted().uri)
        return location in (self._location(part) for part in (self.uri, *self._segment_uris))

    def references(self, ranks: Int64Array) -> tuple[list[str], Int64Array]:
        """Return the URI and the ``pts_ns`` of the frame at each rank of the timeline.

        They name the files that hold the frames, as the caller or the index named them.
        """
        segment, _ = self.timeline.locate(ranks)
        named = {number: self._named(self._segment_uris[number]) for number in np.unique(segment).tolist()}
        return [named[number] for number in segment.tolist()], self.pts_ns_of(ranks)

    def pts_ns_of(self, ranks: Int64Array) -> Int64Array:
        """Return int64 ``(n,)``: the time of the frame at each rank of the timeline in its own file."""
        segment, frame = self.timeline.locate(ranks)
        pts_ns = np.zeros(len(ranks), dtype=np.int64)
        for number in np.unique(segment).tolist():
            mine = np.flatnonzero(segment == number)
            pts_ns[mine] = self.indexed_segment(number).pts_ns[frame[mine]]
        return pts_ns

    def _named(self, uri: str) -> str:
        if self._relative_to is None or not is_local(uri):
            return uri
        path = Path(local_path(uri))
        return str(path.relative_to(self._relative_to)) if path.is_relative_to(self._relative_to) else uri

    def span_seconds(self, start: int, stop: int) -> tuple[float, float]:
        """Return the timestamp of the first frame in a range of the timeline, and the end of the last one.

        Where the last frame's duration is unknown, it lasts as long as the one before.
        """
        times = self.timeline.timestamps[start:stop]
        if not len(times):
            return 0.0, 0.0
        return float(times[0]), float(times[-1]) + float(self.last_duration(start, stop))

    def last_duration(self, start: int, stop: int) -> Fraction:
        """Return how long the last frame in a range of the timeline lasts, in seconds."""
        segment, frame = self.timeline.locate(np.array([stop - 1]))
        lasts = Fraction(0)
        if self.index.has_packets:
            table = self.indexed_segment(int(segment[0]))
            lasts = int(table.duration[frame[0]]) * table.info.time_base
        times = self.timeline.timestamps[start:stop]
        return lasts if lasts > 0 else Fraction(float(np.diff(times[-2:]).sum()))

    def warn_outside(self, start: float, end: float) -> None:
        """Warn, once, of a time range in seconds that is wholly outside the recording.

        A recording of a session may cover less than its other data, so that it is no error.
        """
        first, stop = self.span_seconds(0, self.frame_count)
        if (start < stop and end > first) or start == end:
            return
        warn_once(
            OutsideRecordingWarning,
            f"the slice from {start} s to {end} s is empty, because the recording lasts from {first} s to "
            f"{stop} s; times are seconds of the recording's own clock",
            uri=self.uri,
        )

    def selected(self, ranks: Int64Array, timestamps: Float64Array) -> Recording:
        """Return a recording of some frames only, by their ranks in the timeline, at other timestamps.

        A frame may be taken more than once; it then stands in several segments of the same file.
        """
        segment, frame = self.timeline.locate(ranks)
        parts = []
        for number in np.unique(segment).tolist():
            left = np.flatnonzero(segment == number)
            while len(left):
                _, firsts = np.unique(frame[left], return_index=True)
                mine = left[firsts]
                table = self.indexed_segment(number).with_frames(frame[mine])
                parts.append((replace(table, timestamp=timestamps[mine]), self._segment_uris[number]))
                left = np.delete(left, firsts)
        return self.of_parts(parts)

    def of_parts(self, parts: Sequence[tuple[SegmentTable, str]]) -> Recording:
        """Return a recording of the same name, made of given segments with their URIs."""
        index = LanceFrameIndex(self.uri, file=None, tables=[table for table, _ in parts])
        uris = [uri for _, uri in parts]
        made = Recording(self.video, index, uris)
        made._relative_to = self._relative_to
        return made

    def window_parts(self, start: int, stop: int) -> list[tuple[SegmentTable, str]]:
        """Return the segments, each with its frames in a range of the timeline only, and their URIs."""
        segment, frame = self.timeline.locate(np.arange(start, stop, dtype=np.int64))
        return [
            (
                self.indexed_segment(number).with_frames(np.sort(frame[segment == number])),
                self._segment_uris[number],
            )
            for number in np.unique(segment).tolist()
        ]

    def _checked(self, number: int) -> SegmentTable:
        location = self._location(self._segment_uris[number])
        store = self._store(location)
        if not self.index.has_packets:
            return complete_base_index(location, store, self.index, number, self.video.access)
        table = self.indexed_segment(number)
        self.video.access.check_pixels(table.info.width, table.info.height, location)
        if not is_etag_pinned(store, table.info):
            self.index.check_fresh(number, store.head(location))
        return scanned_if_outdated(table, store, self.video.access)

    def _store(self, location: str) -> ObjectStore:
        return self._own_store or self.video.at(location).open_store()

    def _location(self, uri: str) -> str:
        return self.video.at(uri).absolute().uri


def open_index_of(video: Location) -> LanceFrameIndex:
    """Open the index of a video, where references may lead there.

    Raises:
        InvalidReferenceError: They may not.
        FrameIndexError: There is none, or it is damaged.
    """
    video = video.permitted_video().absolute()
    return LanceFrameIndex.open(
        video.uri, storage_options=video.storage_options, store=video.open_store(), access=video.access
    )


def segment_locations(
    video: Location,
    segment_uris: Sequence[str | os.PathLike[str]] | None,
    index: LanceFrameIndex | None,
) -> list[str]:
    """Return the locations of all segments of a recording, in order; none if the caller names none.

    An index of a recording whose name is no file says that the video is that name: a list of as many files as
    the index has segments is then the whole list.

    Raises:
        InvalidReferenceError: References may not lead there.
        TypeError: One path in place of a list.
    """
    parts = [video.at(part).permitted_video().uri for part in uri_list(segment_uris)]
    if not parts:
        return []
    if isinstance(segment_uris, AllSegments) or (index is not None and _is_of_a_name(index, len(parts))):
        return parts
    return all_segments(video.uri, parts, has_own_store=video.store is not None)


def describes_first_only(
    index: LanceFrameIndex, video: Location, segment_uris: Sequence[str | os.PathLike[str]] | None
) -> bool:
    """Whether the index next to a video is that of one file, which is the first of several in a recording."""
    named = segment_locations(video.permitted_video(), segment_uris, index)
    if len(named) < 2 or len(index.segment_frame_counts()) != 1:
        return False
    return not index.segments or index.segments[0].uri == index.uri


def _is_of_a_name(index: LanceFrameIndex, segments: int) -> bool:
    """Whether an index describes ``segments`` files, several, under a name that is none of theirs."""
    named = [info.uri for info in index.segments]
    return 1 < segments == len(named) and index.uri not in named


def _own_segments(index: LanceFrameIndex, uri: str) -> list[str]:
    """Return the locations of a video's segments by the index, if the caller names none.

    The index of one file stands for that file wherever the caller has it; an index of several files, or
    of a file with another name than the video's, says where they are.
    """
    named = [info.uri for info in index.segments]
    return [uri] if named in ([], [index.uri]) else named
