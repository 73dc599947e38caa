"""One logical video over stores and segments; windows and slices that decode nothing until asked."""

from __future__ import annotations

import builtins
import contextlib
import copy
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._access import Access
from mediaref_ursa._decode_plan import DecodePlan
from mediaref_ursa._errors import FrameIndexMissingError
from mediaref_ursa._extras import needs_extra
from mediaref_ursa._frame_rows import FrameRows
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._plan import BatchDecodingStrategy, plan_runs
from mediaref_ursa._reads import FetchOptions
from mediaref_ursa._recording import Recording, open_index_of, video_place
from mediaref_ursa._references import reference_columns
from mediaref_ursa._time import Int64Array, running_offsets
from mediaref_ursa._timeline import Float64Array
from mediaref_ursa._uri_text import redact
from mediaref_ursa.store import ObjectStore

with needs_extra("video"):
    from mediaref_ursa._execute import default_workers, execute, in_slot_order, make_engine
    from mediaref_ursa._frame_index import LanceFrameIndex
    from mediaref_ursa._guarded_scan import scan_video_index

if TYPE_CHECKING:
    from temporaldata import IrregularTimeSeries

    from mediaref_ursa._frame_table import SegmentTable
    from mediaref_ursa._media_ref import MediaRef

UInt8Array = npt.NDArray[np.uint8]

_FRAMES_AT_ONCE = 32


