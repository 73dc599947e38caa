"""Frames to pixels: colour by the stream's own tags, size, rotation, axis order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from mediaref_ursa._errors import LimitExceededError
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._pyav._foreign import FOREIGN_ERRORS, known_error

UInt8Array = npt.NDArray[np.uint8]
NewFrame = Callable[[tuple[int, ...]], UInt8Array]

_SWS_BT2020 = 9  # PyAV has no name for it before 18
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
_DEFAULT = int(Colorspace.DEFAULT)
_FULL, _LIMITED = int(ColorRange.JPEG), int(ColorRange.MPEG)
_BILINEAR = int(Interpolation.BILINEAR)
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


_of_thread = threading.local()


def _reformatter() -> VideoReformatter:
    """Return this thread's: a new one takes as long as it takes to convert several small frames."""
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
            picture = self._reformat(frame, height, width)
        except FOREIGN_ERRORS as error:
            doing = f"convert a {frame.format.name} frame to {self._spec.pixel_format}"
            raise known_error(error, doing, uri=uri) from error
        pixels = _pixels(picture, height, width, self._spec.channels)
        if turns:
            pixels = np.rot90(pixels, turns)
        if self._spec.channel_format == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        out = new(pixels.shape)
        np.copyto(out, pixels)
        return out

    def _reformat(self, frame: VideoFrame, height: int, width: int) -> VideoFrame:
        full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
        return _reformatter().reformat(
            frame,
            width=width,
            height=height,
            format=self._spec.pixel_format,
            src_colorspace=_SWS_COLORSPACES.get(frame.colorspace, _DEFAULT),
            dst_colorspace=_DEFAULT,  # without it, PyAV before 17 leaves the matrix as it was
            interpolation=_BILINEAR,
            src_color_range=_FULL if full else _LIMITED,
            dst_color_range=_FULL,
            **_ONE_THREAD,
        )


def _pixels(picture: VideoFrame, height: int, width: int, channels: int) -> UInt8Array:
    """View the only plane of a packed picture as ``(H, W, C)``, without the padding of its rows."""
    plane = picture.planes[0]
    strides = (plane.line_size, channels, 1)
    pixels: UInt8Array = np.ndarray((height, width, channels), np.uint8, memoryview(plane), strides=strides)
    return pixels


def quarter_turns(rotation: float) -> int:
    """Return 0, 90, 180 or 270; frames turned by other angles are left as they are coded."""
    turned = round(rotation) % 360
    return turned if turned in (90, 180, 270) else 0
