"""``PixelSpec``: size, colour space and axis order of decoded pixels. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_PIXELS = 33_177_600
"""The default limit of a decoded picture in pixels: 8K, 7680 x 4320."""

_PIXEL_FORMATS = {"RGB": "rgb24", "BGR": "bgr24", "RGBA": "rgba", "BGRA": "bgra", "G": "gray"}
_CHANNEL_FORMATS = ("NHWC", "NCHW")


@dataclass(frozen=True)
class PixelSpec:
    """The pixel format of output frames.

    Attributes:
        resize: ``(height, width)`` in pixels of every output, or None for each frame's own size.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA`` or ``G`` (one channel, BT.601 luma of RGB).
        channel_format: ``NHWC`` for ``(H, W, C)`` frames, ``NCHW`` for ``(C, H, W)``.
        apply_rotation: Turn frames as the container's display matrix says.
        max_pixels: A frame with more pixels is refused before memory is taken.

    Raises:
        ValueError: A value that is none of these.
    """

    resize: tuple[int, int] | None = None
    colorspace: str = "RGB"
    channel_format: str = "NHWC"
    apply_rotation: bool = True
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.colorspace not in _PIXEL_FORMATS:
            raise ValueError(
                f"expected colorspace to be one of {list(_PIXEL_FORMATS)}, found {self.colorspace!r}"
            )
        if self.channel_format not in _CHANNEL_FORMATS:
            raise ValueError(
                f"expected channel_format to be one of {_CHANNEL_FORMATS}, found {self.channel_format!r}"
            )
        if self.resize is not None:
            object.__setattr__(self, "resize", whole_pixels(self.resize))

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the packed output format."""
        return _PIXEL_FORMATS[self.colorspace]

    @property
    def has_alpha(self) -> bool:
        """Whether an output frame has a channel of alpha."""
        return self.colorspace.endswith("A")

    @property
    def channels(self) -> int:
        """Channels of an output frame."""
        return {"G": 1, "RGB": 3, "BGR": 3}.get(self.colorspace, 4)

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of an output frame of ``height`` by ``width`` pixels."""
        if self.channel_format == "NCHW":
            return self.channels, height, width
        return height, width, self.channels


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