class LazyVideo:
    """A video, or a window of one, whose frames are decoded when they are asked for.

    With a frame index, making one reads nothing of the media, and neither does a window. Without one,
    ``frame_index=None``, every segment is scanned up front: slow, and it reads all bytes.

    Safe for many threads, after forks, and to pickle: it holds no open handle.

    Args:
        uri: The video; the name of the recording where it has several segments.
        store: Where its bytes are; chosen by the URI's scheme without it.
        frame_index: A ``LanceFrameIndex``, or the URI of one.
        metadata: Anything; slices carry it along as the same object.
        segment_uris: The files that make up the video, in order; those of the index, or ``uri`` itself.
        resize: ``(height, width)`` of every frame in pixels, bilinear.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        channel_format: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``.
        storage_options: For cloud stores, as fsspec and Lance take them.
        fetch: How bytes are read from afar; a ``FetchOptions``.
        **access: What may be read, as ``batch_decode`` takes it: ``untrusted``, ``base_dir``,
            ``allow_schemes``, ``allow_private_hosts``, ``max_redirects``, ``allow_outside_base``,
            ``max_pixels``, ``index_limits`` and ``allow_shared_cache_dir``; see ``docs/security.md``.

    Raises:
        ValueError: An option that is none of its values.
        MediaRefError: Without a frame index, what scanning raises.

    Example:
        >>> from mediaref_ursa import LazyVideo, write_frame_index
        >>> video = LazyVideo("clip.mp4", frame_index=write_frame_index("clip.mp4"))
        >>> video
        LazyVideo('clip.mp4', frames=60, segments=1, seconds=0.000..1.967)
        >>> video.lazy_slice(0.5, 1.0).slice(0.6, 0.9).frames.shape
        (9, 3, 96, 128)
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        *,
        store: ObjectStore | None = None,
        frame_index: LanceFrameIndex | str | os.PathLike[str] | None = None,
        metadata: Any = None,
        segment_uris: Sequence[str | os.PathLike[str]] | None = None,
        resize: tuple[int, int] | None = None,
        colorspace: str = "RGB",
        channel_format: str = "NCHW",
        storage_options: Mapping[str, Any] | None = None,
        fetch: FetchOptions | None = None,
        **access: Any,
    ) -> None:
        self.metadata = metadata
        self._fetch = fetch or FetchOptions()
        allowed = Access.of("LazyVideo", access)
        self._spec = PixelSpec(resize, colorspace, channel_format, max_pixels=allowed.max_pixels)
        self._scanned = frame_index is None
        uri, *parts = (video_place(part, store, allowed) for part in (uri, *(segment_uris or ())))
        if isinstance(frame_index, (str, os.PathLike)):
            frame_index = LanceFrameIndex.open(frame_index, storage_options=storage_options)
        if frame_index is None:
            frame_index = scan_video_index(uri, parts, store, storage_options, allowed)
        self._recording = Recording(uri, frame_index, parts, store, storage_options, allowed)
        self._start, self._stop = 0, self._recording.frame_count

    @classmethod
    def from_uri(
        cls,
        uri: str | os.PathLike[str],
        *,
        store: ObjectStore | None = None,
        metadata: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> LazyVideo:
        """Open a video with the frame index that stands beside it, or scan it where there is none.

        Args:
            uri: The video.
            store: Where its bytes are; chosen by the URI's scheme without it.
            metadata: Kept as it is.
            storage_options: For cloud stores, as fsspec and Lance take them.
            **options: ``resize``, ``colorspace``, ``channel_format``, ``segment_uris``, ``fetch``, and what
                may be read.

        Raises:
            FrameIndexError: There is an index, and it is damaged or of a newer version.
        """
        index: LanceFrameIndex | None = None
        with contextlib.suppress(FrameIndexMissingError):
            access = Access.taken_from(dict(options))
            index = open_index_of(os.fspath(uri), store, storage_options, access)
        return cls(
            uri,
            store=store,
            frame_index=index,
            metadata=metadata,
            storage_options=storage_options,
            **options,
        )

    @classmethod
    def from_refs(
        cls, refs: Any, *, video: LazyVideo | None = None, **options: Any
    ) -> tuple[LazyVideo, builtins.slice]:
        """Return the smallest window that holds the frames which references name.

        Args:
            refs: References to frames of one video, as :func:`batch_decode` takes them.
            video: The video that they refer to, where references name its segments, as those of
                :meth:`refs` do; opened with :meth:`from_uri` otherwise.
            **options: As :meth:`from_uri` takes them.

        Returns:
            The window, and the slice of frame numbers of the whole video that it covers: ``window[:]``
            and ``video[slice]`` are the same frames.

        Raises:
            ValueError: No references, references to images, or to several videos.
            FrameOutsideVideoError: A reference names no frame.

        Example:
            >>> video = LazyVideo.from_uri("clip.mp4")
            >>> window, numbers = LazyVideo.from_refs(video.refs()[12:20])
            >>> len(window), numbers
            (8, slice(12, 20, None))
        """
        columns = reference_columns(refs)
        videos = columns.videos()
        if not len(columns) or columns.is_image.any():
            raise ValueError("expected references to frames of a video, found none, or some to images")
        if video is None:
            if len(videos) != 1:
                raise ValueError(
                    f"expected references to one video, found {len(videos)}; name it with video="
                )
            video = cls.from_uri(next(iter(videos)), **options)
        places = np.concatenate(
            [video._places_of(uri, columns.pts_ns[slots]) for uri, slots in videos.items()]
        )
        first, stop = int(places.min()), int(places.max()) + 1
        return video._window(first, stop), slice(first, stop)

    @staticmethod
    def concat(videos: Sequence[LazyVideo]) -> LazyVideo:
        """Join videos, or windows of them, in order.

        Videos that were scanned run on: each is moved back by the lengths of those before it. Videos
        with frame indexes keep their timestamps, and are put in the order of these.

        Raises:
            ValueError: No videos, different ``resize``, ``colorspace`` or ``channel_format``, different
                stores, or timestamps that overlap: different recordings.
        """
        if not videos:
            raise ValueError("expected at least one video, found none")
        first = videos[0]
        for other in videos[1:]:
            first._check_joins(other)
        if len(videos) == 1:
            return first._window(0, len(first))
        videos = [video for video in videos if len(video)]
        if not videos:
            return first._window(0, 0)
        if not first._scanned:
            videos.sort(key=lambda video: float(video.timestamps[0]))
        tables = _joined_tables(videos)
        joined = copy.copy(first)
        joined._recording = Recording(
            first.uri,
            LanceFrameIndex(first.uri, file=None, tables=tables),
            [table.info.uri for table in tables],
            first._recording.store,
            first._recording.storage_options,
            first._recording.access,
        )
        joined._start, joined._stop = 0, joined._recording.frame_count
        return joined

    @property
    def uri(self) -> str:
        """The video, as it was named."""
        return self._recording.uri

    @property
    def frame_count(self) -> int:
        """Frames in the window."""
        return self._stop - self._start

    def __len__(self) -> int:
        return self.frame_count

    @property
    def timestamps(self) -> Float64Array:
        """float64 ``(n,)``: recording-relative seconds of each frame in the window, ascending."""
        return self._recording.timeline.timestamps[self._start : self._stop]

    def __repr__(self) -> str:
        span = ""
        if len(self):
            span = f", seconds={self.timestamps[0]:.3f}..{self.timestamps[-1]:.3f}"
        segments = len(self._recording.index.segment_frame_counts())
        return f"LazyVideo({redact(self.uri)!r}, frames={len(self)}, segments={segments}{span})"

    def lazy_slice(self, start: float, end: float) -> LazyVideo:
        """Return the window of frames with timestamps in ``[start, end)``, decoding nothing.

        Timestamps stay those of the recording, so that windows of windows compose. A window that covers
        nothing is empty.
        """
        start, end = float(start), float(end)
        if np.isnan(start) or np.isnan(end):
            raise ValueError(f"expected seconds, found {start} and {end}")
        first, stop = self._recording.timeline.between(start, end)
        return self._window(max(first, self._start) - self._start, min(stop, self._stop) - self._start)

    def slice(self, start: float, end: float, reset_origin: bool = True) -> IrregularTimeSeries:
        """Decode the frames with timestamps in ``[start, end)``.

        Args:
            start: Seconds, inclusive.
            end: Seconds, exclusive.
            reset_origin: Give timestamps relative to ``start`` instead of those of the recording.

        Returns:
            A temporaldata object with ``timestamps`` float64 ``(n,)`` and ``frames`` uint8
            ``(n, C, H, W)`` or ``(n, H, W, C)``; its ``metadata`` is that of the video.

        Raises:
            ValueError: Bounds that are not finite, or frames of different sizes without ``resize``.
            MediaRefError: A frame that cannot be read or decoded; the message names the segment.
        """
        with needs_extra("video"):
            from mediaref_ursa._series import frame_series
        start, end = float(start), float(end)
        if not (np.isfinite(start) and np.isfinite(end)):
            raise ValueError(f"expected finite seconds, found {start} and {end}")
        window = self.lazy_slice(start, end)
        origin = start if reset_origin else 0.0
        domain = (start - origin, max(start, end) - origin)
        return frame_series(window.timestamps - origin, window[:], domain, self.metadata)

    def __getitem__(self, key: Any) -> UInt8Array:
        """Decode one frame, ``video[i]``, or several, ``video[a:b:c]``, by their places in the window."""
        if isinstance(key, builtins.slice):
            places = np.arange(*key.indices(len(self)), dtype=np.int64)
            return self._decode(places + self._start)
        place = operator.index(key)
        if not -len(self) <= place < len(self):
            raise IndexError(f"expected a frame from {-len(self)} to {len(self) - 1}, found {place}")
        return np.ascontiguousarray(self._decode(np.array([place % len(self) + self._start]))[0])

    def __iter__(self) -> Iterator[UInt8Array]:
        """Yield the window's frames in order, holding few of them at a time."""
        if self._recording.timeline.order is not None:
            for first in range(0, len(self), _FRAMES_AT_ONCE):
                yield from self[first : first + _FRAMES_AT_ONCE]
            return
        places = np.arange(self._start, self._stop, dtype=np.int64)
        plan = self._plan(places, BatchDecodingStrategy.SEQUENTIAL)
        self._frame_shape(plan.segments)  # one size for all, or an error before the first frame
        engine = make_engine("pyav", self._spec)
        yield from in_slot_order(execute(plan, self._recording.sources_of(plan.segments), engine))

    def refs(self) -> list[MediaRef]:
        """Return the reference of each frame in the window, in order.

        References name the files that hold the frames: those of the segments.
        """
        from mediaref_ursa._media_ref import trusted_refs

        segment, frame = self._recording.timeline.locate(np.arange(self._start, self._stop, dtype=np.int64))
        uris = [""] * len(self)
        pts_ns = np.zeros(len(self), dtype=np.int64)
        for number in np.unique(segment).tolist():
            mine = np.flatnonzero(segment == number)
            pts_ns[mine] = self._recording.indexed_segment(number).pts_ns[frame[mine]]
            for place in mine.tolist():
                uris[place] = self._recording.segment_uri(number)
        return trusted_refs(uris, pts_ns.tolist())

    def _segment_for_frame(self, frame_index: int) -> tuple[int, int]:
        """Return the segment, and the frame within it, of a frame of the window."""
        if not 0 <= frame_index < len(self):
            raise IndexError(f"expected a frame from 0 to {len(self) - 1}, found {frame_index}")
        segment, local = self._recording.timeline.locate(np.array([frame_index + self._start]))
        return int(segment[0]), int(local[0])

    def _window(self, start: int, stop: int) -> LazyVideo:
        """Return the window of places ``[start, stop)`` of this one."""
        window = copy.copy(self)
        window._start = self._start + min(max(start, 0), len(self))
        window._stop = max(window._start, self._start + min(stop, len(self)))
        return window

    def _places_of(self, uri: str, t_ns: Int64Array) -> Int64Array:
        """Return where in the whole window the frames that references name stand."""
        segment, frame = self._recording.frames_named(uri, t_ns)
        places = self._recording.timeline.places_of(segment, frame) - self._start
        if len(places) and (places.min() < 0 or places.max() >= len(self)):
            raise ValueError(f"expected references to frames of {self!r}, found some outside it")
        return places

    def _plan(self, places: Int64Array, strategy: BatchDecodingStrategy) -> DecodePlan:
        segment, frame = self._recording.timeline.locate(places)
        numbers, which = np.unique(segment, return_inverse=True)
        tables = [
            self._recording.segment(number, with_alpha=self._spec.has_alpha) for number in numbers.tolist()
        ]
        runs = plan_runs(tables, which.astype(np.int64), frame, np.arange(len(places)), strategy)
        return DecodePlan(tuple(tables), runs, len(places), 0, strategy, self._fetch)

    def _decode(self, places: Int64Array) -> UInt8Array:
        plan = self._plan(places, BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK)
        shape = self._frame_shape(plan.segments)
        rows = FrameRows(len(places), self.uri)
        sources, engine = self._recording.sources_of(plan.segments), make_engine("pyav", self._spec)
        for decoded in execute(
            plan, sources, engine, max_workers=default_workers(), new_frame=rows.new_frame
        ):
            rows.place(decoded)
        frames: UInt8Array = rows.filled(shape)
        return frames

    def _frame_shape(self, tables: Sequence[SegmentTable]) -> tuple[int, int, int]:
        if self._spec.resize is not None:
            return self._spec.shape(*self._spec.resize)
        sizes = {table.info.display_size for table in tables or [self._recording.indexed_segment(0)]}
        if len(sizes) > 1:
            raise ValueError(
                f"expected segments of one size, found {sorted(sizes)} in {redact(self.uri)}; "
                "pass resize=(height, width)"
            )
        return self._spec.shape(*sizes.pop())

    def _check_joins(self, other: LazyVideo) -> None:
        if self._spec != other._spec:
            raise ValueError(
                f"expected videos of the same resize, colorspace and channel_format, "
                f"found {self._spec} and {other._spec}"
            )
        if self._scanned != other._scanned:
            raise ValueError(
                "expected videos that all have frame indexes, or none, found both; "
                "write the missing ones with: mediaref-ursa index"
            )
        if self._recording.store is not other._recording.store:
            raise ValueError("expected videos of one store, found several; pass the same store= to each")


def _joined_tables(videos: Sequence[LazyVideo]) -> list[SegmentTable]:
    """Return the segments of several windows, each with the window's frames only."""
    parts = [video._recording.window_tables(video._start, video._stop) for video in videos]
    tables = [table for part in parts for table in part]
    if videos[0]._scanned:
        offsets = running_offsets(table.span_seconds for table in tables)
        return [table.beginning_at(by) for table, by in zip(tables, offsets, strict=True)]
    for before, after in pairwise(videos):
        if after.timestamps[0] <= before.timestamps[-1]:
            raise ValueError(
                f"expected timestamps that do not overlap, found {redact(after.uri)} to begin at "
                f"{after.timestamps[0]} s, not after {before.timestamps[-1]} s: different recordings"
            )
    return tables
