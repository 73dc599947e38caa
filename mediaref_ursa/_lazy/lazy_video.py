"""``LazyVideo``: one logical video over segments, whose windows and slices are decoded on use."""

from __future__ import annotations

import builtins
import contextlib
import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mediaref_ursa._core.array_types import Float64Array, Int64Array, PixelArray
from mediaref_ursa._core.errors import FrameIndexMissingError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.interpreter_exit import working
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.seconds import window_bounds
from mediaref_ursa._lazy.concat import joined_video
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec
from mediaref_ursa._model.segment_uris import AllSegments, uri_list
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.reads import FetchOptions
from mediaref_ursa._plan.runs import BatchDecodingStrategy, plan_runs
from mediaref_ursa._references.columns import reference_columns
from mediaref_ursa._video.recording import (
    Recording,
    describes_first_only,
    open_index_of,
    segment_locations,
)
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._decode.execute import iter_frames, make_engine
    from mediaref_ursa._index.build import scan_video_index
    from mediaref_ursa._index.given_index import AnyIndex, index_of
    from mediaref_ursa._lazy.nwb import StartingFrames, opened_series
    from mediaref_ursa._lazy.series import frame_series
    from mediaref_ursa._lazy.video_series import VideoSeries

if TYPE_CHECKING:
    from temporaldata import IrregularTimeSeries
    from typing_extensions import Unpack

    from mediaref_ursa._lazy.options import FileOptions, OpenOptions, SegmentsOptions
    from mediaref_ursa._model.access import AccessOptions
    from mediaref_ursa._references.columns import References
    from mediaref_ursa._references.media_ref import MediaRef

_FRAMES_AT_ONCE = 32


