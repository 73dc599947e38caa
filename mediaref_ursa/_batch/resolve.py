"""References resolved: their videos opened, and each time turned into a frame of a segment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.daemon_threads import DaemonThreads
from mediaref_ursa._core.errors import MediaRefError, memory_limits
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.frame_times import Match, checked_match, checked_tolerance
from mediaref_ursa._plan.runs import BatchDecodingStrategy, plan_runs
from mediaref_ursa._references.columns import ReferenceColumns
from mediaref_ursa.store._asked_together import asked_together
from mediaref_ursa.store._download.retry import stopped_by
from mediaref_ursa.store._protocol import is_local_store

if TYPE_CHECKING:
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa._model.segment import SegmentTable
    from mediaref_ursa._video.source import VideoSource

_MAX_OPENED_AT_ONCE = 16


@dataclass(frozen=True)
class BatchRequest:
    """The references of one call, and the options by which they are resolved.

    Attributes:
        columns: The references.
        match: The rule by which a time names a frame.
        tolerance_ns: Nanoseconds by which a reference may lie before its frame; with ``match="nearest"``,
            before or after it.
        frame_index: The caller's index or indexes, as ``batch_decode`` takes them.
        options: The other options.
    """

    columns: ReferenceColumns
    match: Match
    tolerance_ns: int
    frame_index: Any
    options: BatchOptions

    @classmethod
    def from_refs(
        cls, refs: Any, match: str, tolerance_ns: int, frame_index: Any, options: BatchOptions
    ) -> BatchRequest:
        """Return the request of a call, its arguments checked.

        Raises:
            TypeError: Something that holds no references, or a tolerance that is no whole number.
            ValueError: References that an option forbids, another rule, or a tolerance out of range.
        """
        rule, tolerance_ns = checked_match(match), checked_tolerance(tolerance_ns)
        columns = options.columns_of(refs)
        _check_allowed(columns, options)
        return cls(columns, rule, tolerance_ns, frame_index, options)

    @property
    def has_videos(self) -> bool:
        """Whether any reference is to a video."""
        return not self.columns.is_image.all()

    def videos(self, only: Int64Array | None = None) -> dict[str, Int64Array]:
        """Return the slots of the references to each video, by URI in the order of first use.

        Args:
            only: The slots to look at; all without it.
        """
        videos = self.columns.videos()
        if only is None:
            return videos
        left = {uri: slots[np.isin(slots, only)] for uri, slots in videos.items()}
        return {uri: slots for uri, slots in left.items() if len(slots)}


@dataclass(frozen=True)
class ResolvedBatch:
    """The frame that each reference of a batch names.

    Attributes:
        segments: The segments of all videos.
        sources: The video of each of these.
        segment: int64 ``(n,)``: of each frame, its segment among these.
        frame: int64 ``(n,)``: its number in presentation order.
        slot: int64 ``(n,)``: the slot of its reference.
        pts_ns: int64 ``(n,)``: its time, as a reference to it in the same video stores it.
        errors: The error of each slot that names no frame.
    """

    segments: tuple[SegmentTable, ...]
    sources: tuple[VideoSource, ...]
    segment: Int64Array
    frame: Int64Array
    slot: Int64Array
    pts_ns: Int64Array
    errors: Mapping[int, MediaRefError]

    def plan(self, request: BatchRequest, strategy: BatchDecodingStrategy) -> DecodePlan:
        """Return the plan to decode the frames.

        Args:
            request: What was resolved.
            strategy: How runs are cut.
        """
        return DecodePlan(
            segments=self.segments,
            runs=plan_runs(self.segments, self.segment, self.frame, self.slot, strategy),
            references=len(request.columns),
            images=int(request.columns.is_image.sum()),
            strategy=strategy,
            fetch=request.options.fetch,
            is_local=tuple(is_local_store(source.store) for source in self.sources),
        )


def resolve_batch(
    request: BatchRequest,
    *,
    only: Int64Array | None = None,
    ask_store: bool = False,
    with_alpha: bool = False,
) -> ResolvedBatch:
    """Open the videos and find the frames that references name.

    Args:
        request: The references.
        only: The slots to resolve; all without it.
        ask_store: Ask each store whether its video is still the one that an index describes.
        with_alpha: Return segments for decoding with alpha.
    """
    segments: list[SegmentTable] = []
    sources: list[VideoSource] = []
    errors: dict[int, MediaRefError] = {}
    found: list[tuple[Int64Array, Int64Array, Int64Array, Int64Array]] = []
    videos = request.videos(only)
    is_collection = hasattr(request.frame_index, "get_many")
    locations = _locations(request, videos) if is_collection or len(videos) > 1 else {}
    if is_collection:
        request = _with_indexes_found(request, locations)
    _check_one_index(request)
    with (
        asked_together(locations.values()),
        _opener(request, list(videos), ask_store=ask_store, with_alpha=with_alpha) as open_video,
    ):
        for uri, slots in videos.items():
            t_ns = request.columns.pts_ns[slots]
            try:
                source = open_video(uri)
                sequence = source.sequence
                segment, frame = sequence.resolve(t_ns, request.tolerance_ns, request.match)
            except MediaRefError as error:
                errors.update(dict.fromkeys(slots.tolist(), error))
                continue
            for i in np.flatnonzero(frame < 0).tolist():
                time, missing = int(t_ns[i]), int(frame[i])
                errors[int(slots[i])] = sequence.outside_error(uri, time, missing, request.tolerance_ns)
            inside = frame >= 0
            pts_ns = sequence.pts_ns_of(segment[inside], frame[inside])
            found.append((segment[inside] + len(segments), frame[inside], slots[inside], pts_ns))
            segments += source.segments
            sources += [source] * len(source.segments)
    none = np.empty(0, dtype=np.int64)
    segment, frame, slot, pts_ns = (np.concatenate([none, *(part[i] for part in found)]) for i in range(4))
    return ResolvedBatch(tuple(segments), tuple(sources), segment, frame, slot, pts_ns, errors)


@contextmanager
def _opener(
    request: BatchRequest, uris: list[str], *, ask_store: bool, with_alpha: bool
) -> Iterator[Callable[[str], VideoSource]]:
    """Yield a function that opens a video by its URI.

    Remote videos are opened several at once, and ahead: each takes some round trips.
    """
    open_video = partial(_open, request, ask_store=ask_store, with_alpha=with_alpha)
    remote = [uri for uri in uris if not request.options.location(uri).is_local]
    workers = min(len(remote), _MAX_OPENED_AT_ONCE)
    if workers < 2:
        yield open_video
        return
    stop = threading.Event()
    with DaemonThreads(workers, "mediaref-open") as threads, stopped_by(stop):
        try:
            opened = {uri: threads.submit(in_this_context(open_video), uri) for uri in remote}
            yield lambda uri: opened[uri].result() if uri in opened else open_video(uri)
        except BaseException:
            stop.set()
            raise


def _open(request: BatchRequest, uri: str, *, ask_store: bool, with_alpha: bool) -> VideoSource:
    from mediaref_ursa._video.source import open_source, source_with_alpha

    options = request.options
    with memory_limits(uri):
        video = options.location(uri).permitted_video()
        source = open_source(video, _index_of(request, uri, video.uri), ask_store=ask_store)
        for table in source.segments:
            options.access.check_pixels(table.info.width, table.info.height, uri)
        return source_with_alpha(source, options.access) if with_alpha else source


def _locations(request: BatchRequest, uris: Iterable[str]) -> dict[str, str]:
    """Return the absolute location of each video that references may lead to, by the URI in these."""
    locations = {}
    for uri in uris:
        with suppress(MediaRefError):  # where references may not lead is their error, on opening
            locations[uri] = request.options.location(uri).permitted_video().absolute().uri
    return locations


def _with_indexes_found(request: BatchRequest, locations: Mapping[str, str]) -> BatchRequest:
    """Return a request with the indexes that its collection has of videos, read together, in its place."""
    indexes = request.frame_index._get_each(locations.values())
    found = {uri: indexes[location] for uri, location in locations.items() if location in indexes}
    return replace(request, frame_index=found)


def _check_one_index(request: BatchRequest) -> None:
    is_one = request.frame_index is not None and not isinstance(request.frame_index, Mapping)
    if is_one and (videos := len(request.columns.videos())) > 1:
        raise ValueError(
            "expected frame_index to be a CollectionIndex or a mapping from URIs to indexes for references "
            f"to several videos, found one index for {videos} videos"
        )


def _index_of(request: BatchRequest, uri: str, location: str) -> LanceFrameIndex | None:
    """Return the caller's index of a video, None where there is none.

    Raises:
        TypeError: Something else.
    """
    given: Any = request.frame_index
    if isinstance(given, Mapping):
        given = given.get(uri, given.get(location))
        if isinstance(given, MediaRefError):  # of a collection whose rows of this video are damaged
            raise given
    if isinstance(given, (str, os.PathLike)):
        from mediaref_ursa._index.frame_index import LanceFrameIndex

        options = request.options
        return LanceFrameIndex.open(given, storage_options=options.storage_options, access=options.access)
    if given is not None and not hasattr(given, "segment_table"):
        raise TypeError(
            "expected frame_index to be a LanceFrameIndex, a CollectionIndex or a mapping, "
            f"found {given!r:.100}"
        )
    index: LanceFrameIndex | None = given
    return index


def _check_allowed(columns: ReferenceColumns, options: BatchOptions) -> None:
    """Refuse references that MediaRef's options exclude: images, several videos, gaps in time."""
    images, videos = int(columns.is_image.sum()), columns.videos()
    if images and not options.allow_images:
        raise ValueError(f"expected no images with allow_images=False, found {images}")
    if len(videos) > 1 and not options.allow_multi_video:
        raise ValueError(f"expected one video with allow_multi_video=False, found {len(videos)}")
    if options.allow_gap:
        return
    for uri, slots in videos.items():
        times = np.sort(columns.pts_ns[slots]).view(np.uint64)  # of ascending times no difference overflows
        gap_ns = int(np.diff(times).max(initial=0))
        if gap_ns > options.gap_threshold * 1e9:
            raise ValueError(
                f"expected gaps of at most {options.gap_threshold} s with allow_gap=False, "
                f"found {gap_ns / 1e9:.3f} s between references to {redact(uri)}"
            )
