"""Metadata of a decoder's video stream."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from mediaref_ursa._plan.runs import BatchDecodingStrategy

__all__ = ["SECOND_TYPE", "BatchDecodingStrategy", "PTSUnit", "VideoStreamMetadata"]

SECOND_TYPE: TypeAlias = float | Fraction
"""Seconds, as MediaRef's annotations call them."""
PTSUnit: TypeAlias = Literal["pts", "sec"]
"""Units of times, as MediaRef's annotations call them."""


@dataclass(frozen=True)
class VideoStreamMetadata:
    """A video stream. Times are exact, from the pts and durations of its frames.

    They are fractions, and floats from a ``TorchCodecVideoDecoder``, as TorchCodec has them.

    Attributes:
        num_frames: Frames that are displayed.
        duration_seconds: From the first frame to the end of the last.
        average_rate: Frames a second: ``num_frames / duration_seconds``. No frame is ever found by it.
        width: Of the frames as they are given, after rotation, in pixels.
        height: Of the frames as they are given, after rotation, in pixels.
        begin_stream_seconds: When the first frame is displayed.
        end_stream_seconds: When the last frame is no longer displayed.
        codec: FFmpeg's name, such as ``h264``.
        pixel_format: FFmpeg's name of the decoded format, such as ``yuv420p``.
        rotation: Degrees counter-clockwise by which frames were turned: 0, 90, 180 or 270.
        stream_index: The stream's number among all streams of the file.
        color_primaries: FFmpeg's name, such as ``bt709``.
        color_space: FFmpeg's name, such as ``bt709`` or ``bt2020nc``.
        color_transfer_characteristic: FFmpeg's name, such as ``bt709`` or ``smpte2084``.
        pixel_aspect_ratio: Width of a pixel by its height.
        bit_rate: Bits a second, as the container says.
        num_frames_from_header: As the container says. No frame is ever found by it, nor by the next three.
        average_fps_from_header: As the container says.
        begin_stream_seconds_from_header: As the container says.
        duration_seconds_from_header: As the container says.

    From ``stream_index`` on, all are None where nothing says them, as in an index by an earlier version, and
    of a video of several files.

    >>> metadata = VideoStreamMetadata(60, Fraction(2), Fraction(30), 128, 96)
    >>> metadata.end_stream_seconds, metadata.average_fps
    (Fraction(2, 1), 30.0)
    """

    num_frames: int
    duration_seconds: Fraction | float
    average_rate: Fraction | float
    width: int
    height: int
    begin_stream_seconds: Fraction | float = Fraction(0)
    end_stream_seconds: Fraction | float | None = None
    codec: str = ""
    pixel_format: str = ""
    rotation: int = 0
    stream_index: int | None = None
    color_primaries: str | None = None
    color_space: str | None = None
    color_transfer_characteristic: str | None = None
    pixel_aspect_ratio: Fraction | None = None
    bit_rate: float | None = None
    num_frames_from_header: int | None = None
    average_fps_from_header: float | None = None
    begin_stream_seconds_from_header: float | None = None
    duration_seconds_from_header: float | None = None

    def __post_init__(self) -> None:
        if self.end_stream_seconds is None:
            object.__setattr__(self, "end_stream_seconds", self.begin_stream_seconds + self.duration_seconds)

    @property
    def average_fps(self) -> float:
        """``average_rate`` as TorchCodec calls it."""
        return float(self.average_rate)

    @property
    def num_frames_from_content(self) -> int:
        """``num_frames`` as TorchCodec calls it."""
        return self.num_frames

    @property
    def begin_stream_seconds_from_content(self) -> float:
        """``begin_stream_seconds`` as TorchCodec calls it."""
        return float(self.begin_stream_seconds)

    @property
    def end_stream_seconds_from_content(self) -> float:
        """``end_stream_seconds`` as TorchCodec calls it."""
        return float(self.end_stream_seconds or 0)
