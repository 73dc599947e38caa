"""Still images by FFmpeg's decoders, for samples of more bits than Pillow keeps."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa._pyav.errors import FOREIGN_ERRORS, known_error


def decode_still(data: bytes, codec: str, colorspace: str, *, uri: str) -> PixelArray:
    """Decode an image file to ``(H, W, C)`` with all bits of its samples.

    Args:
        data: The file, whose size in pixels and whose end were checked: FFmpeg makes up what is missing.
        codec: FFmpeg's name of the decoder: ``png``, ``tiff`` or ``ppm``.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA`` or ``G``.
        uri: Named in errors.

    Raises:
        CorruptMediaError: It cannot be decoded.
    """
    try:
        context: Any = av.CodecContext.create(codec, "r")
        frames = context.decode(av.Packet(data)) + context.decode(None)
    except FOREIGN_ERRORS as error:
        raise known_error(error, f"decode the {codec} image", uri=uri) from error
    if not frames or getattr(frames[0], "is_corrupt", False):
        raise CorruptMediaError(f"the {codec} image is damaged: its decoder gave no whole picture", uri=uri)
    spec = PixelSpec(colorspace=colorspace, max_pixels=frames[0].width * frames[0].height, dtype="native")
    pixels = FrameConverter(spec).convert(frames[0], 0, uri=uri)
    return np.ascontiguousarray(pixels)
