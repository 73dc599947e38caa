"""The decoders' common base on the frame index: a call becomes frame numbers, then a plan is executed."""

from __future__ import annotations

import io
import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mediaref_ursa._core.array_types import Float64Array, Int64Array
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.process_state import close_all
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.reentrancy import refuse_amid_change
from mediaref_ursa._core.seconds import floor_ns, range_of_times, times_asked
from mediaref_ursa._core.ticks import NS_PER_SECOND, TOLERANCE_NS
from mediaref_ursa._decode.buffer_pool import buffers
from mediaref_ursa._decode.output import FrameRows
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.frame_times import PLAYBACK, Match, checked_match, checked_tolerance
from mediaref_ursa._plan.runs import BatchDecodingStrategy, plan_runs
from mediaref_ursa._plan.segments import SegmentSequence
from mediaref_ursa.store import MemoryStore, ObjectStore
from mediaref_ursa.store._file_object import FileObjectStore
from mediaref_ursa.store._location import Location
from mediaref_ursa.video_decoder.base import BaseVideoDecoder
from mediaref_ursa.video_decoder.frame_batch import FrameBatch
from mediaref_ursa.video_decoder.types import VideoStreamMetadata

if TYPE_CHECKING:
    from typing_extensions import Self

with needs_extra("video"):
    from mediaref_ursa._decode.execute import Engine, checked_workers, decode_into, iter_frames
    from mediaref_ursa._index.given_index import index_of
    from mediaref_ursa._pyav.sample_formats import output_dtype
    from mediaref_ursa._scan.sandbox.parent import scan_video
    from mediaref_ursa._video.source import VideoSource, open_source, source_with_alpha

_DIMENSION_ORDERS = ("NCHW", "NHWC")
_BYTES_URI, _FILE_URI = "<bytes>", "<file object>"
_TOLERANCE_SECONDS = Fraction(TOLERANCE_NS, NS_PER_SECOND)


