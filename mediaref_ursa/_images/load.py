"""From the URI of an image to its pixels: one way for references, data URIs and batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa._model.pixels import MAX_PIXELS, whole_pixels
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._local import location_of
from mediaref_ursa.store._open import open_store

MAX_IMAGE_BYTES = 256 * 2**20


def load_image(
    uri: str,
    format: PixelFormat = "rgb",
    *,
    access: Access = TRUSTED,
    resize: tuple[int, int] | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Array:
    """Read and decode the image at ``uri``.

    Args:
        uri: A path, ``file://``, http(s) URL or data URI.
        format: The order of channels.
        access: What may be read, and the largest picture and data URI.
        resize: ``(height, width)`` in pixels, bilinear.
        max_bytes: The largest file.
        store: Where the file is; chosen by the URI's scheme without it.
        storage_options: For the store of a cloud scheme.

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
    if is_data(uri):
        access.check_scheme(uri)
        data = data_uri_image_bytes(uri, access.max_data_uri_bytes)
    else:
        location = location_of(uri, access, has_own_store=store is not None)
        data = open_store(location, store, storage_options, access).get(location, max_bytes=max_bytes)
    return decode_image(data, format, uri=uri, resize=resize, max_pixels=access.max_pixels)


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
