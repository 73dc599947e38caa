"""Frames to pixels: colour by the stream's own tags, size, rotation, axis order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from mediaref_ursa._core.array_types import UInt8Array
from mediaref_ursa._core.errors import LimitExceededError
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._pyav.errors import FOREIGN_ERRORS, known_error

NewFrame = Callable[[tuple[int, ...]], UInt8Array]

_SWS_BT2020 = 9  # PyAV has no name for it before 18
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
_DEFAULT = int(Colorspace.DEFAULT)
_FULL, _LIMITED = int(ColorRange.JPEG), int(ColorRange.MPEG)
_BILINEAR, _BICUBIC = int(Interpolation.BILINEAR), int(Interpolation.BICUBIC)
_SWS_COLORSPACES: dict[int, int] = {
    1: int(Colorspace.ITU709),
    4: int(Colorspace.FCC),
    5: int(Colorspace.ITU601),
    6: int(Colorspace.ITU601),
    7: int(Colorspace.SMPTE240M),
    9: _SWS_BT2020,
    10: _SWS_BT2020,
}
"""swscale's matrices by AVColorSpace; frames without a tag are taken as BT.601, as FFmpeg does.

Numbers, not PyAV's enumerations: these cost more to look at than a small frame does to convert.
"""

_CHANNELS = {"gray": 1, "rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4}
_NEAREST_CHROMA = ("yuv420p", "yuv422p", "yuvj420p", "yuvj422p")
"""Formats of which swscale takes the nearest chroma sample, in frames of even height."""

_of_thread = threading.local()


def _reformatter() -> VideoReformatter:
    """Return this thread's reformatter: making one takes as long as converting several small frames."""
    reformatter: VideoReformatter | None = getattr(_of_thread, "reformatter", None)
    if reformatter is None:
        reformatter = _of_thread.reformatter = VideoReformatter()
    return reformatter


def _new_frame(shape: tuple[int, ...]) -> UInt8Array:
    return np.empty(shape, dtype=np.uint8)


class FrameConverter:
    """Turns decoded frames into arrays. Threads may share one: each has a swscale context of its own."""

    def __init__(self, spec: PixelSpec) -> None:
        self._spec = spec

    def convert(
        self, frame: VideoFrame, rotation: int, new: NewFrame = _new_frame, *, uri: str
    ) -> UInt8Array:
        """Return the frame as uint8, ``(H, W, C)`` or ``(C, H, W)`` as the spec says.

        Args:
            frame: As the decoder gave it.
            rotation: Degrees counter-clockwise to turn it by: 0, 90, 180 or 270.
            new: Gives the array of a shape to write to, which is returned; a new one without it.
            uri: Named in errors.

        Raises:
            LimitExceededError: The frame, or the size asked for, has more pixels than allowed.
            CorruptMediaError: swscale refuses the frame.
        """
        turns = rotation // 90 % 4 if self._spec.apply_rotation else 0
        height, width = frame.height, frame.width
        if self._spec.resize is not None:
            height, width = self._spec.resize if turns % 2 == 0 else self._spec.resize[::-1]
        if max(height * width, frame.height * frame.width) > self._spec.max_pixels:
            raise LimitExceededError(
                f"expected at most {self._spec.max_pixels} pixels, found {frame.width}x{frame.height} "
                f"to be given as {width}x{height}; allow more with max_pixels=",
                uri=uri,
            )
        try:
            pixels = self._pixels(frame, height, width)
        except FOREIGN_ERRORS as error:
            doing = f"convert a {frame.format.name} frame to {self._spec.pixel_format}"
            raise known_error(error, doing, uri=uri) from error
        if turns:
            pixels = np.rot90(pixels, turns)
        if self._spec.channel_format == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        out = new(pixels.shape)
        np.copyto(out, pixels)
        return out

    def _pixels(self, frame: VideoFrame, height: int, width: int) -> UInt8Array:
        """Return the frame as ``(H, W, C)``, a view of a picture's memory."""
        packed = self._spec.pixel_format
        if packed in ("rgb24", "gray") or _converts_alike(frame, height, width, packed):
            return _view(_reformat(frame, height, width, packed))
        picture = _reformat(_reformat(frame, height, width, "rgb24"), height, width, packed)
        pixels = _view(picture)
        if frame.format.name.startswith("yuva") and self._spec.channels == _CHANNELS["rgba"]:
            pixels[..., 3] = _alpha(frame, height, width)
        return pixels


