"""The interface of all decoders of one video."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar

from mediaref_ursa._core.ticks import TOLERANCE_NS
from mediaref_ursa._plan.frame_times import Match
from mediaref_ursa._plan.runs import BatchDecodingStrategy
from mediaref_ursa.video_decoder.frame_batch import Frame, FrameBatch
from mediaref_ursa.video_decoder.types import VideoStreamMetadata

Self = TypeVar("Self", bound="BaseVideoDecoder")


class BaseVideoDecoder(ABC):
    """A decoder of one video: frames by number or by time, one or many.

    The calls are those of ``torchcodec.decoders.VideoDecoder``. A subclass says what the video is and
    how frames are had; the rest follows.

    Attributes:
        source: What the decoder was made of.
    """

    def __init__(self, source: Any, **options: Any) -> None:
        self.source = source

    @property
    @abstractmethod
    def metadata(self) -> VideoStreamMetadata:
        """Metadata of the video stream."""

    @property
    def key_frame_indices(self) -> Any:
        """int64 ``(k,)``: the numbers of the frames at which decoding can begin, ascending.

        They are read from the bitstream: a container may call others key frames.

        Raises:
            NotImplementedError: A subclass does not know them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not know its key frames")

    @abstractmethod
    def get_frames_at(
        self, indices: Any, *, strategy: BatchDecodingStrategy | str | None = None
    ) -> FrameBatch:
        """Return the frames of the given numbers, in their order.

        Args:
            indices: int ``(n,)``; negative ones count from the end. A frame may be asked for repeatedly.
            strategy: How much work they share; never which frames come out.

        Raises:
            IndexError: There is no such frame.
            TypeError: Not integers.
        """

    @abstractmethod
    def get_frames_played_at(
        self,
        seconds: Any,
        *,
        strategy: BatchDecodingStrategy | str | None = None,
        match: Match = "playback",
        tolerance_ns: int = TOLERANCE_NS,
    ) -> FrameBatch:
        """Return the frame that is displayed at each of the given times, in their order.

        Args:
            seconds: Floats or fractions ``(n,)``, in absolute container time; whatever
                :func:`mediaref_ursa.pts_ns_from_seconds` takes. A float32 that a frame's time was rounded to
                names that frame.
            strategy: How much work they share; never which frames come out.
            match: ``"playback"``, or ``"nearest"`` for the frame whose own time is nearest instead of the one
                that is displayed; the earlier of two that are equally near.
            tolerance_ns: With ``"playback"``, nanoseconds by which a time may lie before its frame; with
                ``"nearest"``, the largest distance, of which the default takes exact times only.

        Raises:
            IndexError: No frame is displayed at one of them, as at a time that is not finite; it is a
                ValueError too. With ``"nearest"``, a ``FrameBeyondToleranceError``.
            TypeError: Not a number.
            ValueError: Another rule, or a tolerance out of range.
        """

    @abstractmethod
    def get_frames_played_in_range(
        self, start_seconds: float, stop_seconds: float, fps: float | None = None
    ) -> FrameBatch:
        """Return the frames that are displayed in the half-open range of times.

        Args:
            start_seconds: The frame that is displayed then is the first.
            stop_seconds: The frame that begins then, or later, is not among them. However short a range is,
                the frame at its start is, unless it ends where it starts.
            fps: Sample the range at this rate, repeating and leaving out frames: their ``pts_seconds`` are
                then ``start_seconds + i / fps``, and their durations ``1 / fps``. There are
                ``(stop_seconds - start_seconds) * fps`` of them, rounded.

        Raises:
            ValueError: A range that ends before it begins, or lies outside the video; an ``fps`` that is
                not above 0.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the decoder's resources. Closing again does nothing."""

    def __len__(self) -> int:
        return self.metadata.num_frames

    def __getitem__(self, key: Any) -> Any:
        """Return the pixels of one frame, ``decoder[i]``, or of several, ``decoder[a:b:c]``.

        Raises:
            IndexError: There is no such frame.
            TypeError: Neither an integer nor a slice.
        """
        if isinstance(key, slice):
            return self.get_frames_at(range(*key.indices(len(self)))).data
        try:
            index = operator.index(key)
        except TypeError:
            raise TypeError(f"expected an integer or a slice, found {type(key).__name__}") from None
        return self.get_frame_at(index).data

    def __iter__(self) -> Iterator[Any]:
        """Yield the pixels of each frame."""
        for index in range(len(self)):
            yield self[index]

    def get_frame_at(self, index: int) -> Frame:
        """Return the frame of a number; a negative one counts from the end.

        Raises:
            IndexError: There is no such frame.
        """
        return _only_frame(self.get_frames_at([operator.index(index)]))

    def get_frames_in_range(self, start: int, stop: int, step: int = 1) -> FrameBatch:
        """Return the frames of the numbers ``start, start + step, ...`` before ``stop``, as a slice has them.

        Raises:
            ValueError: A step that is not above 0.
        """
        if step <= 0:
            raise ValueError(f"expected a step of 1 or more, found {step}")
        return self.get_frames_at(range(*slice(start, stop, step).indices(len(self))))

    def get_frame_played_at(
        self, seconds: float, *, match: Match = "playback", tolerance_ns: int = TOLERANCE_NS
    ) -> Frame:
        """Return the frame that is displayed at a time; see :meth:`get_frames_played_at` for the options.

        Raises:
            IndexError: Nothing is displayed then, as at a time that is not finite; it is a ValueError too.
            TypeError: Not a number.
        """
        if (match, tolerance_ns) == ("playback", TOLERANCE_NS):  # subclasses need not know these options
            return _only_frame(self.get_frames_played_at([seconds]))
        return _only_frame(self.get_frames_played_at([seconds], match=match, tolerance_ns=tolerance_ns))

    def get_all_frames(self, fps: float | None = None) -> FrameBatch:
        """Return all frames; see :meth:`get_frames_played_in_range` for ``fps``."""
        if fps is None:
            return self.get_frames_at(range(len(self)))
        metadata = self.metadata
        begin, end = metadata.begin_stream_seconds, metadata.end_stream_seconds
        return self.get_frames_played_in_range(float(begin), float(end or 0), fps)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _only_frame(batch: FrameBatch) -> Frame:
    pts_ns = None if batch.pts_ns is None else int(batch.pts_ns[0])
    return Frame(batch.data[0], float(batch.pts_seconds[0]), float(batch.duration_seconds[0]), pts_ns)
