"""Images whose samples keep all their bits: ``dtype="native"``.

Pillow reads gray of 16 bits, integers of 32 bits and floating point as they are stored, in TIFF that is. Of
colours with 16 bits it keeps eight, so that FFmpeg decodes those (PNG, TIFF and PPM); what it gives is held
against Pillow's eight bits, since it leaves out parts of some files without an error.
"""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._images.pillow import UPRIGHT, PixelFormat, image_header, is_deep, orientation, to_array
from mediaref_ursa._images.tiff_samples import TiffSamples

_FFMPEG_DECODERS = {"PNG": "png", "TIFF": "tiff", "PPM": "ppm"}
_PNG_BITS = 24  # offset of the bit depth within a file (PNG, 11.2.1: IHDR is the first chunk)
_PPM_MAXVAL = re.compile(
    rb"^P[2356]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*(\d+)\s"
)
# Offsets from the SIZ marker, which follows the start of a codestream, on (ITU-T T.800, A.5.1).
_JPEG2000_SIZ = b"\xff\x4f\xff\x51"
_SIZ_AT, _SIZ_COMPONENTS, _SIZ_DEPTHS, _SIZ_STEP = 2, 38, 40, 3
_AV1_CONFIGURATION, _HIGH_BIT_DEPTH = b"av1C", 0x40
_COLORSPACES = {"rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA", "gray": "G"}
_FULL_16_BITS = 0xFFFF


def native_array(image: Image.Image, data: bytes, format: PixelFormat, *, uri: str | None) -> PixelArray:
    """Return the pixels of an image in the type that keeps all bits of its samples.

    Args:
        image: As ``open_image`` gave it: upright.
        data: The file that it was read from.
        format: The order of channels.
        uri: Named in errors.

    Returns:
        ``(height, width, channels)``, or ``(height, width)`` for ``"gray"``: uint8 of samples of up to 8
        bits, uint16 of up to 16, int32, uint32 and float32 as they are stored, by the file's format and not
        by its values. RGB of gray is its value three times; alpha that an image lacks is the type's largest
        value, 1.0 of floating point.

    Raises:
        UnsupportedMediaError: The file has more bits than any decoder here gives, or samples of another kind.
        MissingExtraError: Colours of 16 bits, without the ``video`` extra.
    """
    header = image_header(data, uri)
    samples = TiffSamples.of(header, data) if header.format == "TIFF" else None
    if samples is not None:
        samples.check_readable(uri)
        if samples.is_unsigned_32:
            return _of_gray(image, np.array(image).view(np.uint32), format)
    if is_deep(image):
        return _of_gray(image, _stored_gray(image, header, data), format)
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
    pixels = pixels[..., 0] if format == "gray" else pixels
    if format != "gray" and not (samples is not None and samples.are_misread_as_8_bits):
        _check_upper_bits(pixels, to_array(image, format, uri=uri), header.format, uri)
    return pixels


def _check_upper_bits(pixels: PixelArray, eight: PixelArray, name: str | None, uri: str | None) -> None:
    """Hold FFmpeg's samples against the eight bits of each that Pillow reads.

    Raises:
        UnsupportedMediaError: They are of another picture.
    """
    if pixels.shape != eight.shape or np.abs((pixels >> 8).astype(np.int32) - eight).max(initial=0) > 1:
        raise UnsupportedMediaError(
            f"expected one {name} picture from FFmpeg, which reads 16 bits, and Pillow, which reads 8, found "
            "two: one does not know how the file is stored (associated alpha, for example); ask for "
            "dtype='uint8', or convert the file",
            uri=uri,
        )


def _stored_gray(image: Image.Image, header: Image.Image, data: bytes) -> PixelArray:
    """Return the values of an image of Pillow's modes for wide samples, all of which are gray, as stored."""
    values: PixelArray = np.array(image)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if header.format == "PPM" and image.mode == "I":  # scaled to 16 bits
        max_value = _max_of_ppm(data)
        return np.rint(values * (max_value / _FULL_16_BITS)).astype(np.uint16)
    if header.format == "JPEG2000" and image.mode == "I;16":  # shifted up to 16 bits
        return values >> (16 - _stored_bits(header, data))
    return values.astype(np.uint16) if header.format == "PNG" else values


def _of_gray(image: Image.Image, values: PixelArray, format: PixelFormat) -> PixelArray:
    """Return gray values in an order of channels."""
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
        return TiffSamples.of(image, data).bits
    if image.format == "PPM":
        return _max_of_ppm(data).bit_length()
    if image.format == "JPEG2000":
        return _bits_of_jpeg2000(data)
    if image.format == "AVIF":
        at = data.find(_AV1_CONFIGURATION)
        return 10 if 0 <= at < len(data) - 6 and data[at + 6] & _HIGH_BIT_DEPTH else 8
    return int(image.info.get("bit_depth", 8))  # of HEIC, by pillow-heif


def _max_of_ppm(data: bytes) -> int:
    found = _PPM_MAXVAL.match(data[:4096])
    return int(found[1]) if found else 255


def _bits_of_jpeg2000(data: bytes) -> int:
    """Return the bits of the deepest component, whose depths the first marker segment lists."""
    at = data.find(_JPEG2000_SIZ) + _SIZ_AT
    if at < _SIZ_AT or at + _SIZ_DEPTHS >= len(data):
        return 8
    count = int.from_bytes(data[at + _SIZ_COMPONENTS : at + _SIZ_DEPTHS], "big")
    depths = data[at + _SIZ_DEPTHS : at + _SIZ_DEPTHS + _SIZ_STEP * count : _SIZ_STEP]
    return max((depth & 0x7F) + 1 for depth in depths)


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
