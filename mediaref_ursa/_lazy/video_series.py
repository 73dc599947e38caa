"""Frames of a lazy video by their numbers, and its series for temporaldata and torch_brain."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Float64Array, Int64Array, PixelArray
from mediaref_ursa._core.errors import FrameIndexMissingError, UnsupportedMediaError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.interpreter_exit import working
from mediaref_ursa._decode.output import FrameRows
from mediaref_ursa._lazy.frame_access import FrameAccess
from mediaref_ursa._lazy.lazy_frames import LazyFrames
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._model.segment_uris import AllSegments
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.runs import BatchDecodingStrategy
from mediaref_ursa._video.recording import open_index_of
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._decode.execute import decode_into, default_workers, make_engine
    from mediaref_ursa._lazy.series import (
        REFERENCE_COLUMNS,
        SeenAsTimeSeries,
        default_package,
        frame_series,
        interval,
        package_of,
    )
    from mediaref_ursa._pyav.sample_formats import output_dtype

if TYPE_CHECKING:
    from temporaldata import Interval, IrregularTimeSeries
    from typing_extensions import Unpack

    from mediaref_ursa._lazy.lazy_video import LazyVideo
    from mediaref_ursa._lazy.options import FileOptions

_OPTIONS = ("resize", "colorspace", "channel_format", "dtype", "crop")
_DEFAULTS = {"dtype": "uint8", "crop": None}  # of files that were written before there were these options


class VideoSeries(FrameAccess, SeenAsTimeSeries):
    """Base of ``LazyVideo``: decoding by frame numbers, and the interface for temporaldata and torch_brain.

    ``Data(camera=video)`` takes a video for a time series: its ``slice`` cuts and decodes the video, its
    ``select_by_interval`` cuts it lazily, and its ``to_hdf5`` saves references.
    """

    _metadata: Any
    _spec: PixelSpec

    @property
    def metadata(self) -> Any:
        """The caller's metadata; windows and slices carry it along as the same object."""
        return self._metadata

    @metadata.setter
    def metadata(self, value: Any) -> None:
        self._metadata = value

    @property
    def segment_frame_counts(self) -> Int64Array:
        """int64 ``(n_segments,)``: how many of the window's frames each segment has."""
        segment, _ = self._recording.timeline.locate(self.frame_indices)
        count = len(self._recording.index.segment_frame_counts())
        return np.bincount(segment, minlength=count).astype(np.int64)

    @property
    def domain(self) -> Interval:
        """The time of the window, an ``Interval`` in seconds: from its first frame to the end of its last.

        Of an empty window from 0 to 0. It is that of :meth:`as_series`.
        """
        return interval(*self._recording.span_seconds(self._start, self._stop))

    def as_series(self, package: str = "temporaldata") -> IrregularTimeSeries:
        """Return the window as an ``IrregularTimeSeries`` with lazy ``frames``, decoded when they are read.

        Slicing, selecting, copying and pickling it decode nothing; ``frames`` and ``materialize()`` do,
        once, and the pixels are read-only because they are kept. ``to_hdf5`` saves references in place of
        pixels: columns ``uri`` and ``options``, UTF-8 bytes, and ``pts_ns``, int64. :meth:`from_series` makes
        the video again, of the series and of what the package read from the file.

        The package's ``concat`` copies arrays, so that it decodes all frames of what it joins; join with
        :meth:`concat` to decode nothing.

        Args:
            package: ``temporaldata``, or ``torch_brain`` for the class of ``torch_brain.data``.

        Returns:
            Of the package's class, with ``timestamps`` float64 ``(n,)``, ``frames`` uint8 ``(n, C, H, W)`` or
            ``(n, H, W, C)``, a ``domain``, and besides ``metadata`` and ``frame_indices``.

        Raises:
            ValueError: Another package.
            MissingExtraError: It is not installed.

        Example:
            >>> from mediaref_ursa import LazyVideo
            >>> series = LazyVideo.from_uri("clip.mp4").as_series()
            >>> part = series.slice(0.5, 1.0)
            >>> len(part), part.frames.shape
            (15, (15, 3, 96, 128))
        """
        return frame_series(
            self._recording.timeline.timestamps[self._start : self._stop].copy(),
            LazyFrames(self, self.frame_indices),
            self._recording.span_seconds(self._start, self._stop),
            self.metadata,
            package=package,
        )

    @classmethod
    def from_series(
        cls,
        series: IrregularTimeSeries,
        *,
        metadata: Any = None,
        store: ObjectStore | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **options: Unpack[FileOptions],
    ) -> LazyVideo:
        """Return the video of a series of :meth:`as_series`, or of one that was read from its HDF5 file.

        Nothing is decoded. The video has the frames of the series at the timestamps of the series.

        Args:
            series: An ``IrregularTimeSeries`` of temporaldata or torch_brain, lazy ones too.
            metadata: In place of that of the series.
            store: Where the bytes are, of references from a file.
            storage_options: For cloud stores, of references from a file.
            **options: As :meth:`from_uri` takes them, in place of those in the file: ``untrusted=True`` for a
                file of an untrusted writer.

        Raises:
            ValueError: A series that does not say where its frames come from, or is empty.
            MediaRefError: The video cannot be opened, or has no such frames.

        Example:
            >>> from mediaref_ursa import LazyVideo
            >>> video = LazyVideo.from_uri("clip.mp4")
            >>> LazyVideo.from_series(video.as_series().slice(0.5, 1.0, reset_origin=False))
            LazyVideo('clip.mp4', frames=15, segments=1, seconds=0.500..0.967)
        """
        lazy, given = lazy_frames_of(series), cast("dict[str, Any]", options)
        is_as_it_was = store is None and storage_options is None and not set(given) - set(_OPTIONS)
        if lazy is not None and is_as_it_was:
            carried = series.metadata if metadata is None else metadata
            again: LazyVideo = lazy.source._at(lazy.numbers, np.asarray(series.timestamps), carried)
            again._spec = replace(again._spec, **given)
            return again
        uris, pts_ns, timestamps, said = read_references(series)
        where = {"store": store, "storage_options": storage_options}
        video = _opened(cls, said.pop("video"), list(dict.fromkeys(uris)), {**where, **said, **given})
        numbers = np.zeros(len(uris), dtype=np.int64)
        for uri in dict.fromkeys(uris):
            mine = np.flatnonzero(np.array(uris) == uri)
            numbers[mine] = video._ranks_of(uri, pts_ns[mine])
        found: LazyVideo = video._at(numbers, timestamps, metadata)
        return found

    def select_by_interval(self, interval: Any) -> IrregularTimeSeries:
        """Return the frames within a temporaldata ``Interval``, lazily: as :meth:`as_series` has them."""
        return self.as_series(package_of(interval)).select_by_interval(interval)

    def to_hdf5(self, file: Any) -> None:
        """Save references to the window's frames to an HDF5 file or group: as :meth:`as_series` does."""
        self.as_series(default_package()).to_hdf5(file)

    def materialize(self) -> VideoSeries:
        """Return the video as it is: its frames stay where they are, whatever else a ``Data`` loads."""
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        raise TypeError(
            "expected an array, found a LazyVideo, which is not decoded whole by the way; decode frames with "
            "video[:] or video.slice(start, end), or give temporaldata video.as_series()"
        )

    def frame_shape(self) -> tuple[int, int, int]:
        """Return the shape of one frame, as the index says, without decoding."""
        return self._frame_shape(())

    def frame_dtype(self) -> np.dtype[Any]:
        """Return the sample type of the frames, as the index says, without decoding."""
        return self._frame_dtype(())

    def reference_columns(self, numbers: Int64Array) -> dict[str, npt.NDArray[Any]]:
        """Return references to frames, by their numbers in the whole video, as columns of an HDF5 file."""
        uris, pts_ns = self._recording.references(numbers)
        options = {name: getattr(self._spec, name) for name in _OPTIONS} | {"video": self._recording.uri}
        text = json.dumps(options, ensure_ascii=False)
        columns = (_as_bytes(uris), pts_ns, _as_bytes([text] * len(numbers)))
        return dict(zip(REFERENCE_COLUMNS, columns, strict=True))

    def _at(self, numbers: Int64Array, timestamps: Float64Array, metadata: Any) -> Any:
        """Return a video of some frames, by their numbers in the whole video, at given timestamps."""
        first, stop = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, 0)
        video: Any = copy.copy(self)
        video.metadata = metadata
        is_window = np.array_equal(numbers, np.arange(first, stop))
        if is_window and np.array_equal(self._recording.timeline.timestamps[first:stop], timestamps):
            video._start, video._stop = first, stop
            return video
        video._scanned = False  # its timestamps are given: joins keep them
        return video._over(self._recording.selected(numbers, timestamps))

    def _plan(self, positions: Int64Array, strategy: BatchDecodingStrategy) -> DecodePlan:
        raise NotImplementedError

    def _segment_for_frame(self, frame_index: int) -> tuple[int, int]:
        """Return the segment, and the frame within it, of a frame by its number in the whole video."""
        count = self._recording.frame_count
        if not 0 <= frame_index < count:
            raise IndexError(f"expected a frame of the whole video, 0 to {count - 1}, found {frame_index}")
        segment, local = self._recording.timeline.locate(np.array([frame_index]))
        return int(segment[0]), int(local[0])

    def _ranks_of(self, uri: str, t_ns: Int64Array) -> Int64Array:
        """Return the positions in the window of the frames that references name."""
        segment, frame = self._recording.frames_named(uri, t_ns)
        positions = self._recording.timeline.ranks_of(segment, frame) - self._start
        if len(positions) and (positions.min() < 0 or positions.max() >= len(self)):
            raise ValueError(f"expected references to frames of {self!r}, found some outside it")
        return positions

    def decode_frames(self, numbers: Int64Array) -> PixelArray:
        """Return frames by their numbers in the whole video, as the options say."""
        with working():
            plan = self._plan(numbers, BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK)
            shape, dtype = self._frame_shape(plan.segments), self._frame_dtype(plan.segments)
        rows = FrameRows(len(numbers), self._recording.uri)
        sources, engine = self._recording.sources_of(plan.segments), make_engine("pyav", self._spec)
        decode_into(plan, sources, engine, rows, max_workers=default_workers())
        frames: PixelArray = rows.filled(shape, dtype)
        return frames

    def _frame_shape(self, tables: Sequence[SegmentTable]) -> tuple[int, int, int]:
        if self._spec.resize or self._spec.crop:
            return self._spec.shape(0, 0)
        sizes = {table.info.display_size for table in tables or [self._recording.indexed_segment(0)]}
        if len(sizes) > 1:
            raise UnsupportedMediaError(
                f"expected segments of one size, found {sorted(sizes)}; pass resize=(height, width)",
                uri=self._recording.uri,
            )
        return self._spec.shape(*sizes.pop())

    def _frame_dtype(self, tables: Sequence[SegmentTable]) -> np.dtype[Any]:
        tables = tables or [self._recording.indexed_segment(0)]
        return output_dtype(self._spec, (table.info.pixel_format for table in tables), self._recording.uri)


