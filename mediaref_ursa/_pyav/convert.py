"""Frames to pixels: colour by the stream's own tags, size, rotation, axis order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from mediaref_ursa._core.array_types import UINT8, PixelArray
from mediaref_ursa._core.errors import LimitExceededError, MediaRefError
from mediaref_ursa._model.pixels import PIXEL_FORMATS, PixelSpec
from mediaref_ursa._pyav.errors import FOREIGN_ERRORS, known_error
from mediaref_ursa._pyav.native import native_pixels
from mediaref_ursa._pyav.planes import packed_planes
from mediaref_ursa._pyav.sample_formats import sample_format
from mediaref_ursa._pyav.swscale import reformat, view

NewArray = Callable[[tuple[int, ...], "np.dtype[Any]"], PixelArray]

_NEAREST_CHROMA = ("yuv420p", "yuv422p", "yuvj420p", "yuvj422p")
"""Formats of which swscale takes the nearest chroma sample, in frames of even height."""


def _new_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> PixelArray:
    return np.empty(shape, dtype=dtype)


class FrameConverter:
    """Turns decoded frames into arrays. Threads may share one: each has a swscale context of its own."""

    def __init__(self, spec: PixelSpec) -> None:
        self._spec = spec

    def convert(
        self, frame: VideoFrame, rotation: int, new: NewArray = _new_array, *, uri: str
    ) -> PixelArray:
        """Return the frame as ``(H, W, C)`` or ``(C, H, W)``, and of the sample type, that the spec says.

        Args:
            frame: As the decoder gave it.
            rotation: Degrees counter-clockwise to turn it by: 0, 90, 180 or 270.
            new: Gives the array of a shape and type to write to, which is returned; a new one without it.
            uri: Named in errors.

        Raises:
            LimitExceededError: The frame, or the size asked for, has more pixels than allowed.
            CorruptMediaError: swscale refuses the frame.
            UnsupportedMediaError: ``dtype="native"`` has no type for its samples.
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
        if self._spec.keeps_planes:
            return packed_planes(frame, rotation, new, uri=uri)
        try:
            pixels = self._pixels(frame, height, width, uri)
        except MediaRefError:
            raise
        except FOREIGN_ERRORS as error:
            doing = f"convert a {frame.format.name} frame to {self._spec.colorspace}"
            raise known_error(error, doing, uri=uri) from error
        if turns:
            pixels = np.rot90(pixels, turns)
        if self._spec.channel_format == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        out = new(pixels.shape, UINT8 if pixels.dtype == UINT8 else pixels.dtype.newbyteorder("="))
        np.copyto(out, pixels)
        return out

    def _pixels(self, frame: VideoFrame, height: int, width: int, uri: str) -> PixelArray:
        """Return the frame as ``(H, W, C)``, mostly a view of a picture's memory."""
        colorspace = self._spec.colorspace
        if self._spec.is_native:
            form = sample_format(frame.format.name)
            if colorspace == "native":
                colorspace = "RGBA" if form.has_alpha else "G" if form.is_gray else "RGB"
            if form.is_deep:
                return native_pixels(frame, form, height, width, colorspace, uri=uri)
        packed = PIXEL_FORMATS[colorspace]
        if packed in ("rgb24", "gray") or _converts_alike(frame, height, width, packed):
            return view(reformat(frame, height, width, packed))
        picture = reformat(reformat(frame, height, width, "rgb24"), height, width, packed)
        pixels = view(picture)
        if frame.format.name.startswith("yuva") and packed in ("rgba", "bgra"):
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


def _alpha(frame: VideoFrame, height: int, width: int) -> PixelArray:
    """Return the alpha of a frame of YUV and alpha as ``(H, W)``."""
    if (height, width) == (frame.height, frame.width) and frame.format.components[3].bits == 8:
        plane = frame.planes[3]
        own: PixelArray = np.ndarray((height, width), UINT8, memoryview(plane), strides=(plane.line_size, 1))
        return own
    return view(reformat(frame, height, width, "rgba"))[..., 3]


def quarter_turns(rotation: float) -> int:
    """Return 0, 90, 180 or 270; frames turned by other angles are left as they are coded."""
    turned = round(rotation) % 360
    return turned if turned in (90, 180, 270) else 0
