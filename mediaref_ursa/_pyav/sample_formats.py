"""FFmpeg's pixel formats: bits a sample, and the sample type of output frames with ``dtype="native"``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from mediaref_ursa._core.array_types import UINT8
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._model.pixels import PixelSpec

_GRAY = re.compile(r"(?:gray|ya)\d*(?:f\d+)?(?:le|be)?$")
_BAYER_16 = re.compile(r"bayer_....16")  # of which FFmpeg counts the bits of a pixel
_FLOAT = re.compile(r"f(16|32)(?:le|be)?$")


@dataclass(frozen=True)
class SampleFormat:
    """The samples of a pixel format.

    Attributes:
        bits: Of the widest sample.
        is_float: Whether samples are floating-point numbers.
        is_gray: Whether the format has luma, or luma and alpha, and no colour.
        has_alpha: Whether it has a channel of alpha.
        is_big_endian: The order of the bytes of wider samples.
    """

    bits: int
    is_float: bool
    is_gray: bool
    has_alpha: bool
    is_big_endian: bool

    @property
    def is_deep(self) -> bool:
        """Whether 8-bit integers cannot hold the samples."""
        return self.bits > 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type, in native byte order, of output frames with ``dtype="native"``.

        uint8 up to 8 bits, uint16 up to 16, float16 or float32 for floating point; uint32 has no conversion.
        """
        if self.is_float:
            return np.dtype(np.float16 if self.bits == 16 else np.float32)
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.uint32)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type of a sample in a frame's planes."""
        stored: np.dtype[Any] = self.dtype.newbyteorder(">" if self.is_big_endian else "<")
        return stored


@functools.cache
def sample_format(pixel_format: str) -> SampleFormat:
    """Return the samples of a pixel format by FFmpeg's name.

    Raises:
        UnsupportedMediaError: FFmpeg knows no such format.

    >>> sample_format("yuv420p10le").dtype, sample_format("nv12").dtype, sample_format("grayf32le").dtype
    (dtype('uint16'), dtype('uint8'), dtype('float32'))
    >>> sample_format("ya16be").is_gray, sample_format("gbrap12le").has_alpha
    (True, True)
    """
    try:
        components = av.VideoFormat(pixel_format).components
    except ValueError as error:
        raise UnsupportedMediaError(
            f"expected a pixel format that FFmpeg knows, found {pixel_format[:80]!r}"
        ) from error
    bits = max((component.bits for component in components), default=8)
    return SampleFormat(
        bits=16 if _BAYER_16.match(pixel_format) else bits,
        is_float=_FLOAT.search(pixel_format) is not None,
        is_gray=_GRAY.match(pixel_format) is not None,
        has_alpha=any(component.is_alpha for component in components),
        is_big_endian=pixel_format.endswith("be"),
    )


def output_dtype(spec: PixelSpec, pixel_formats: Iterable[str], uri: str) -> np.dtype[Any]:
    """Return the one sample type of output frames of some pixel formats.

    Raises:
        UnsupportedMediaError: They have several.

    >>> output_dtype(PixelSpec(dtype="native"), ["gray12le"], "depth.mkv")
    dtype('uint16')
    """
    if not spec.is_native:
        return UINT8
    found = {sample_format(name).dtype for name in pixel_formats}
    if len(found) > 1:
        raise UnsupportedMediaError(
            f"expected segments of one sample type, found {sorted(dtype.name for dtype in found)}; pass "
            "dtype='uint8'",
            uri=uri,
        )
    return found.pop() if found else UINT8
