"""Crops of pictures: a part cut out of the upright picture, then resized."""

from __future__ import annotations

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import LimitExceededError
from mediaref_ursa._images.pillow import resize_array
from mediaref_ursa._model.pixels import PixelSpec, crop_slices


def cropped(pixels: PixelArray, spec: PixelSpec, uri: str | None) -> PixelArray:
    """Return the crop of a picture, resized and with its axes as a spec says.

    Without ``resize`` it equals that part of the whole picture bit for bit, since the whole is converted.
    With it, the part is resized as images are, bilinear with antialiasing.

    Args:
        pixels: ``(H, W, C)``, the upright picture in its own size.
        spec: Crop, size and order of axes.
        uri: Named in errors.

    Returns:
        ``(height, width, C)`` or ``(C, height, width)``, perhaps a view of ``pixels``.

    Raises:
        UnsupportedMediaError: The picture is smaller than the crop.
        LimitExceededError: The size asked for has more pixels than allowed.
    """
    if spec.crop is not None:
        pixels = pixels[crop_slices(spec.crop, pixels.shape[0], pixels.shape[1], uri)]
    if spec.resize is not None:
        if spec.resize[0] * spec.resize[1] > spec.max_pixels:
            raise LimitExceededError(
                f"expected at most {spec.max_pixels} pixels, found resize={spec.resize!r}; allow more with "
                "max_pixels=",
                uri=uri,
            )
        pixels = resize_array(pixels, spec.resize)
    return pixels.transpose(2, 0, 1) if spec.channel_format == "NCHW" else pixels