class CodecVideoDecoder(BaseVideoDecoder):
    """Base of the decoder classes that decode packets by a frame index: frames by number and by time.

    Args:
        source: The video.
        engine: Makes the engine that decodes, of what pixels should look like.
        options: The arguments that a copy is made with, when the decoder is pickled.
        frame_index: As the decoders take it, and the rest too.
        access: What may be read.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make a decoder of a class that has an engine.

        Raises:
            TypeError: This class, or one of it that has no ``__init__`` of its own.
        """
        if cls.__init__ is CodecVideoDecoder.__init__:
            raise TypeError(
                "expected PyAVVideoDecoder, TorchCodecVideoDecoder or a subclass of one of these, found "
                f"{cls.__name__}: CodecVideoDecoder has no engine that decodes"
            )
        return super().__new__(cls)

    def __init__(
        self,
        source: Any,
        *,
        engine: Callable[[PixelSpec], Engine],
        options: Mapping[str, Any],
        frame_index: Any,
        stream_index: int | None,
        dimension_order: str,
        resize: tuple[int, int] | None,
        colorspace: str,
        dtype: Dtype,
        crop: Crop | None,
        max_workers: int | None,
        storage_options: Mapping[str, Any] | None,
        access: Access,
    ) -> None:
        super().__init__(source)
        self.stream_index = None if stream_index is None else operator.index(stream_index)
        self._options = options
        _check_dimension_order(dimension_order)
        self._spec = PixelSpec(
            resize, colorspace, dimension_order, max_pixels=access.max_pixels, dtype=dtype, crop=crop
        )
        self._engine = engine(self._spec)
        checked_workers(max_workers)
        self._max_workers = (
            max_workers  # None: the default of the process that decodes, which may be a worker
        )
        video = _video_of(source, frame_index, stream_index, storage_options, access)
        for table in video.segments:
            access.check_pixels(table.info.width, table.info.height, video.uri)
        if self._engine.reads_alpha:
            video = source_with_alpha(video, access)
        self._open_video: VideoSource | None = video
        if stream_index is None:
            self.stream_index = _header_metadata(video).get("stream_index")

    _iteration_strategy = BatchDecodingStrategy.SEQUENTIAL

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._options), (self.source,)

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._open_video is None:
            return f"{name}(closed)"
        return f"{name}({redact(self._open_video.uri)!r}, frames={len(self)})"

    @property
    def metadata(self) -> VideoStreamMetadata:
        """Metadata of the video stream, exact."""
        info, frames = self._video.segments[0].info, len(self)
        begin, end = self._segments.span_seconds
        height, width = info.display_size
        return VideoStreamMetadata(
            num_frames=frames,
            duration_seconds=end - begin,
            average_rate=Fraction(frames) / (end - begin) if end > begin else Fraction(0),
            width=width,
            height=height,
            begin_stream_seconds=begin,
            end_stream_seconds=end,
            codec=info.codec,
            pixel_format=info.pixel_format,
            rotation=info.rotation,
            **_header_metadata(self._video),
        )

    @property
    def key_frame_indices(self) -> Any:
        """int64 ``(k,)``: the frames at which decoding can begin; see :class:`BaseVideoDecoder`."""
        starts = np.concatenate([table.start == table.packet for table in self._video.segments])
        return self._array(np.flatnonzero(starts).astype(np.int64))

    def get_frames_at(
        self, indices: Any, *, strategy: BatchDecodingStrategy | str | None = None
    ) -> FrameBatch:
        """Return the frames of the given numbers; see :class:`BaseVideoDecoder`."""
        frames = _numbers(indices)
        count = self._segments.firsts[-1]
        wrong = (frames < -count) | (frames >= count)
        if wrong.any():
            raise IndexError(
                f"expected frames from {-count} to {count - 1} in {redact(self._video.uri)}, "
                f"found {frames[wrong][0]}"
            )
        return self._batch(np.where(frames < 0, frames + count, frames), strategy)

    def get_frames_played_at(
        self,
        seconds: Any,
        *,
        strategy: BatchDecodingStrategy | str | None = None,
        match: Match = "playback",
        tolerance_ns: int = TOLERANCE_NS,
    ) -> FrameBatch:
        """Return the frame that is displayed at each time; see :class:`BaseVideoDecoder`."""
        rule, tolerance_ns = checked_match(match), checked_tolerance(tolerance_ns)
        times = times_asked(seconds, self._video.uri)
        return self._batch(self._frames_of_times(times, tolerance_ns, rule), strategy)

    def get_frames_played_in_range(
        self, start_seconds: float, stop_seconds: float, fps: float | None = None
    ) -> FrameBatch:
        """Return the frames that are displayed in a range of times; see :class:`BaseVideoDecoder`."""
        start, stop = range_of_times(start_seconds, stop_seconds)
        self._check_range(start, stop)
        before = (
            min(stop, self._segments.span_seconds[1]) - _TOLERANCE_SECONDS
        )  # a float of 0.08 may be slightly more than 0.08
        if fps is not None:
            step = 1 / _exact_rate(fps)
            begin = _exact(start_seconds)
            count = math.floor((_exact(stop_seconds) - begin) / step + Fraction(1, 2))  # as TorchCodec
            times = [start + number * step for number in range(count)]
            batch = self._batch(self._frames_of_times(times), None)
            displayed = np.array([float(time - start + begin) for time in times], dtype=np.float64)
            lasting = np.full(count, float(step))
            times_given = self._array(displayed), self._array(lasting)
            return FrameBatch(batch.data, *times_given, batch.pixel_format, batch.pts_ns)
        if not start_seconds < stop_seconds:  # as they are given: a range may be shorter than a nanosecond
            return self._batch(np.empty(0, dtype=np.int64), None)
        first = int(self._frames_of_times([start])[0])  # which is displayed then, however short the range is
        last = int(self._frames_of_times([max(start, before)])[0])
        if last > first and self._segments.seconds_of(last) >= before:
            last -= 1
        return self._batch(np.arange(first, last + 1, dtype=np.int64), None)

    def __iter__(self) -> Iterator[Any]:
        """Yield the pixels of each frame in order, holding few of them at a time."""
        plan = self._plan(np.arange(len(self)), self._iteration_strategy)
        sources = [self._video] * len(plan.segments)
        for pixels in iter_frames(plan, sources, self._engine):
            yield self._ordered(pixels)

    @classmethod
    def clear_cache(cls) -> None:
        """Release all that this process keeps between calls: as ``mediaref_ursa.cleanup_cache`` does."""
        refuse_amid_change()
        close_all()

    def close(self) -> None:
        """Release the index. Closing again does nothing; decoding after it is a ValueError."""
        self._open_video = None

    @property
    def _video(self) -> VideoSource:
        if self._open_video is None:
            raise ValueError("expected an open decoder, found one that is closed")
        return self._open_video

    def __len__(self) -> int:
        return self._segments.frame_count

    @property
    def _segments(self) -> SegmentSequence:
        return self._video.sequence

    def _frames_of_times(
        self, seconds: list[Fraction], tolerance_ns: int = TOLERANCE_NS, match: Match = PLAYBACK
    ) -> Int64Array:
        """Return int64 ``(n,)``: the number of the frame that each time names.

        Raises:
            FrameOutsideVideoError: One names none.
        """
        t_ns = np.array([floor_ns(t) for t in seconds], dtype=np.int64)
        segment, frame = self._segments.resolve(t_ns, tolerance_ns, match)
        if (frame < 0).any():
            first = int(np.flatnonzero(frame < 0)[0])
            raise self._segments.outside_error(
                self._video.uri, int(t_ns[first]), int(frame[first]), tolerance_ns
            )
        found: Int64Array = self._segments.firsts[segment] + frame
        return found

    def _check_range(self, start: Fraction, stop: Fraction) -> None:
        begin, end = self._segments.span_seconds
        if start > stop:
            raise ValueError(f"expected a range that ends after it begins, found {_range(start, stop)}")
        if not (begin <= start + _TOLERANCE_SECONDS and start < end and stop <= end + _TOLERANCE_SECONDS):
            raise ValueError(
                f"expected a range within {_range(begin, end)}, the times of {redact(self._video.uri)}, "
                f"found {_range(start, stop)}"
            )

    def _plan(self, frames: Int64Array, strategy: BatchDecodingStrategy) -> DecodePlan:
        tables = self._video.segments
        runs = plan_runs(tables, *self._segments.locate(frames), np.arange(len(frames)), strategy)
        return DecodePlan(tables, runs, references=len(frames), images=0, strategy=strategy)

    def _batch(self, frames: Int64Array, strategy: BatchDecodingStrategy | str | None) -> FrameBatch:
        pts, durations = self._segments.times
        plan = self._plan(frames, BatchDecodingStrategy(strategy or "sequential_per_keyframe_block"))
        sources = [self._video] * len(plan.segments)
        workers = checked_workers(self._max_workers)
        rows = FrameRows(len(frames), self._video.uri, empty=self._empty)
        decode_into(plan, sources, self._engine, rows, max_workers=workers)
        shape = self._decoded_shape(self.metadata.height, self.metadata.width)
        data = self._ordered(rows.filled(shape, self._dtype()))
        pts_ns = self._array(self._segments.pts_ns[frames])
        times = self._array(pts[frames]), self._array(durations[frames])
        return FrameBatch(data, *times, self._stored_format(), pts_ns)

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Return memory for frames."""
        return buffers.empty(shape, dtype)

    def _decoded_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of a frame, of a picture of that size, as it is decoded."""
        return self._spec.shape(height, width)

    def _stored_format(self) -> str | None:
        """Return the pixel format of the media where frames come out as they are stored."""
        return None

    def _dtype(self) -> np.dtype[Any]:
        formats = (table.info.pixel_format for table in self._video.segments)
        return output_dtype(self._spec, formats, self._video.uri)

    def _ordered(self, pixels: Any) -> Any:
        """Return decoded frames in the output's axis order."""
        return pixels

    def _array(self, values: Float64Array | Int64Array) -> Any:
        """Return times or numbers as the output's array type."""
        return values