def _opened(kind: Any, name: str, uris: Sequence[str], options: Mapping[str, Any]) -> LazyVideo:
    """Open a recording by its frame index, if that has all of the given files, else scan them."""
    access = Access.from_options(dict(options))
    with contextlib.suppress(FrameIndexMissingError):
        index = open_index_of(Location(name, options["store"], options["storage_options"], access))
        video: LazyVideo = kind(name, frame_index=index, **options)
        if all(video._recording.names(uri) for uri in uris):
            return video
    scanned: LazyVideo = kind(name, segment_uris=AllSegments(uris), **options)
    return scanned


def lazy_frames_of(series: Any) -> Any:
    """Return the lazy frames of a series of ``as_series``; None of any other."""
    frames = series.__dict__.get("frames")
    return frames if isinstance(frames, LazyFrames) else None


def read_references(series: Any) -> tuple[list[str], Int64Array, Float64Array, dict[str, Any]]:
    """Return the references of a series that was read from a file.

    Returns:
        URIs, ``pts_ns`` and timestamps of the frames, and the options of :class:`LazyVideo` with which they
        were to be decoded, ``video`` among them, the name of the recording.

    Raises:
        ValueError: It has no references, or not those of one video.
    """
    lazy = lazy_frames_of(series)
    if lazy is not None:
        columns = lazy.source.reference_columns(lazy.numbers)
        series = SimpleNamespace(**columns, timestamps=series.timestamps, keys=columns.keys)
    missing = [name for name in REFERENCE_COLUMNS if name not in series.keys()]  # noqa: SIM118
    if missing:
        raise ValueError(
            "expected a series of LazyVideo.as_series(), or one read from its file, found no columns "
            f"{missing}: decoded frames do not say where they come from"
        )
    uris, options = (_as_texts(getattr(series, name)) for name in ("uri", "options"))
    if not uris:
        raise ValueError("expected references to frames, found an empty series, which names no video")
    if len(set(options)) != 1:
        raise ValueError(
            f"expected references of one video and its options, found {len(set(options))} of them"
        )
    try:
        said = json.loads(options[0])
        said = {**_DEFAULTS, **said}
        chosen = {name: said[name] for name in (*_OPTIONS, "video")}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"expected options as to_hdf5 wrote them, found {options[0]!r:.200}") from error
    pts_ns = np.asarray(series.pts_ns, dtype=np.int64)
    return uris, pts_ns, np.asarray(series.timestamps, dtype=np.float64), chosen


def _as_bytes(texts: list[str]) -> npt.NDArray[np.bytes_]:
    return np.array([text.encode("utf-8", "surrogateescape") for text in texts], dtype="S")


def _as_texts(column: npt.NDArray[Any]) -> list[str]:
    unique, rows = np.unique(np.asarray(column), return_inverse=True)
    texts = [
        text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text)
        for text in unique.tolist()
    ]
    return [texts[row] for row in rows.tolist()]
