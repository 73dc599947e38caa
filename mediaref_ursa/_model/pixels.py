"""``PixelSpec``: size, colour space and axis order of decoded pixels. Pure."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

from mediaref_ursa._core.errors import UnsupportedMediaError

MAX_PIXELS = 33_177_600
"""The default limit of a decoded picture in pixels: 8K, 7680 x 4320."""

PIXEL_FORMATS = {"RGB": "rgb24", "BGR": "bgr24", "RGBA": "rgba", "BGRA": "bgra", "G": "gray"}
"""FFmpeg's names of the packed 8-bit formats, by colour space."""
_CHANNEL_FORMATS = ("NHWC", "NCHW")
_DTYPES = ("uint8", "native")
Crop = tuple[int, int, int, int]
Dtype = Literal["uint8", "native"]


@dataclass(frozen=True)
class PixelSpec:
    """The pixel format of output frames.

    Attributes:
        resize: ``(height, width)`` in pixels of every output, or None for each frame's own size.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA`` or ``G`` (one channel: the values of gray media, else
            BT.601 luma). ``native`` is ``G`` of gray media, ``RGBA`` of formats with alpha, else ``RGB``.
        channel_format: ``NHWC`` for ``(H, W, C)`` frames, ``NCHW`` for ``(C, H, W)``.
        apply_rotation: Turn frames as the container's display matrix says.
        max_pixels: A frame with more pixels is refused before memory is taken.
        dtype: ``uint8``, or ``native`` for the type that keeps every bit of the media's samples.
        crop: ``(top, left, height, width)`` in pixels of the upright picture, cut out before it is resized.
        keeps_planes: Output the planes as the decoder gave them, in one row of bytes; the rest is for later.

    Raises:
        ValueError: A value that is none of these.
    """

    resize: tuple[int, int] | None = None
    colorspace: str = "RGB"
    channel_format: str = "NHWC"
    apply_rotation: bool = True
    max_pixels: int = MAX_PIXELS
    dtype: str = "uint8"
    crop: Crop | None = None
    keeps_planes: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"expected dtype to be one of {_DTYPES}, found {self.dtype!r}")
        if self.colorspace not in PIXEL_FORMATS and not (self.colorspace == "native" and self.is_native):
            raise ValueError(
                f"expected colorspace to be one of {list(PIXEL_FORMATS)}, found {self.colorspace!r}"
            )
        if self.channel_format not in _CHANNEL_FORMATS:
            raise ValueError(
                f"expected channel_format to be one of {_CHANNEL_FORMATS}, found {self.channel_format!r}"
            )
        if self.resize is not None:
            object.__setattr__(self, "resize", whole_pixels(self.resize))
        if self.crop is not None:
            object.__setattr__(self, "crop", checked_crop(self.crop))

    @property
    def is_native(self) -> bool:
        """Whether samples keep all their bits."""
        return self.dtype == "native"

    @property
    def has_alpha(self) -> bool:
        """Whether an output frame has a channel of alpha."""
        return self.colorspace.endswith("A")

    @property
    def channels(self) -> int:
        """Channels of an output frame."""
        return {"G": 1, "RGBA": 4, "BGRA": 4}.get(self.colorspace, 3)

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of an output frame, of a picture of ``height`` by ``width`` pixels."""
        height, width = self.resize or (self.crop or (0, 0, height, width))[2:]
        if self.channel_format == "NCHW":
            return self.channels, height, width
        return height, width, self.channels


def checked_output_format(output_format: str, colorspace: str) -> str:
    """Return the colour space of MediaRef's ``output_format``: with ``"native"``, that of each frame.

    Raises:
        ValueError: Another output format, or a native one together with a colour space.

    >>> checked_output_format("native", "RGB"), checked_output_format("rgb", "G")
    ('native', 'G')
    """
    if output_format not in ("rgb", "native"):
        raise ValueError(f"expected output_format to be 'rgb' or 'native', found {output_format!r}")
    if output_format == "native" and colorspace != "RGB":
        raise ValueError(
            f"expected output_format='native' or colorspace={colorspace!r}, found both: native frames have "
            "the channels of their media; say dtype='native' with a colorspace"
        )
    return "native" if output_format == "native" else colorspace


PLANES_HEADER_BYTES = 32
"""Bytes before the planes of a frame, which say how to convert them."""


def planes_bytes(height: int, width: int) -> int:
    """Return how many bytes the planes of a 4:2:0 frame take, and what stands before them.

    >>> planes_bytes(2, 3)
    42
    """
    return PLANES_HEADER_BYTES + height * width + 2 * (-(-height // 2) * -(-width // 2))


def whole_pixels(resize: Any) -> tuple[int, int]:
    """Return ``(height, width)`` as two integers.

    Raises:
        ValueError: Anything but a pair of whole numbers of one or more.
    """
    try:
        height, width = resize
        sizes = int(height), int(width)
        if sizes == (height, width) and min(sizes) >= 1 and not isinstance(resize, str | bytes):
            return sizes
    except (TypeError, ValueError, OverflowError):  # not two numbers, or none that is whole
        pass
    raise ValueError(f"expected resize=(height, width) in whole pixels, found {resize!r}")


def checked_crop(crop: Any) -> Crop:
    """Return ``(top, left, height, width)`` as four integers.

    Raises:
        ValueError: Anything but two whole numbers of zero or more, and two of one or more.

    >>> checked_crop([0, 8, 96, 112])
    (0, 8, 96, 112)
    """
    try:
        top, left, height, width = (operator.index(number) for number in crop)
        if min(top, left) >= 0 and min(height, width) >= 1:
            return top, left, height, width
    except (TypeError, ValueError):  # not four numbers, or none that is whole
        pass
    raise ValueError(f"expected crop=(top, left, height, width) in whole pixels, found {crop!r}")


def crop_slices(crop: Crop, height: int, width: int, uri: str | None = None) -> tuple[slice, slice]:
    """Return the rows and the columns of a crop of a picture.

    Raises:
        UnsupportedMediaError: The picture is smaller than that.

    >>> crop_slices((2, 4, 6, 8), 96, 128)
    (slice(2, 8, None), slice(4, 12, None))
    """
    top, left, rows, columns = crop
    if top + rows > height or left + columns > width:
        raise UnsupportedMediaError(
            f"expected crop=(top, left, height, width) within {height} rows of {width} pixels, found {crop}",
            uri=uri,
        )
    return slice(top, top + rows), slice(left, left + columns)
