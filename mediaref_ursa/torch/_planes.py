"""``yuv420_to_rgb``: the planes of frames to pixels."""

from __future__ import annotations

from dataclasses import replace

import torch

from mediaref_ursa._core.public import set_module
from mediaref_ursa._images.crop import cropped
from mediaref_ursa._model.pixels import Crop, PixelSpec
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa._pyav.planes import unpacked_frame
from mediaref_ursa.torch._memory import empty_tensor


@set_module("mediaref_ursa.torch")
def yuv420_to_rgb(
    frames: torch.Tensor,
    *,
    crop: Crop | None = None,
    colorspace: str = "RGB",
    channel_format: str = "NCHW",
) -> torch.Tensor:
    """Convert frames of ``RefDataset(frames="yuv420")``, bit for bit as they would have been decoded to RGB.

    There is no ``resize``: scaling depends on where the chroma samples of a frame lie, of which a copy of its
    planes says nothing. Frames that are resized where they are decoded are small enough as RGB.

    Args:
        frames: uint8 ``(..., bytes)`` on the CPU, the planes of frames of one size.
        crop: ``(top, left, height, width)`` in pixels of the upright picture.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        channel_format: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``.

    Returns:
        uint8 ``(..., C, H, W)`` or ``(..., H, W, C)``.

    Raises:
        ValueError: Other bytes, or no frame.

    Example:
        >>> import pyarrow as pa
        >>> from mediaref_ursa.torch import RefDataset, yuv420_to_rgb
        >>> table = pa.table({"frame": [{"uri": "clip.mp4", "pts_ns": 0}]})
        >>> planes = RefDataset(table, frames="yuv420")[0]["frame"]
        >>> pixels = RefDataset(table)[0]["frame"]
        >>> planes.shape, bool((yuv420_to_rgb(planes) == pixels).all())
        (torch.Size([18464]), True)
    """
    spec = PixelSpec(None, colorspace, channel_format, crop=crop)
    whole = spec if crop is None else replace(spec, crop=None, channel_format="NHWC")
    converter = FrameConverter(whole)
    rows = frames.reshape(-1, frames.shape[-1]).numpy()
    if not len(rows):
        raise ValueError("expected planes of frames, found none")
    pixels: torch.Tensor | None = None
    for number, row in enumerate(rows):
        frame, rotation = unpacked_frame(row)
        found = converter.convert(frame, rotation, uri="")
        if crop is not None:
            found = cropped(found, spec, "")
        if pixels is None:
            pixels = empty_tensor((len(rows), *found.shape), torch.uint8)
        pixels.numpy()[number] = found
    assert pixels is not None
    return pixels.reshape((*frames.shape[:-1], *pixels.shape[1:]))
