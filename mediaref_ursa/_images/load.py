"""Loading of images from URIs, the same for references, data URIs and batches."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import InvalidReferenceError, UnsupportedMediaError
from mediaref_ursa._core.uris import decode_data_payload, is_data, parse_data_uri
from mediaref_ursa._images.crop import cropped
from mediaref_ursa._images.native import native_array
from mediaref_ursa._images.pillow import PixelFormat, check_pixel_format, open_image, own_format, to_array
from mediaref_ursa._model.pixels import MAX_PIXELS, Crop, PixelSpec
from mediaref_ursa.store._location import Location

MAX_IMAGE_BYTES = 256 * 2**20


def load_image(
    image: Location,
    format: PixelFormat | Literal["native"] = "rgb",
    *,
    resize: tuple[int, int] | None = None,
    crop: Crop | None = None,
    dtype: str = "uint8",
    max_bytes: int = MAX_IMAGE_BYTES,
) -> PixelArray:
    """Read and decode an image.

    Args:
        image: Where it is: a path, ``file://``, http(s) URL or data URI; its access says the largest picture
            and data URI.
        format: The order of channels; ``native`` for those that the image has, with ``dtype="native"``.
        resize: ``(height, width)`` in pixels, bilinear.
        crop: ``(top, left, height, width)`` in pixels of the upright picture, before it is resized.
        dtype: ``uint8``, or ``native`` for the type that keeps all bits: see :func:`native_array`.
        max_bytes: The largest file.

    Returns:
        ``(height, width, channels)``, or ``(height, width)`` for ``"gray"``; writable.

    Raises:
        ValueError: An unknown format or a size that is none.
        InvalidReferenceError: No store serves the URI, it leads out of the base directory, or a malformed
            data URI.
        MediaNotFoundError: Nothing stands at the URI.
        StoreError: Its bytes cannot be read.
        LimitExceededError: Larger than one of the limits.
        UnsupportedMediaError: No image that can be read here.
        CorruptMediaError: A damaged image.
    """
    if not (format == "native" and dtype == "native"):
        check_pixel_format(format)
    access = image.access
    if is_data(image.uri):
        access.check_scheme(image.uri)
        data = data_uri_image_bytes(image.uri, access.max_data_uri_bytes)
    else:
        file = image.permitted()
        data = file.open_store().get(file.uri, max_bytes=max_bytes)
    return decode_image(
        data,
        format,
        uri=image.uri,
        resize=resize,
        crop=crop,
        dtype=dtype,
        max_pixels=access.max_pixels,
    )


def decode_image(
    data: bytes,
    format: PixelFormat | Literal["native"],
    *,
    uri: str | None = None,
    resize: tuple[int, int] | None = None,
    crop: Crop | None = None,
    dtype: str = "uint8",
    max_pixels: int = MAX_PIXELS,
) -> PixelArray:
    """Decode an image file held in memory; see :func:`load_image`."""
    spec = PixelSpec(resize=resize, max_pixels=max_pixels, dtype=dtype, crop=crop)
    if not (format == "native" and spec.is_native):
        format = check_pixel_format(format)
    image = open_image(data, max_pixels=max_pixels, uri=uri, is_native=spec.is_native)
    if format == "native":
        format = own_format(image)
    if spec.is_native:
        pixels = native_array(image, data, format, uri=uri)
    else:
        pixels = to_array(image, format, uri=uri)
    return np.require(cropped(pixels, spec, uri), requirements=("C", "W"))


def data_uri_image_bytes(uri: str, max_bytes: int | None) -> bytes:
    """Return the image file within a data URI.

    Raises:
        InvalidReferenceError: The URI is malformed.
        LimitExceededError: The payload is larger than ``max_bytes``, measured before decoding.
        UnsupportedMediaError: The media type is none of an image.
    """
    try:
        parts = parse_data_uri(uri, max_bytes=max_bytes)
        check_is_image(parts.mimetype, uri)
        return decode_data_payload(parts.payload, is_base64=parts.is_base64)
    except ValueError as error:
        if type(error) is not ValueError:  # of the tree already
            raise
        raise InvalidReferenceError(str(error), uri=uri) from error


def check_is_image(mimetype: str, uri: str | None = None) -> None:
    """Raise an UnsupportedMediaError unless ``mimetype`` is that of an image."""
    if not mimetype.lower().startswith("image/"):
        raise UnsupportedMediaError(f"expected the media type of an image, found '{mimetype}'", uri=uri)
