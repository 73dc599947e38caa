"""Still images by Pillow: from bytes to arrays and back, with Pillow's errors mapped into the tree.

The only module that imports Pillow. Formats are an allow-list of those that Pillow decodes by itself,
recognises by their first bytes and sizes by their header: none that starts another program
(EPS), and none that anything would pass for (TGA).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL import __version__ as pillow_version

from mediaref_ursa._containers.broken_files import describe_no_media
from mediaref_ursa._containers.image_kinds import image_format
from mediaref_ursa._containers.sniff import SNIFF_BYTES, known_container
from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import (
    CorruptMediaError,
    LimitExceededError,
    MediaRefError,
    MissingExtraError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.media_warnings import warn_of_cut_bits
from mediaref_ursa._images.tiff_samples import TiffSamples, tiff_samples_of
from mediaref_ursa._model.pixels import MAX_PIXELS

PixelFormat: TypeAlias = Literal["rgb", "bgr", "rgba", "bgra", "gray"]
InputFormat: TypeAlias = Literal["rgb", "bgr", "rgba", "bgra"]
FileFormat: TypeAlias = Literal["png", "jpeg", "bmp"]
Array: TypeAlias = npt.NDArray[np.uint8]

DEFAULT_JPEG_QUALITY = 90

_READABLE = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "QOI")
_ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions to turn stored pixels upright, by the value of the EXIF orientation (CIPA DC-008, 4.6.5)."""

# As in MediaRef, "rgb" and "bgr" say the order, and the fourth channel is alpha.
_FORMATS_OF_CHANNELS = {3: ("rgb", "bgr"), 4: ("rgb", "bgr", "rgba", "bgra")}
_MODES = {"rgb": "RGB", "bgr": "RGB", "rgba": "RGBA", "bgra": "RGBA", "gray": "L"}


def check_pixel_format(format: str) -> PixelFormat:
    """Return ``format`` if it names an order of channels; else raise a ValueError.

    >>> check_pixel_format("bgr")
    'bgr'
    """
    if format not in get_args(PixelFormat):
        raise ValueError(
            f"Unsupported format: expected one of {', '.join(_MODES)}, found {format!r}; to_ndarray() also "
            "takes native"
        )
    return format  # type: ignore[return-value]


def open_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, uri: str | None = None, is_native: bool = False
) -> Image.Image:
    """Decode an image: its first frame, upright, in whatever mode it is stored.

    Args:
        data: The encoded file.
        max_pixels: The most pixels, width times height, by the header; checked before decoding.
        uri: What errors name.
        is_native: The pixels of samples that Pillow misreads are not used.

    Raises:
        LimitExceededError: More pixels than ``max_pixels``, or than Pillow's own limit.
        UnsupportedMediaError: No image format that can be read here.
        CorruptMediaError: Truncated or damaged.
        MissingExtraError: It is HEIC, and pillow-heif is not installed.
    """
    with _mapped_errors(uri, data):
        image = _opened(data, uri)
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise LimitExceededError(
                f"expected at most {max_pixels} pixels, found {image.width}x{image.height};"
                " allow more with max_pixels=",
                uri=uri,
            )
        if not is_native and image.format == "TIFF":
            samples = TiffSamples.of(image, data)
            if samples.are_misread_as_8_bits:
                raise UnsupportedMediaError(
                    f"expected a TIFF file whose samples Pillow reads, found {samples}; ask for "
                    "dtype='native', or convert the file",
                    uri=uri,
                )
        image.load()
        turn = UPRIGHT.get(orientation(image))
        return image if turn is None else image.transpose(turn)


def image_mimetype(data: bytes) -> str | None:
    """Return the media type of an image by its header, None if it is not a readable image."""
    try:
        with _mapped_errors(None, data), _opened(data, None) as image:
            if image.format == "HEIF":
                return "image/heic"
            # A JPEG with further pictures (MPO) is read as a JPEG, as other readers do.
            return Image.MIME.get("JPEG" if image.format == "MPO" else image.format or "")
    except (LimitExceededError, MissingExtraError):
        raise
    except MediaRefError:
        return None


def image_header(data: bytes, uri: str | None = None) -> Image.Image:
    """Return an image of which only the header has been read; raises what :func:`open_image` raises."""
    with _mapped_errors(uri, data):
        return _opened(data, uri)


def own_format(image: Image.Image) -> PixelFormat:
    """Return the channels that an image has: ``"gray"``, ``"rgb"`` or ``"rgba"``.

    >>> [own_format(Image.new(mode, (1, 1))) for mode in ("L", "P", "LA")]
    ['gray', 'rgb', 'rgba']
    """
    if image.mode in ("RGBA", "LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return "rgba"
    return "gray" if is_deep(image) or image.mode in ("L", "1") else "rgb"


def _opened(data: bytes, uri: str | None) -> Image.Image:
    """Return an image of which only the header has been read.

    Raises:
        MissingExtraError: It is HEIC, and pillow-heif is not installed.
    """
    if image_format(data[:SNIFF_BYTES]) != "HEIC":
        return Image.open(io.BytesIO(data), formats=_formats())
    try:
        from pillow_heif import HeifImageFile  # used as it is: Pillow's list of formats is the program's
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the image is HEIC, which takes pillow-heif; it comes with: pip install 'mediaref-ursa[heif]'",
            uri=uri,
        ) from error
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image


