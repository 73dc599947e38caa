"""Frames encoded as JPEG or PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._images.pillow import encode, to_pil
from mediaref_ursa._model.pixels import PixelSpec

ImageFormat = Literal["jpeg", "png"]
_COLORSPACES = {"jpeg": ("RGB", "G"), "png": ("RGB", "RGBA", "G")}


@dataclass(frozen=True)
class ImageEncoder:
    """Encodes frames of one kind of pixels.

    Attributes:
        format: ``jpeg`` or ``png``.
        quality: That of JPEG, 1 to 100; PNG loses nothing.

    Raises:
        ValueError: A value that is none of these.
    """

    format: ImageFormat
    quality: int = 90

    def __post_init__(self) -> None:
        if self.format not in _COLORSPACES:
            raise ValueError(f"expected encode to be 'jpeg' or 'png', found {self.format!r}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"expected a quality from 1 to 100, found {self.quality!r}")

    def check_takes(self, spec: PixelSpec, option: str) -> None:
        """Refuse pixels that the format cannot hold.

        Args:
            spec: The pixels.
            option: How the caller asked for the format, for the message.

        Raises:
            ValueError: The format has no such channels or samples, or wants the channels last.
        """
        known = _COLORSPACES[self.format]
        if spec.colorspace not in known or spec.channel_format != "NHWC" or spec.dtype != "uint8":
            raise ValueError(
                f"expected colorspace of {' or '.join(known)}, channel_format='NHWC' and dtype='uint8' with "
                f"{option}, found {spec.colorspace}, {spec.channel_format} and {spec.dtype}"
            )

    def encode(self, frame: PixelArray) -> bytes:
        """Return a frame ``(H, W, C)`` as the bytes of an image file."""
        return encode(to_image(frame), self.format, self.quality)


def to_image(frame: PixelArray) -> Image.Image:
    """Return a frame ``(H, W, C)`` of uint8 as an image of Pillow; of one channel a gray one."""
    return to_pil(frame[:, :, 0] if frame.shape[-1] == 1 else frame)
