"""``decode_video_frames``, with the signature of lerobot's function."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mediaref_ursa._batch.batch_decode import batch_decode
from mediaref_ursa._core.errors import FrameOutsideVideoError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.ticks import NS_PER_SECOND
from mediaref_ursa._references.columns import ReferenceColumns

if TYPE_CHECKING:
    import torch


@set_module("mediaref_ursa.lerobot")
class FrameTimestampError(FrameOutsideVideoError, AssertionError):
    """No frame is within the tolerance of a time: lerobot's error of this name, and its AssertionError."""


@set_module("mediaref_ursa.lerobot")
def decode_video_frames(
    video_path: str | os.PathLike[str],
    timestamps: Sequence[float],
    tolerance_s: float,
    backend: str | None = None,
    return_uint8: bool = False,
    is_depth: bool = False,
) -> torch.Tensor:
    """Decode the frames that are nearest to some times: lerobot's function of this name, exact.

    Args:
        video_path: The video, a path or URI.
        timestamps: Seconds.
        tolerance_s: The largest distance between a time and its frame.
        backend: Taken, and changes nothing.
        return_uint8: Give uint8 instead of float32 from 0 to 1.
        is_depth: Give the stored values of depth maps, uint16 ``(N, 1, H, W)``.

    Returns:
        ``(N, 3, H, W)``, float32 or uint8.

    Raises:
        FrameTimestampError: No frame is that near to a time.
        MediaRefError: The video cannot be read or decoded.
        MissingExtraError: torch is not installed.
    """
    with needs_extra("torch"):
        import torch

    seconds = np.asarray(timestamps, dtype=np.float64).ravel()
    times = np.round(seconds * NS_PER_SECOND).astype(np.int64)
    refs: Any = ReferenceColumns(
        [os.fspath(video_path)] * len(times), times, np.zeros(len(times), dtype=np.bool_)
    )
    decode: Any = batch_decode
    options = {"dtype": "native", "colorspace": "G"} if is_depth else {}
    try:
        frames = decode(
            refs,
            match="nearest",
            tolerance_ns=round(tolerance_s * NS_PER_SECOND),
            channel_format="NCHW",
            as_array=True,
            **options,
        )
    except FrameOutsideVideoError as error:
        raise FrameTimestampError(
            f"expected a frame within tolerance_s={tolerance_s} s of each time, found none: {error.message}",
            uri=error.uri,
            pts_ns=error.pts_ns,
        ) from error
    tensor = torch.from_numpy(frames)
    return tensor if return_uint8 or is_depth else tensor.to(torch.float32) / 255
