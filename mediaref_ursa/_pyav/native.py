"""Frames of more than 8 bits to pixels that keep them: ``dtype="native"``.

Gray media give the stored values, without any conversion, and so do floating-point samples. Other frames
become 16-bit RGB by swscale, as by ``-pix_fmt rgb48le`` and ``rgba64le`` of FFmpeg's command line, full scale
(65535 is white). RGB of gray media is their value shifted up to 16 bits, as FFmpeg has it.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._pyav.sample_formats import SampleFormat
from mediaref_ursa._pyav.swscale import reformat, view

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CHANNELS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0), "RGBA": (0, 1, 2, 3), "BGRA": (2, 1, 0, 3)}


def native_pixels(
    frame: VideoFrame, form: SampleFormat, height: int, width: int, colorspace: str, *, uri: str
) -> PixelArray:
    """Return a frame of more than 8 bits as ``(H, W, C)``, of the type ``form.dtype``.

    Args:
        frame: As the decoder gave it.
        form: Its samples.
        height: Of the output, in pixels.
        width: Of the output, in pixels.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA`` or ``G``.
        uri: Named in errors.

    Raises:
        UnsupportedMediaError: Integers of more than 16 bits.
    """
    if form.is_float or (form.is_gray and colorspace == "G"):
        same_size = (height, width) == (frame.height, frame.width)
        own = frame if same_size else reformat(frame, height, width, frame.format.name)
        stored = [_component(own, form, number) for number in range(len(own.format.components))]
        return _of_stored(stored, form, colorspace)
    if form.bits > 16:
        raise UnsupportedMediaError(
            f"expected samples of at most 16 bits for dtype='native', found {frame.format.name}; ask for "
            "colorspace='G' of gray media, or for dtype='uint8'",
            uri=uri,
        )
    if colorspace == "G":
        return view(reformat(frame, height, width, "gray16le"))
    if colorspace.endswith("A"):
        return view(reformat(frame, height, width, "rgba64le"))[..., _CHANNELS[colorspace]]
    pixels = view(reformat(frame, height, width, "rgb48le"))
    return pixels if colorspace == "RGB" else pixels[..., ::-1]


def _component(frame: VideoFrame, form: SampleFormat, number: int) -> PixelArray:
    """View one channel of a frame in its planes, ``(H, W)``."""
    components = frame.format.components
    together = [i for i, other in enumerate(components) if other.plane == components[number].plane]
    plane, size = frame.planes[components[number].plane], form.stored_dtype.itemsize
    samples: PixelArray = np.ndarray(
        (frame.height, frame.width),
        form.stored_dtype,
        memoryview(plane),
        offset=size * together.index(number),
        strides=(plane.line_size, size * len(together)),
    )
    return samples


def _of_stored(channels: list[PixelArray], form: SampleFormat, colorspace: str) -> PixelArray:
    """Return stored channels, gray or R, G and B, and alpha if there is any, as ``(H, W, C)``."""
    alpha = channels.pop() if form.has_alpha else None
    if colorspace == "G":
        gray = channels[0] if form.is_gray else sum(c * k for c, k in zip(channels, _LUMA, strict=True))
        return np.asarray(gray, dtype=form.dtype)[..., None]
    if alpha is None:
        alpha = np.ones_like(channels[0])
    channels = [*(channels * 3 if form.is_gray else channels), alpha]
    return np.stack([channels[i] for i in _CHANNELS[colorspace]], axis=-1).astype(form.dtype, copy=False)
