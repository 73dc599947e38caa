"""Loading of images from URIs, the same for references, data URIs and batches."""

from __future__ import annotations

from mediaref_ursa._core.errors import InvalidReferenceError, LimitExceededError, UnsupportedMediaError
from mediaref_ursa._core.uris import decode_data_payload, is_data, parse_data_uri
from mediaref_ursa._images.pillow import (
    Array,
    PixelFormat,
    check_pixel_format,
    open_image,
    resize_array,
    to_array,
)
from mediaref_ursa._model.pixels import MAX_PIXELS, whole_pixels
from mediaref_ursa.store._location import Location

MAX_IMAGE_BYTES = 256 * 2**20


def load_image(
    image: Location,
    format: PixelFormat = "rgb",
    *,
    resize: tuple[int, int] | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> Array:
    """Read and decode an image.

    Args:
        image: Where it is: a path, ``file://``, http(s) URL or data URI; its access says the largest picture
            and data URI.
        format: The order of channels.
        resize: ``(height, width)`` in pixels, bilinear.
        max_bytes: The largest file.

    Returns:
        uint8, ``(height, width, channels)``, or ``(height, width)`` for ``"gray"``; writable.

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
    check_pixel_format(format)
    access = image.access
    if is_data(image.uri):
        access.check_scheme(image.uri)
        data = data_uri_image_bytes(image.uri, access.max_data_uri_bytes)
    else:
        file = image.permitted()
        data = file.open_store().get(file.uri, max_bytes=max_bytes)
    return decode_image(data, format, uri=image.uri, resize=resize, max_pixels=access.max_pixels)


def decode_image(
    data: bytes,
    format: PixelFormat,
    *,
    uri: str | None = None,
    resize: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Array:
    """Decode an image file held in memory; see :func:`load_image`."""
    check_pixel_format(format)
    pixels = to_array(open_image(data, max_pixels=max_pixels, uri=uri), format, uri=uri)
    if resize is None:
        return pixels
    resize = whole_pixels(resize)
    if resize[0] * resize[1] > max_pixels:
        raise LimitExceededError(
            f"expected at most {max_pixels} pixels, found resize={resize!r}; allow more with max_pixels=",
            uri=uri,
        )
    return resize_array(pixels, resize)


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
