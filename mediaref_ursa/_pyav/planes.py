"""Frames of 8-bit 4:2:0 video as rows of bytes: their planes, and before them what converts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from mediaref_ursa._core.array_types import UINT8, PixelArray
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._model.pixels import PLANES_HEADER_BYTES, planes_bytes

_FORMATS = ("yuv420p", "yuvj420p")
_VERSION = 1


def packed_planes(
    frame: VideoFrame, rotation: int, new: Callable[[tuple[int, ...], np.dtype[Any]], PixelArray], *, uri: str
) -> PixelArray:
    """Return a frame as uint8 ``(n,)``: eight little-endian int32, then its planes without padding.

    The numbers are a version, height, width, pixel format, matrix (AVColorSpace), range (AVColorRange) and
    rotation in degrees.

    Args:
        frame: As the decoder gave it.
        rotation: Degrees counter-clockwise to turn it by.
        new: Gives the array to write to.
        uri: Named in errors.

    Raises:
        UnsupportedMediaError: It is not of 8-bit 4:2:0, or interlaced: such are converted by fields, of which
            a copy of the planes says nothing.
    """
    if frame.format.name not in _FORMATS:
        raise UnsupportedMediaError(
            f"expected 8-bit 4:2:0 video for frames='yuv420', found {frame.format.name}; ask for RGB", uri=uri
        )
    if frame.interlaced_frame:
        raise UnsupportedMediaError(
            "expected progressive video for frames='yuv420', found an interlaced frame; ask for RGB", uri=uri
        )
    packed = new((planes_bytes(frame.height, frame.width),), UINT8)
    kind = _FORMATS.index(frame.format.name)
    numbers = (_VERSION, frame.height, frame.width, kind, frame.colorspace, frame.color_range, rotation, 0)
    packed[:PLANES_HEADER_BYTES] = np.array(numbers, dtype="<i4").view(np.uint8)
    first = PLANES_HEADER_BYTES
    for plane in frame.planes:
        size = plane.height * plane.width
        packed[first : first + size].reshape(plane.height, plane.width)[:] = _rows(plane)
        first += size
    return packed


def unpacked_frame(packed: PixelArray) -> tuple[VideoFrame, int]:
    """Return the frame that was packed, and its rotation in degrees.

    Raises:
        ValueError: The bytes are not those of a frame.
    """
    header = np.ascontiguousarray(packed[:PLANES_HEADER_BYTES])
    version, height, width, kind, matrix, levels, rotation, _ = (
        header.view("<i4").tolist() if len(header) == PLANES_HEADER_BYTES else [0] * 8
    )
    if version != _VERSION or kind not in (0, 1) or planes_bytes(height, width) != len(packed):
        raise ValueError(
            f"expected the planes of a frame of frames='yuv420', found {len(packed)} other bytes"
        )
    frame = VideoFrame(width, height, _FORMATS[kind])
    frame.colorspace, frame.color_range = matrix, levels
    first = PLANES_HEADER_BYTES
    for plane in frame.planes:
        size = plane.height * plane.width
        _rows(plane)[:] = packed[first : first + size].reshape(plane.height, plane.width)
        first += size
    return frame, rotation


def _rows(plane: Any) -> PixelArray:
    rows: PixelArray = np.ndarray(
        (plane.height, plane.width), UINT8, memoryview(plane), strides=(plane.line_size, 1)
    )
    return rows