def _header_metadata(video: VideoSource) -> dict[str, Any]:
    """Return the header's claims about a video of one file, under the names of ``VideoStreamMetadata``."""
    info = video.segments[0].info
    if info.header is None or len(video.segments) > 1:
        return {}
    return info.header.as_metadata(info.time_base, info.colorspace)


def _check_dimension_order(dimension_order: str) -> None:
    if dimension_order not in _DIMENSION_ORDERS:
        raise ValueError(
            f"expected dimension_order to be one of {', '.join(_DIMENSION_ORDERS)}, found {dimension_order!r}"
        )


def _video_of(
    source: Any,
    frame_index: Any,
    stream_index: int | None,
    storage_options: Mapping[str, Any] | None,
    access: Access,
) -> VideoSource:
    """Return the video that a decoder is made of."""
    if frame_index is not None and stream_index is not None:
        raise ValueError("expected frame_index or stream_index, found both: an index describes one stream")
    if isinstance(source, (str, os.PathLike)):
        video = Location(os.fspath(source), None, storage_options, access).permitted_video()
        if stream_index is None:
            return open_source(video, index_of(frame_index, video.absolute()))
        video = video.absolute()
        return _scanned(video.uri, video.open_store(), stream_index, access)
    uri, store = _store_of(source)
    if frame_index is not None:
        named = Location(uri, store, storage_options, access)
        return open_source(Location(uri, store), index_of(frame_index, named))
    return _scanned(uri, store, stream_index, access)