@set_module("mediaref_ursa")
class LazyVideo(VideoSeries):
    """A video, or a window of one, whose frames are decoded when they are asked for.

    With a frame index, making one reads nothing of the media, and neither does a window. Without one,
    ``frame_index=None``, every segment is scanned up front: slow, and it reads all bytes.

    Safe for many threads, after forks, and to pickle: it holds no open handle.

    Args:
        uri: The video; the first segment, or the name, of a recording of several files.
        store: Where its bytes are; chosen by the URI's scheme without it.
        frame_index: A ``LanceFrameIndex``, the URI of one, or a ``CollectionIndex`` that has the video.
        metadata: Anything; slices carry it along as the same object.
        segment_uris: The additional files of the recording, in order; those of the index without them. A
            list that contains ``uri`` is the whole list in its order. For a recording with a name that is no
            file see :meth:`from_segments`.
        resize: ``(height, width)`` of every frame in pixels, bilinear.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        dtype: ``"uint8"``, or ``"native"`` for the type that keeps all bits, as ``batch_decode`` has it.
        crop: ``(top, left, height, width)`` in pixels of the upright picture, cut out before it is resized.
        channel_format: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``.
        storage_options: For cloud stores, as fsspec and Lance take them.
        fetch: How remote bytes are fetched; a ``FetchOptions``.
        **access: What may be read, as ``batch_decode`` takes it: ``untrusted``, ``base_dir``,
            ``allow_schemes``, ``allow_private_hosts``, ``max_redirects``, ``allow_outside_base``,
            ``allow_outside_index``, ``max_pixels``, ``index_limits`` and
            ``allow_shared_cache_dir``; see ``docs/security.md``.

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
        frame_index: AnyIndex | None = None,
        metadata: Any = None,
        segment_uris: Sequence[str | os.PathLike[str]] | None = None,
        resize: tuple[int, int] | None = None,
        colorspace: str = "RGB",
        dtype: Dtype = "uint8",
        crop: Crop | None = None,
        channel_format: str = "NCHW",
        storage_options: Mapping[str, Any] | None = None,
        fetch: FetchOptions | None = None,
        **access: Unpack[AccessOptions],
    ) -> None:
        self._metadata = metadata
        self._fetch = fetch or FetchOptions()
        allowed = Access.from_only_options("LazyVideo", access)
        self._spec = PixelSpec(
            resize, colorspace, channel_format, max_pixels=allowed.max_pixels, dtype=dtype, crop=crop
        )
        self._scanned = frame_index is None
        given = os.fspath(uri)
        video = Location(given, store, storage_options, allowed).permitted_video()
        index = index_of(frame_index, video.absolute())
        parts = segment_locations(video, segment_uris, index)
        if index is None:
            index = scan_video_index(video, parts or [video.uri])
        self._recording = Recording(video, index, parts, given=given)
        self._start, self._stop = 0, self._recording.frame_count

    @classmethod
    def from_uri(
        cls,
        uri: str | os.PathLike[str],
        *,
        store: ObjectStore | None = None,
        frame_index: AnyIndex | None = None,
        metadata: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        **options: Unpack[FileOptions],
    ) -> LazyVideo:
        """Open a video with the frame index that stands next to it, or scan it where there is none.

        Args:
            uri: The video.
            store: Where its bytes are; chosen by the URI's scheme without it.
            frame_index: An index to use instead: a ``LanceFrameIndex``, the URI of one, or a
                ``CollectionIndex`` that has the video.
            metadata: Kept as it is.
            storage_options: For cloud stores, as fsspec and Lance take them.
            **options: ``resize``, ``crop``, ``colorspace``, ``dtype``, ``channel_format``, ``segment_uris``,
                ``fetch``, and what may be read.

        Raises:
            FrameIndexError: There is an index, and it is damaged or of a newer version.
            ValueError: The index has another number of segments than ``segment_uris`` say. One of ``uri``
                alone is not the recording's: all segments are scanned.
        """
        if frame_index is None:
            with contextlib.suppress(FrameIndexMissingError):
                access = Access.from_options(dict(options))
                video = Location(os.fspath(uri), store, storage_options, access)
                index = open_index_of(video)
                if not describes_first_only(index, video, options.get("segment_uris")):
                    frame_index = index
        return cls(
            uri,
            store=store,
            frame_index=frame_index,
            metadata=metadata,
            storage_options=storage_options,
            **options,
        )

    @classmethod
    def from_segments(
        cls,
        segments: Sequence[str | os.PathLike[str]],
        *,
        uri: str | os.PathLike[str] | None = None,
        frame_index: AnyIndex | None = None,
        **options: Unpack[SegmentsOptions],
    ) -> LazyVideo:
        """Open a recording of several files, in order, under a name that need be no file.

        Args:
            segments: All files of the recording, in order.
            uri: Its name; the first file without it.
            frame_index: A ``LanceFrameIndex``, the URI of one, or a ``CollectionIndex`` that has the name.
                Without it, the index that stands next to ``uri`` is used, ``<uri>.lance``, which
                ``write_frame_index(uri, segments=)`` writes; where there is none, the segments are scanned.
            **options: As :meth:`from_uri` takes them.

        Raises:
            ValueError: No segments, or another number of them than the frame index has.
            MediaRefError: As :meth:`from_uri` raises.

        Example:
            >>> video = LazyVideo.from_segments(["clip.mp4", "clip.mp4"], uri="session/cam")
            >>> video
            LazyVideo('session/cam', frames=120, segments=2, seconds=0.000..3.967)
        """
        parts = AllSegments(uri_list(segments))
        if not parts:
            raise ValueError("expected at least one segment, found none")
        name = parts[0] if uri is None else uri
        if frame_index is None:
            return cls.from_uri(name, segment_uris=parts, **options)
        return cls(name, segment_uris=parts, frame_index=frame_index, **options)

    @classmethod
    def from_nwb(
        cls,
        image_series: Any,
        *,
        starting_frames: StartingFrames = "check",
        **options: Unpack[SegmentsOptions],
    ) -> LazyVideo:
        """Open the external files of an NWB ``ImageSeries``, at its times on the session's clock.

        A frame index next to a file is used; other files are scanned. The NWB file may be closed afterwards.

        Args:
            image_series: Of pynwb, with ``external_file``, and ``timestamps`` or ``rate``.
            starting_frames: ``"check"`` compares ``starting_frame`` with the files; ``"ignore"`` does not.
            **options: As :meth:`from_uri` takes them. Relative paths begin at the folder of the NWB file, or
                at ``base_dir``, which local files may then not be outside of; with ``store`` they are its
                names.

        Raises:
            ValueError: No such series, or one that describes other frames than its files have.
            MediaRefError: As :meth:`from_uri` raises. A ``StoreError`` if the NWB file was closed before.
        """
        access = Access.from_options(dict(options))
        location = Location("", options.get("store"), options.get("storage_options"), access)
        files, index = opened_series(image_series, starting_frames, location)
        return cls.from_segments(files, frame_index=index, **options)

    @classmethod
    def from_refs(
        cls, refs: References, *, video: LazyVideo | None = None, **options: Unpack[OpenOptions]
    ) -> tuple[LazyVideo, builtins.slice]:
        """Return the smallest window that holds the frames which references name.

        Args:
            refs: References to frames of one video, as :func:`batch_decode` takes them.
            video: The video that they refer to, where references name its segments, as those of
                :meth:`refs` do; opened with :meth:`from_uri` otherwise.
            **options: As :meth:`from_uri` takes them; none together with ``video``.

        Returns:
            The window, and the slice of frame numbers of the whole video that it covers: ``window[:]``
            and ``video[slice]`` are the same frames.

        Raises:
            TypeError: Options that ``video`` cannot take any more.
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
        if video is not None and options:
            raise TypeError(
                f"expected options of from_uri without video=, found {', '.join(sorted(options))} with it: "
                "a video that is open has its own"
            )
        if video is None:
            if len(videos) != 1:
                raise ValueError(
                    f"expected references to one video, found {len(videos)}; name it with video="
                )
            video = cls.from_uri(next(iter(videos)), **options)
        positions = np.concatenate(
            [video._ranks_of(uri, columns.pts_ns[slots]) for uri, slots in videos.items()]
        )
        first, stop = int(positions.min()), int(positions.max()) + 1
        return video._window(first, stop), slice(first, stop)

    @classmethod
    def concat(cls, videos: Sequence[LazyVideo]) -> LazyVideo:
        """Join videos, or windows of them, in order.

        Videos that were scanned run on: each is moved back by the lengths of those before it. Videos
        with frame indexes keep their timestamps, and are put in the order of these.

        Raises:
            ValueError: No videos, different ``resize``, ``crop``, ``colorspace``, ``dtype`` or
                ``channel_format``, different stores, or timestamps that overlap: different recordings.
        """
        return joined_video(videos)

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
        nothing, and one outside the recording, is empty. A bound in float32 stands for the earliest time
        that rounds to it: the frame whose timestamp became that float32 is the first of the window, or the
        first behind it.

        Raises:
            ValueError: ``end`` before ``start``, or NaN.
        """
        start, end = window_bounds(start, end)
        if np.isnan(start) or np.isnan(end):
            raise ValueError(f"expected seconds, found {start} and {end}")
        if end < start:
            raise ValueError(f"expected an end not before the start, found {start} s to {end} s")
        first, stop = self._recording.timeline.between(start, end)
        return self._window(max(first, self._start) - self._start, min(stop, self._stop) - self._start)

    def slice(self, start: float, end: float, reset_origin: bool = True) -> IrregularTimeSeries:
        """Decode the frames with timestamps in ``[start, end)``.

        Args:
            start: Seconds, inclusive.
            end: Seconds, exclusive.
            reset_origin: Give timestamps relative to ``start`` instead of those of the recording.

        Returns:
            An ``IrregularTimeSeries`` of temporaldata, or of torch_brain where only that is imported:
            ``timestamps`` float64 ``(n,)``, ``frames`` uint8 ``(n, C, H, W)`` or ``(n, H, W, C)``, and the
            ``metadata`` of the video; its ``frame_indices`` are the numbers of the frames in the whole video.

        Warns:
            OutsideRecordingWarning: Empty because it lies outside the recording; once a video and process.

        Raises:
            ValueError: Bounds that are not finite, ``end`` before ``start``, or frames of different sizes
                without ``resize``.
            MediaRefError: A frame that cannot be read or decoded; the message names the segment.
        """
        start, end = window_bounds(start, end)
        if not (np.isfinite(start) and np.isfinite(end)):
            raise ValueError(f"expected finite seconds, found {start} and {end}")
        window = self.lazy_slice(start, end)
        self._recording.warn_outside(start, end)
        origin = start if reset_origin else 0.0
        domain = (start - origin, max(start, end) - origin)
        return frame_series(
            window.timestamps - origin,
            window[:],
            domain,
            self.metadata,
            frame_indices=window.frame_indices,
        )

    def __iter__(self) -> Iterator[PixelArray]:
        """Yield the window's frames in order, holding few of them at a time."""
        if self._recording.timeline.order is not None:
            for first in range(0, len(self), _FRAMES_AT_ONCE):
                yield from self[first : first + _FRAMES_AT_ONCE]
            return
        with working():
            plan = self._plan(self.frame_indices, BatchDecodingStrategy.SEQUENTIAL)
            self._frame_shape(plan.segments)  # one size and type for all, or an error before the first frame
            self._frame_dtype(plan.segments)
        engine = make_engine("pyav", self._spec)
        yield from iter_frames(plan, self._recording.sources_of(plan.segments), engine)

    def refs(self) -> list[MediaRef]:
        """Return the reference of each frame in the window, in order.

        References name the files that hold the frames: those of the segments.
        """
        from mediaref_ursa._references.media_ref import trusted_refs

        uris, pts_ns = self._recording.references(self.frame_indices)
        return trusted_refs(uris, pts_ns.tolist())

    def _over(self, recording: Recording) -> LazyVideo:
        """Return a video of a whole recording, with the options of this one."""
        video = copy.copy(self)
        video._recording = recording
        video._start, video._stop = 0, recording.frame_count
        return video

    def _window(self, start: int, stop: int) -> LazyVideo:
        """Return the window of positions ``[start, stop)`` of this window."""
        window = copy.copy(self)
        window._start = self._start + min(max(start, 0), len(self))
        window._stop = max(window._start, self._start + min(stop, len(self)))
        return window

    def _plan(self, positions: Int64Array, strategy: BatchDecodingStrategy) -> DecodePlan:
        segment, frame = self._recording.timeline.locate(positions)
        numbers, which = np.unique(segment, return_inverse=True)
        tables = [
            self._recording.segment(number, with_alpha=self._spec.has_alpha) for number in numbers.tolist()
        ]
        runs = plan_runs(tables, which.astype(np.int64), frame, np.arange(len(positions)), strategy)
        return DecodePlan(tuple(tables), runs, len(positions), 0, strategy, self._fetch)
