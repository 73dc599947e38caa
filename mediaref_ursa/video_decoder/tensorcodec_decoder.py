"""The decoder class of MediaRef 2's default backend, with NumPy arrays as output."""

from __future__ import annotations

from typing import Any

from mediaref_ursa._batch.options import checked_tensorcodec_options
from mediaref_ursa.video_decoder.pyav_decoder import PyAVVideoDecoder


class TensorCodecVideoDecoder(PyAVVideoDecoder):
    """A :class:`PyAVVideoDecoder` that takes the options of TensorCodec's decoder, too.

    Args:
        source: A path, a URI, the bytes of a video, or a file object with ``read`` and ``seek``.
        seek_mode: ``"exact"`` or ``"approximate"``; every frame is exact in both modes.
        device: ``"cpu"``, or None.
        **options: Those of :class:`PyAVVideoDecoder`.

    Raises:
        ValueError: Another device; ``TorchCodecVideoDecoder`` decodes on GPUs.

    Example:
        >>> from mediaref_ursa.video_decoder import TensorCodecVideoDecoder
        >>> with TensorCodecVideoDecoder("clip.mp4", output_format="native") as decoder:
        ...     batch = decoder.get_frames_played_at([0.0, 0.5])
        >>> batch.data.shape, batch.pixel_format
        ((2, 3, 96, 128), 'yuv420p')
    """

    def __init__(self, source: Any, *, seek_mode: str = "exact", device: Any = None, **options: Any) -> None:
        checked_tensorcodec_options({"seek_mode": seek_mode, "device": device})
        super().__init__(source, **options)
