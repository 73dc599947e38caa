"""Images whose samples keep all their bits: ``dtype="native"``.

Pillow reads gray of 16 bits, integers of 32 bits and floating point as they are stored. Of colours with 16
bits it keeps eight, so that FFmpeg decodes those (PNG, TIFF and PPM).
"""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._images.pillow import UPRIGHT, PixelFormat, image_header, is_deep, orientation, to_array

_FFMPEG_DECODERS = {"PNG": "png", "TIFF": "tiff", "PPM": "ppm"}
_TIFF_BITS_TAG = 258
_PNG_BITS = 24  # offset of the bit depth within a file (PNG, 11.2.1: IHDR is the first chunk)
_PPM_MAXVAL = re.compile(
    rb"^P[2356]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*(\d+)\s"
)
_JPEG2000_SIZ = b"\xff\x51"
_SIZ_DEPTH = 38  # offset of the first component's depth, from the marker on (ITU-T T.800, A.5.1)
_AV1_CONFIGURATION, _HIGH_BIT_DEPTH = b"av1C", 0x40
_COLORSPACES = {"rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA", "gray": "G"}


def native_array(image: Image.Image, data: bytes, format: PixelFormat, *, uri: str | None) -> PixelArray:
    """Return the pixels of an image in the type that keeps all bits of its samples.

    Args:
        image: As ``open_image`` gave it: upright.
        data: The file that it was read from.
        format: The order of channels.
        uri: Named in errors.

    Returns:
        ``(height, width, channels)``, or ``(height, width)`` for ``"gray"``: uint8 of samples of up to 8
        bits, uint16 of up to 16, int32 and float32 as they are stored. RGB of gray is its value three times;
        alpha that an image lacks is the type's largest value, 1.0 of floating point.

    Raises:
        UnsupportedMediaError: The file has more bits than any decoder here gives.
        MissingExtraError: Colours of 16 bits, without the ``video`` extra.
    """
    if is_deep(image):
        return _of_gray(image, format)
    header = image_header(data, uri)
    bits = _stored_bits(header, data)
    if bits <= 8:
        return to_array(image, format, uri=uri)
    if header.format not in _FFMPEG_DECODERS:
        raise UnsupportedMediaError(
            f"expected samples that can be read as they are for dtype='native', found {header.format} of "
            f"{bits} bits, of which 8 can be read; ask for dtype='uint8'",
            uri=uri,
        )
    with needs_extra("video"):
        from mediaref_ursa._pyav.still import decode_still
    pixels = decode_still(data, _FFMPEG_DECODERS[header.format], _COLORSPACES[format], uri=uri or "")
    turn = UPRIGHT.get(orientation(header))
    pixels = pixels if turn is None else _turned(pixels, turn)
    return pixels[..., 0] if format == "gray" else pixels


def _of_gray(image: Image.Image, format: PixelFormat) -> PixelArray:
    """Return an image of Pillow's modes for wide samples, all of which are gray."""
    values = np.array(image)
    if image.mode == "I" and values.size and values.min() >= 0 and values.max() <= 0xFFFF:
        values = values.astype(np.uint16)  # mode I is how 16-bit PNG may open
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if format == "gray":
        return values
    if not format.endswith("a"):
        return np.stack([values] * 3, axis=-1)
    is_float = np.issubdtype(values.dtype, np.floating)
    opaque = values.dtype.type(1.0 if is_float else np.iinfo(values.dtype).max)
    alpha = np.full_like(values, opaque)
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha[values == key] = 0
    return np.stack([values, values, values, alpha], axis=-1)


def _stored_bits(image: Image.Image, data: bytes) -> int:
    """Return the bits a sample of the file, as its header says them; 8 of formats that have no more."""
    if image.format == "PNG":
        return data[_PNG_BITS]
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_TAG, 8)
        return int(max(bits) if isinstance(bits, tuple) else bits)
    if image.format == "PPM":
        found = _PPM_MAXVAL.match(data[:4096])
        return int(found[1]).bit_length() if found else 8
    if image.format == "JPEG2000":
        at = data.find(_JPEG2000_SIZ)
        return (data[at + _SIZ_DEPTH] & 0x7F) + 1 if 0 <= at < len(data) - _SIZ_DEPTH else 8
    if image.format == "AVIF":
        at = data.find(_AV1_CONFIGURATION)
        return 10 if 0 <= at < len(data) - 6 and data[at + 6] & _HIGH_BIT_DEPTH else 8
    return int(image.info.get("bit_depth", 8))  # of HEIC, by pillow-heif


def _turned(pixels: PixelArray, turn: Image.Transpose) -> PixelArray:
    """Return pixels ``(H, W, C)`` transposed as Pillow transposes an image."""
    if turn in (Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE):
        swapped: PixelArray = pixels.transpose(1, 0, 2)
        return swapped if turn is Image.Transpose.TRANSPOSE else swapped[::-1, ::-1]
    if turn is Image.Transpose.FLIP_LEFT_RIGHT:
        return pixels[:, ::-1]
    if turn is Image.Transpose.FLIP_TOP_BOTTOM:
        return pixels[::-1]
    turns = {Image.Transpose.ROTATE_90: 1, Image.Transpose.ROTATE_180: 2, Image.Transpose.ROTATE_270: 3}
    rotated: PixelArray = np.rot90(pixels, turns[turn])
    return rotated
