"""Muxing of encoded frames into a video file, without encoding them again: a packet for each frame."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any, NamedTuple

import av
import av.container
from av.packet import Packet
from av.video.stream import VideoStream

from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError, StoreError, UnsupportedMediaError
from mediaref_ursa._model.pixels import MAX_PIXELS
from mediaref_ursa._pyav.errors import foreign_errors

_DEMUXERS = {
    "mjpeg": "mjpeg",
    "png": "png_pipe",
    "h264": "h264",
    "hevc": "hevc",
    "vp9": "ivf",
    "av1": "ivf",
}
"""FFmpeg's demuxer that reads the bytes of one frame, by codec."""

_IVF_TAGS = {"vp9": b"VP90", "av1": b"AV01"}
_MAX_MP4_DURATION = 2**31 - 1


@dataclass(frozen=True)
class OutputFormat:
    """A kind of file that frames are written to.

    Attributes:
        muxer: FFmpeg's name of its muxer.
        ticks_per_second: The resolution of its times.
        min_duration: The shortest time from one frame to the next, in ticks: more than the microsecond by
            which a reference may lie before its frame.
        codecs: The codecs that it can hold.
        max_duration: The longest time from one frame to the next, in ticks; None without a limit.
    """

    muxer: str
    ticks_per_second: int
    min_duration: int
    codecs: frozenset[str]
    max_duration: int | None = None


OUTPUT_FORMATS = {
    ".mp4": OutputFormat("mp4", 1_000_000, 2, frozenset(_DEMUXERS), _MAX_MP4_DURATION),
    ".mov": OutputFormat("mov", 1_000_000, 2, frozenset(_DEMUXERS) - {"vp9", "av1"}, _MAX_MP4_DURATION),
    ".mkv": OutputFormat("matroska", 1_000, 1, frozenset(_DEMUXERS) - {"png"}),
}
"""By the end of a file's name."""


class PictureShape(NamedTuple):
    """What all frames of a video have in common.

    Attributes:
        width: In pixels.
        height: In pixels.
        pixel_format: FFmpeg's name.
    """

    width: int
    height: int
    pixel_format: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.pixel_format}"


class FirstFrame(NamedTuple):
    """What FFmpeg reads from the bytes of a frame with which decoding can begin.

    Attributes:
        shape: Its size and pixel format.
        may_reorder: The stream says that frames may be displayed in another order than they are decoded in.
    """

    shape: PictureShape
    may_reorder: bool


@contextmanager
def _opened(data: bytes, codec: str, uri: str | None) -> Iterator[VideoStream]:
    """Yield the stream of the bytes of one frame, which has its size and codec configuration."""
    if codec in _IVF_TAGS:
        data = _as_ivf(data, _IVF_TAGS[codec])
    with foreign_errors(f"read the {codec} frame", uri=uri):
        container = av.open(
            io.BytesIO(data), "r", format=_DEMUXERS[codec], options={"max_pixels": str(MAX_PIXELS)}
        )
    try:
        yield container.streams.video[0]
    finally:
        container.close()


def _as_ivf(data: bytes, tag: bytes) -> bytes:
    """Return a frame as an IVF file of one frame."""
    header = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, tag, 0, 0, 1, 1, 1, 0)
    return header + struct.pack("<IQ", len(data), 0) + data


def read_first_frame(data: bytes, codec: str, *, uri: str | None = None) -> FirstFrame:
    """Return what the bytes of a frame say with which decoding can begin.

    Args:
        data: Of ``h264`` and ``hevc``, an access unit in Annex B form with its parameter sets; of ``vp9`` and
            ``av1``, a frame or a temporal unit; of ``mjpeg`` and ``png``, the file.
        codec: FFmpeg's name.
        uri: Named in errors.

    Raises:
        CorruptMediaError: It cannot be read, or has no size.
    """
    with _opened(data, codec, uri) as stream:
        context = stream.codec_context
        if not (context.width and context.height and context.pix_fmt):
            raise CorruptMediaError(f"expected a whole {codec} frame, found one without a picture", uri=uri)
        shape = PictureShape(context.width, context.height, context.pix_fmt)
        return FirstFrame(shape, bool(context.has_b_frames))


