"""swscale by PyAV's reformatter: frames to packed pictures, by the stream's own colour tags."""

from __future__ import annotations

import threading
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from mediaref_ursa._core.array_types import PixelArray

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

_PACKED: dict[str, tuple[int, str]] = {
    "gray": (1, "u1"),
    "rgb24": (3, "u1"),
    "bgr24": (3, "u1"),
    "rgba": (4, "u1"),
    "bgra": (4, "u1"),
    "gray16le": (1, "<u2"),
    "rgb48le": (3, "<u2"),
    "rgba64le": (4, "<u2"),
}
"""Packed formats: channels, and the type of a sample."""

_of_thread = threading.local()


def _reformatter() -> VideoReformatter:
    """Return this thread's reformatter: making one takes as long as converting several small frames."""
    reformatter: VideoReformatter | None = getattr(_of_thread, "reformatter", None)
    if reformatter is None:
        reformatter = _of_thread.reformatter = VideoReformatter()
    return reformatter


def reformat(frame: VideoFrame, height: int, width: int, pixel_format: str) -> VideoFrame:
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


def view(picture: VideoFrame) -> PixelArray:
    """View a packed picture as ``(H, W, C)``, uint8 or uint16, without the padding of its rows."""
    channels, dtype = _PACKED[picture.format.name]
    plane, size = picture.planes[0], np.dtype(dtype).itemsize
    pixels: PixelArray = np.ndarray(
        (picture.height, picture.width, channels),
        dtype,
        memoryview(plane),
        strides=(plane.line_size, channels * size, size),
    )
    return pixels


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