def _unidentified(data: bytes) -> str:
    """Return the description of bytes that are not a readable image, for a message."""
    head = data[:SNIFF_BYTES]
    found = f"{len(data)} bytes that begin {data[:8]!r}"
    name = image_format(head)
    if name == "TIFF" and (samples := tiff_samples_of(data)) is not None:
        return (
            f"a TIFF file of {samples}, which Pillow {pillow_version} cannot read; convert it to whole "
            "numbers, or to one sample of 32-bit floating point"
        )
    if name is not None:
        return f"{found}: a {name} image, which Pillow {pillow_version} cannot read here, or a damaged one"
    if (container := known_container(head)) is not None:
        return f"{found}: a video ({container}); a reference to a frame of a video needs a pts_ns"
    what = describe_no_media(head)
    return f"{found}: {what}" if what else found


@functools.cache
def _formats() -> tuple[str, ...]:
    """List the formats of the allow-list that this Pillow can read; another would be a KeyError."""
    Image.init()
    return tuple(name for name in _READABLE if name in Image.OPEN)


def orientation(image: Image.Image) -> int:
    """Read the EXIF orientation; a malformed block is ignored."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF raises whatever its bytes lead to
        return 1


@contextmanager
def _mapped_errors(uri: str | None, data: bytes) -> Iterator[None]:
    """Map errors that Pillow raises on bad input into the tree of errors."""
    try:
        yield
    except MediaRefError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LimitExceededError(
            f"more pixels than Pillow takes, whatever max_pixels= is: {error}; "
            "raise PIL.Image.MAX_IMAGE_PIXELS",
            uri=uri,
        ) from error
    except UnidentifiedImageError as error:
        raise UnsupportedMediaError(
            f"Failed to load image: expected an image ({', '.join(_formats())}), found {_unidentified(data)}",
            uri=uri,
        ) from error
    except MemoryError as error:
        raise LimitExceededError("the image needs more memory than there is", uri=uri) from error
    except Exception as error:  # decoders raise struct.error, KeyError, zlib.error... on damaged bytes
        raise CorruptMediaError(
            f"the image cannot be decoded: {type(error).__name__}: {error}", uri=uri
        ) from error


def to_array(image: Image.Image, format: PixelFormat = "rgb", *, uri: str | None = None) -> Array:
    """Return the pixels of an image of any mode.

    Palettes are resolved; 16-bit values keep their upper eight bits; floating-point values are cut to
    0..255; CMYK, YCbCr, LAB and HSV become RGB. Alpha is dropped, not blended, where ``format`` has
    none, and is 255 where the image has none.

    Args:
        image: An image of any mode.
        format: The order of channels.
        uri: What a warning names.

    Returns:
        uint8, ``(height, width, channels)``, or ``(height, width)`` for ``"gray"`` (ITU-R BT.601
        luma); C-contiguous, writable.

    Warns:
        BitDepthWarning: Values of more than 8 bits are cut, once for each ``uri``.

    >>> to_array(Image.new("RGB", (2, 1), (255, 0, 0)), "bgr").tolist()
    [[[0, 0, 255], [0, 0, 255]]]
    """
    check_pixel_format(format)
    _warn_if_deep(image, uri)  # outside of the block that maps errors, since a warning may be raised
    with _mapped_errors(None, b""):
        plain = _plain(image)
        pixels = np.array(plain if plain.mode == _MODES[format] else plain.convert(_MODES[format]))
    return np.ascontiguousarray(_swap_red_and_blue(pixels)) if format in ("bgr", "bgra") else pixels


def is_deep(image: Image.Image) -> bool:
    """Return whether an image has a mode of Pillow with samples of more than 8 bits; all such are gray."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _warn_if_deep(image: Image.Image, uri: str | None = None) -> None:
    if is_deep(image):
        warn_of_cut_bits("16" if image.mode.startswith("I;16") else "more than 8", uri)