class FrameMuxer:
    """Writes encoded frames of one video, in the order in which they are displayed.

    Belongs to one thread. One frame is held back, since its duration is the time to the next.

    Args:
        file: Opened for writing, and for reading what was written.
        output: The kind of file.
        codec: FFmpeg's name.
        first: The first frame, as :func:`read_first_frame` takes it.
        uri: Named in errors.

    Raises:
        UnsupportedMediaError: The kind of file cannot hold the codec.
        CorruptMediaError: FFmpeg objects.
        StoreError: The file cannot be written.
    """

    def __init__(
        self, file: IO[bytes], output: OutputFormat, codec: str, first: bytes, *, uri: str | None = None
    ) -> None:
        self._uri = uri
        self._codec = codec
        self._output = output
        self._time_base = Fraction(1, output.ticks_per_second)
        self._held: Packet[Any] | None = None
        self._last_duration = output.ticks_per_second // 30 or 1
        if codec not in output.codecs:
            names = ", ".join(suffix for suffix, kind in OUTPUT_FORMATS.items() if codec in kind.codecs)
            raise UnsupportedMediaError(
                f"expected a file that can hold {codec}, found one that cannot; write one of: {names}",
                uri=uri,
            )
        with _opened(first, codec, uri) as template, foreign_errors(f"begin a file of {codec}", uri=uri):
            self._container = av.open(_OutputFile(file, uri), "w", format=output.muxer)
            self._stream = self._container.add_stream_from_template(template, opaque=True)
            self._stream.time_base = self._time_base

    def write(self, data: bytes, ticks: int, *, is_keyframe: bool) -> None:
        """Add a frame.

        Args:
            data: Its bytes.
            ticks: When it is displayed, later than the frame before it.
            is_keyframe: Whether decoding can begin with it.

        Raises:
            UnsupportedMediaError: It is too long after the frame before it.
        """
        if self._held is not None:
            assert self._held.pts is not None
            self._last_duration = ticks - self._held.pts
            limit = self._output.max_duration
            if limit is not None and self._last_duration > limit:
                raise UnsupportedMediaError(
                    f"expected at most {float(limit * self._time_base):.0f} s from a frame to the next, "
                    f"found {float(self._last_duration * self._time_base):.0f} s; write a .mkv file",
                    uri=self._uri,
                )
            self._mux(self._held, self._last_duration)
        packet: Packet[Any] = Packet(data)
        packet.pts = packet.dts = ticks
        packet.is_keyframe = is_keyframe
        self._held = packet

    def _mux(self, packet: Packet[Any], duration: int) -> None:
        packet.duration = duration
        packet.time_base = self._time_base
        packet.stream = self._stream
        with foreign_errors(f"write a packet of {self._codec}", uri=self._uri):
            self._container.mux(packet)

    def finish(self) -> None:
        """Write the last frame, which lasts as long as the one before it, and what ends the file."""
        if self._held is not None:
            self._mux(self._held, self._last_duration)
            self._held = None

        with foreign_errors("end the file", uri=self._uri):
            self._container.close()

    def abandon(self) -> None:
        """Free the muxer; what was written is of no use."""
        self._held = None
        with suppress(MediaRefError), foreign_errors("end the file", uri=self._uri):
            self._container.close()


class _OutputFile:
    """A file for FFmpeg to write, whose errors are those of this library."""

    def __init__(self, file: IO[bytes], uri: str | None) -> None:
        self._file = file
        self._uri = uri
        self.tell = file.tell

    def write(self, data: bytes) -> int:
        with self._known_errors():
            return self._file.write(data)

    def read(self, size: int) -> bytes:
        with self._known_errors():
            return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._known_errors():
            return self._file.seek(offset, whence)

    @contextmanager
    def _known_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the video cannot be written: {error.strerror or error}", uri=self._uri
            ) from error


def first_out_of_order(file: IO[bytes], output: OutputFormat, *, uri: str | None = None) -> int | None:
    """Return the first frame that a decoder gives after one that is displayed later, in ticks; None without.

    Args:
        file: A file that :class:`FrameMuxer` wrote.
        output: Its kind.
        uri: Named in errors.

    Raises:
        CorruptMediaError: It cannot be decoded.
    """
    last: int = -1
    with (
        foreign_errors("decode the frames", uri=uri),
        av.open(file, "r", format=_READERS[output.muxer]) as container,
    ):
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            pts: int | None = frame.pts
            if pts is not None and pts < last:
                return pts
            last = last if pts is None else pts
    return None


_READERS = {"mp4": "mov", "mov": "mov", "matroska": "matroska"}
"""FFmpeg's demuxer for what a muxer writes."""
