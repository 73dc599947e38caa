"""Data URIs (RFC 2397): small media embedded in the reference."""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from typing_extensions import Self

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import (
    MAX_DATA_URI_BYTES,
    check_mimetype,
    check_parameters,
    check_quoted,
    decode_data_payload,
    parse_data_uri,
)
from mediaref_ursa._images.load import check_is_image, decode_image
from mediaref_ursa._images.pillow import (
    Array,
    FileFormat,
    InputFormat,
    PixelFormat,
    check_pil_format,
    encode,
    image_mimetype,
    open_image,
    to_pil,
)
from mediaref_ursa._model.pixels import MAX_PIXELS, Dtype
from mediaref_ursa._references.keywords import refuse_unknown
from mediaref_ursa.store import LocalStore

if TYPE_CHECKING:
    from PIL import Image

_DISPLAYED_BYTES = 64
_UNKNOWN_ADVICE = "a URI is taken apart by DataURI.from_uri(uri), a row by DataURI.model_validate(row)"
_PUT_TOGETHER: dict[str, bool] = {"put_together": True}


@set_module("mediaref_ursa")
class DataURI(BaseModel):
    """Media inside a URI: ``data:<mimetype>;<parameters>;base64,<data>``.

    Frozen, hashable; equal where the fields are equal.

    Attributes:
        mimetype: ``type/subtype``.
        is_base64: Whether ``data`` is base64; else it is percent-encoded, by
            ``urllib.parse.quote(text, safe="")`` where it is given by its fields.
        data: The payload's text as it stands in the URI.
        parameters: ``charset=utf-8`` and the like, as they stand between the media type and the payload.

    >>> text = DataURI.from_uri("data:text/plain;charset=utf-8,caf%C3%A9")
    >>> text.decoded_data.decode(), len(text), str(text)
    ('café', 39, 'data:text/plain;charset=utf-8,caf%C3%A9')
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    mimetype: str
    is_base64: bool = True
    data: bytes
    parameters: tuple[str, ...] = ()

    if not TYPE_CHECKING:

        def __init__(self, /, **fields):
            refuse_unknown(type(self), fields, _UNKNOWN_ADVICE)
            # A payload given to the constructor must be quoted completely; an existing URI is kept.
            self.__pydantic_validator__.validate_python(fields, self_instance=self, context=_PUT_TOGETHER)

        # Validation of dicts and JSON then builds instances itself instead of calling back here.
        __init__.__pydantic_base_init__ = True

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        check_mimetype(self.mimetype)
        check_parameters(self.parameters)
        if info.context is _PUT_TOGETHER and not self.is_base64:
            check_quoted(self.data)
        decode_data_payload(self.data, is_base64=self.is_base64)
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, some fields replaced by values that are not validated.

        Raises:
            TypeError: A name that is no field.
        """
        refuse_unknown(type(self), update or {}, _UNKNOWN_ADVICE)
        return super().model_copy(update=update, deep=deep)

    @classmethod
    def from_uri(cls, uri: str, *, max_bytes: int | None = MAX_DATA_URI_BYTES) -> DataURI:
        """Return the model of a data URI.

        A media type that is left out is written out, ``text/plain;charset=US-ASCII``; any other URI
        in lower-case spelling comes back letter for letter from ``uri``.

        Args:
            uri: The URI.
            max_bytes: The most bytes of the decoded payload; None for no limit.

        Raises:
            ValueError: The URI is malformed.
            LimitExceededError: The payload is larger than ``max_bytes``, measured before decoding.
        """
        parts = parse_data_uri(uri, max_bytes=max_bytes)
        decode_data_payload(parts.payload, is_base64=parts.is_base64)
        return cls.model_construct(
            mimetype=parts.mimetype,
            is_base64=parts.is_base64,
            data=parts.payload,
            parameters=parts.parameters,
        )

    @classmethod
    def from_image(
        cls,
        image: Array | Image.Image,
        format: FileFormat = "png",
        quality: int | None = None,
        input_format: InputFormat = "rgb",
    ) -> DataURI:
        """Return the data URI of an image, encoded.

        Args:
            image: uint8 ``(height, width, channels)``, or a PIL image of any mode, its pixels as they
                stand (an EXIF orientation is neither applied nor kept).
            format: PNG keeps alpha; JPEG and BMP drop it.
            quality: Of a JPEG, 1..100; None is 90.
            input_format: The order of the array's channels. Four channels are RGBA for ``"rgb"`` and BGRA
                for ``"bgr"``, as in MediaRef. PIL images know their own.

        Raises:
            ValueError: An unknown format, a quality outside 1..100, or an array that does not fit
                ``input_format``.

        >>> import numpy as np
        >>> red = DataURI.from_image(np.full((2, 2, 3), (0, 0, 255), np.uint8), input_format="bgr")
        >>> red.mimetype, red.to_ndarray()[0, 0].tolist()
        ('image/png', [255, 0, 0])
        """
        return cls._of_bytes(encode(image, format, quality, input_format), f"image/{format}")

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        max_bytes: int | None = MAX_DATA_URI_BYTES,
    ) -> DataURI:
        """Return the data URI of a local file.

        The media type of an image is read from its bytes, that of anything else from its name. The
        bytes stay as they are, unless ``format`` asks for another format than the image has.

        Args:
            path: A path or ``file://`` URI.
            format: For an image ``"png"``, ``"jpeg"`` or ``"bmp"``: re-encoded, upright, unless it has
                that format already. For anything else its media type; without a slash, of an image.
            max_bytes: The largest file; None for no limit.

        Raises:
            MediaNotFoundError: There is no such file (a FileNotFoundError).
            StoreError: It cannot be read.
            LimitExceededError: It is larger than ``max_bytes``.
            ValueError: An unknown format.
            UnsupportedMediaError: A file that is no image cannot become one.
        """
        location = os.fspath(path)
        data = LocalStore().get(location, max_bytes=max_bytes)
        found = image_mimetype(data)
        if found is None:
            return cls._of_bytes(data, _named_mimetype(location, format))
        name = found if format is None else _format_name(format)
        if name in (found, found.removeprefix("image/")):
            return cls._of_bytes(data, found)
        return cls.from_image(open_image(data, uri=location), name)  # type: ignore[arg-type]

    @classmethod
    def _of_bytes(cls, data: bytes, mimetype: str) -> DataURI:
        return cls.model_construct(
            mimetype=mimetype, is_base64=True, data=base64.b64encode(data), parameters=()
        )

    @property
    def uri(self) -> str:
        """The URI."""
        return self._header + self.data.decode("ascii")

    @property
    def _header(self) -> str:
        fields = (self.mimetype, *self.parameters, *(["base64"] if self.is_base64 else []))
        return f"data:{';'.join(fields)},"

    @property
    def decoded_data(self) -> bytes:
        """The payload's bytes."""
        return decode_data_payload(self.data, is_base64=self.is_base64)

    @property
    def is_image(self) -> bool:
        """Whether the media type is that of an image."""
        return self.mimetype.lower().startswith("image/")

    def to_ndarray(
        self,
        format: PixelFormat | Literal["native"] = "rgb",
        *,
        dtype: Dtype = "uint8",
        max_pixels: int = MAX_PIXELS,
    ) -> PixelArray:
        """Decode the image.

        Args:
            format: The order of channels; ``"native"`` for those of the image, and every bit of them.
            dtype: ``"uint8"``, or ``"native"`` for the type that keeps all bits, such as uint16.
            max_pixels: The most pixels, by the header.

        Returns:
            ``(height, width, channels)``, or ``(height, width)`` for ``"gray"``.

        Raises:
            ValueError: An unknown format.
            UnsupportedMediaError: No image, or of a kind that cannot be read here.
            CorruptMediaError: A damaged image.
            LimitExceededError: More pixels than ``max_pixels``.
        """
        check_is_image(self.mimetype)
        if format == "native":
            dtype = "native"
        return decode_image(self.decoded_data, format, dtype=dtype, max_pixels=max_pixels)

    def to_pil_image(self, format: PixelFormat = "rgb", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Decode the image into a PIL image of mode RGB, RGBA or L; see :meth:`to_ndarray`."""
        return to_pil(self.to_ndarray(check_pil_format(format), max_pixels=max_pixels))

    def __str__(self) -> str:
        return self.uri

    def __len__(self) -> int:
        return len(self._header) + len(self.data)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield "mimetype", self.mimetype
        yield "is_base64", self.is_base64
        yield "data", _shortened(self.data)
        if self.parameters:
            yield "parameters", self.parameters


def _shortened(data: bytes) -> bytes | str:
    return data if len(data) <= _DISPLAYED_BYTES else f"{data[:16]!r}... ({len(data)} bytes)"


def _format_name(format: str) -> str:
    """Return the usual name of an image format: ``jpeg`` for ``JPG`` and ``image/jpeg``."""
    name = format.lower().removeprefix("image/")
    return {"jpg": "jpeg"}.get(name, name)


def _named_mimetype(path: str, format: str | None) -> str:
    """Return the media type, from ``format`` or its name, of a file that is not a readable image."""
    if format is None:
        return mimetypes.guess_type(path)[0] or "application/octet-stream"
    name = format if "/" in format else f"image/{format}"
    if _format_name(name) in get_args(FileFormat):
        raise UnsupportedMediaError(f"expected an image to write as {format}, found none", uri=path)
    return check_mimetype(name)


# Pydantic's first validation takes a lock of its own: within this import, a fork waits for it.
DataURI(mimetype="text/plain", is_base64=False, data=b"")