def _converts_alike(frame: VideoFrame, height: int, width: int, packed: str) -> bool:
    """Whether swscale gives the same colours for another channel order of RGB.

    Where it interpolates chroma, its converters to four channels and to BGR do it otherwise than that to RGB,
    and those to four channels leave the last columns unwritten at widths of one to four above a multiple
    of 16.
    """
    form = frame.format
    if form.chroma_width(4) == 4 and form.chroma_height(4) == 4:
        return True
    if form.name not in _NEAREST_CHROMA or height % 2 or (height, width) != (frame.height, frame.width):
        return False
    return packed == "bgr24" or width % 16 == 0


def _alpha(frame: VideoFrame, height: int, width: int) -> UInt8Array:
    """Return the alpha of a frame of YUV and alpha as ``(H, W)``."""
    if (height, width) == (frame.height, frame.width) and frame.format.components[3].bits == 8:
        plane = frame.planes[3]
        own: UInt8Array = np.ndarray(
            (height, width), np.uint8, memoryview(plane), strides=(plane.line_size, 1)
        )
        return own
    return _view(_reformat(frame, height, width, "rgba"))[..., 3]


def _reformat(frame: VideoFrame, height: int, width: int, pixel_format: str) -> VideoFrame:
    """Convert a frame to a packed format and a size."""
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    deep = _has_deep_chroma(frame) and (height, width) == (frame.height, frame.width)
    return _reformatter().reformat(
        _without_chroma_location(frame) if deep else frame,
        width=width,
        height=height,
        format=pixel_format,
        src_colorspace=_SWS_COLORSPACES.get(frame.colorspace, _DEFAULT),
        dst_colorspace=_DEFAULT,  # without it, PyAV before 17 leaves the matrix as it was
        interpolation=_BICUBIC if deep else _BILINEAR,
        src_color_range=_FULL if full else _LIMITED,
        dst_color_range=_FULL,
        **_ONE_THREAD,
    )


def _view(picture: VideoFrame) -> UInt8Array:
    """View a packed picture as ``(H, W, C)``, without the padding of its rows."""
    channels, plane = _CHANNELS[picture.format.name], picture.planes[0]
    pixels: UInt8Array = np.ndarray(
        (picture.height, picture.width, channels),
        np.uint8,
        memoryview(plane),
        strides=(plane.line_size, channels, 1),
    )
    return pixels


def quarter_turns(rotation: float) -> int:
    """Return 0, 90, 180 or 270; frames turned by other angles are left as they are coded."""
    turned = round(rotation) % 360
    return turned if turned in (90, 180, 270) else 0


def _has_deep_chroma(frame: VideoFrame) -> bool:
    """Whether a frame has fewer chroma samples than pixels, of more than 8 bits each.

    Those are interpolated as FFmpeg's command line and TorchCodec do it: bicubically, from the middle of the
    pixels that they stand for. Of 8 bits, swscale takes the nearest.
    """
    components = frame.format.components
    if len(components) < 3 or components[0].bits <= 8:
        return False
    return frame.format.chroma_width(4) < 4 or frame.format.chroma_height(4) < 4


def _without_chroma_location(frame: VideoFrame) -> VideoFrame:
    """Copy the samples of a frame: PyAV cannot change its tags of where chroma lies, and of fields."""
    if any(plane.line_size <= 0 for plane in frame.planes):  # stored from the bottom up
        return frame
    copy = VideoFrame(frame.width, frame.height, frame.format.name)
    for source, target in zip(frame.planes, copy.planes, strict=True):
        rows = [
            np.frombuffer(memoryview(plane), np.uint8, plane.height * plane.line_size).reshape(
                plane.height, -1
            )
            for plane in (source, target)
        ]
        length = min(source.line_size, target.line_size)
        np.copyto(rows[1][:, :length], rows[0][:, :length])
    return copy