def _plain(image: Image.Image) -> Image.Image:
    """Bring an image of any mode to 8-bit L, RGB or RGBA; transparency of any kind becomes alpha."""
    mode = image.mode
    if is_deep(image):
        return _from_deep(image)
    if mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        straight = image.convert("LA") if mode == "La" else image
        return straight if mode == "RGBA" else straight.convert("RGBA")
    if mode in ("L", "RGB", "RGBA"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Bring values of 16 bits, or in floating point, to 8 bits (mode I is how 16-bit PNG may open)."""
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8))
    gray = Image.fromarray((np.clip(values, 0, 0xFFFF).astype(np.uint16) >> 8).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
        return gray.convert("RGBA")
    return gray


def _swap_red_and_blue(pixels: Array) -> Array:
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def resize_array(pixels: PixelArray, size: tuple[int, int]) -> PixelArray:
    """Return ``pixels`` in another size, bilinear, with the support widened where it shrinks.

    Args:
        pixels: ``(height, width)`` or ``(height, width, channels)``, of any type of pixels.
        size: ``(height, width)`` in pixels.

    Raises:
        ValueError: A size that is not two positive integers.

    >>> resize_array(np.full((4, 6, 3), 7, np.uint8), (2, 3)).shape
    (2, 3, 3)
    """
    height, width = check_size(size)
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype != np.uint8 or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        return _resize_channels(pixels, height, width)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def _resize_channels(pixels: PixelArray, height: int, width: int) -> PixelArray:
    """Resize each channel by itself, in 32-bit floating point; whole numbers are rounded."""
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    resized = np.empty((height, width, channels.shape[2]), dtype=pixels.dtype)
    for number in range(channels.shape[2]):
        channel = Image.fromarray(channels[..., number].astype(np.float32), "F")
        values = np.array(channel.resize((width, height), Image.Resampling.BILINEAR))
        is_whole = np.issubdtype(pixels.dtype, np.integer)
        resized[..., number] = np.rint(values) if is_whole else values
    return resized[..., 0] if pixels.ndim == 2 else resized


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return ``(height, width)`` as ints; raise a ValueError unless both are positive."""
    numbers = tuple(size)
    if len(numbers) != 2 or any(isinstance(n, bool) or int(n) != n or n < 1 for n in numbers):
        raise ValueError(f"expected resize=(height, width) in pixels, found {size!r}")
    return int(numbers[0]), int(numbers[1])


def check_pil_format(format: str) -> PixelFormat:
    """Return ``format`` if a PIL image can have it; else raise a ValueError."""
    if format not in ("rgb", "rgba", "gray"):
        raise ValueError(f"Unsupported format: a PIL image is 'rgb', 'rgba' or 'gray', found {format!r}")
    return format  # type: ignore[return-value]


def to_pil(pixels: PixelArray) -> Image.Image:
    """Return an image of ``(height, width)`` gray, or uint8 ``(height, width, 3 or 4)`` RGB or RGBA.

    Raises:
        UnsupportedMediaError: Colours of more than 8 bits, or gray of a type that Pillow has no mode for.
    """
    try:
        return Image.fromarray(pixels)
    except TypeError as error:
        raise UnsupportedMediaError(
            f"expected 8 bits a channel for a PIL image, found {pixels.dtype} of shape {pixels.shape}; take "
            "to_ndarray(), or dtype='uint8'"
        ) from error


def encode(
    image: Array | Image.Image,
    format: FileFormat = "png",
    quality: int | None = None,
    input_format: InputFormat = "rgb",
) -> bytes:
    """Write an image file.

    Args:
        image: uint8 ``(height, width, channels)``, or an image of any mode, its pixels as they stand.
        format: PNG keeps alpha, and the 16 bits of a gray image; JPEG and BMP drop alpha.
        quality: Of a JPEG, 1..100; None is 90.
        input_format: The order of an array's channels; with four of them, the last is alpha in any order.

    Raises:
        ValueError: An unknown format, a quality outside 1..100, or an array of another shape or type.
    """
    if format not in get_args(FileFormat):
        raise ValueError(f"Unsupported format: expected one of png, jpeg, bmp, found {format!r}")
    if quality is not None and (isinstance(quality, bool) or not 1 <= quality <= 100):
        raise ValueError(f"Invalid quality: expected 1..100, found {quality!r}")
    picture = image if isinstance(image, Image.Image) else _from_array(image, input_format)
    if not (format == "png" and picture.mode == "I;16"):
        _warn_if_deep(picture)
        picture = _plain(picture)
    if format != "png" and picture.mode == "RGBA":
        picture = picture.convert("RGB")
    options: dict[str, Any] = {"quality": quality or DEFAULT_JPEG_QUALITY} if format == "jpeg" else {}
    target = io.BytesIO()
    try:
        picture.save(target, format=format, **options)
    except (OSError, ValueError, SystemError, OverflowError) as error:
        raise ValueError(
            f"an image of {picture.width}x{picture.height} cannot be written: {error}"
        ) from error
    return target.getvalue()


def _from_array(pixels: Array, input_format: str) -> Image.Image:
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ValueError(
            f"expected a uint8 array of shape (height, width, channels), found {pixels.dtype} {pixels.shape}"
        )
    channels = pixels.shape[2]
    if input_format not in _FORMATS_OF_CHANNELS.get(channels, ()):
        expected = ", ".join(_FORMATS_OF_CHANNELS.get(channels, ())) or "3 or 4 channels"
        raise ValueError(
            f"Invalid input_format {input_format!r} for {channels}-channel array: expected {expected}"
        )
    if 0 in pixels.shape:
        raise ValueError(f"expected at least one pixel, found an array of shape {pixels.shape}")
    if input_format.startswith("bgr"):
        pixels = _swap_red_and_blue(pixels)
    return Image.fromarray(np.ascontiguousarray(pixels))