def _store_of(source: Any) -> tuple[str, ObjectStore]:
    """Return a store that holds the caller's bytes or file object, and its URI in that store."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _BYTES_URI, MemoryStore({_BYTES_URI: bytes(source)})
    if hasattr(source, "numpy") and str(source.dtype) == "torch.uint8":  # as TorchCodec takes encoded bytes
        return _BYTES_URI, MemoryStore({_BYTES_URI: source.numpy().tobytes()})
    if hasattr(source, "read") and hasattr(source, "seek"):
        if _is_text(source):
            raise TypeError("expected a file of bytes, found one that is open for text; open it with 'rb'")
        return _FILE_URI, FileObjectStore(source)
    raise TypeError(
        f"expected a path, a URI, bytes, or a file object with read and seek, found {type(source).__name__}"
    )


def _is_text(file: Any) -> bool:
    """Whether a file object is in text mode; a wrapper shows that only when it is read."""
    if isinstance(file, io.TextIOBase):
        return True
    try:
        return isinstance(file.read(0), str)
    except (OSError, ValueError):  # closed, for instance: reading reports the error
        return False


def _scanned(uri: str, store: ObjectStore, stream_index: int | None, access: Access) -> VideoSource:
    return VideoSource(uri, store, (scan_video(uri, store, access, stream_index=stream_index),))


def _numbers(indices: Any) -> Int64Array:
    """Return frame numbers as int64 ``(n,)``, from one number or many."""
    numbers = [operator.index(index) for index in _each(indices)]
    try:
        return np.array(numbers, dtype=np.int64)
    except OverflowError:
        raise IndexError(f"expected numbers of frames, found {max(numbers, key=abs)}") from None


def _each(values: Any) -> list[Any]:
    """Return the values of a sequence, or the one value of a scalar or an array without axes."""
    if not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        return [values]
    return list(values)


def _exact(seconds: Any) -> Fraction:
    """Return a time as an exact number; a float is that of the nearest nanosecond, as it was meant.

    Raises:
        ValueError: It is not finite.
    """
    if isinstance(seconds, Fraction):
        return seconds
    if isinstance(seconds, (str, bytes, bytearray)):
        raise TypeError(f"expected seconds as a number, found {seconds!r}")
    value = float(seconds)
    if not math.isfinite(value):
        raise ValueError(f"expected finite seconds, found {value}")
    return Fraction(round(Fraction(value) * NS_PER_SECOND), NS_PER_SECOND)


def _exact_rate(fps: Any) -> Fraction:
    if not 0 < fps < math.inf:
        raise ValueError(f"expected fps above 0, found {fps}")
    return fps if isinstance(fps, Fraction) else Fraction(float(fps))


def _range(start: Fraction, stop: Fraction) -> str:
    return f"[{float(start):g}, {float(stop):g}) s"
