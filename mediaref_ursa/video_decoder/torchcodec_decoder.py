"""The decoder that decodes with TorchCodec, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._access import Access
from mediaref_ursa._execute import make_engine
from mediaref_ursa._plan import BatchDecodingStrategy
from mediaref_ursa._torchcodec import load_torchcodec
from mediaref_ursa.video_decoder._indexed import IndexedVideoDecoder
from mediaref_ursa.video_decoder.types import VideoStreamMetadata

_SEEK_MODES = ("exact", "approximate")


class TorchCodecVideoDecoder(IndexedVideoDecoder):
    """Decode frames of one video with TorchCodec, into torch tensors.

    A drop-in for ``torchcodec.decoders.VideoDecoder``: which frame comes out is decided by the frame
    index, TorchCodec decodes the packets that it takes. It needs the ``torchcodec`` extra and FFmpeg's
    shared libraries.

    Args:
        source: A path, a URI, the bytes of a video, or a file object with ``read`` and ``seek``.
        frame_index: A ``LanceFrameIndex`` or the URI of one; the one beside the video without it.
        stream_index: Another video stream than FFmpeg's best, by its number among all streams of the file.
        dimension_order: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``.
        num_ffmpeg_threads: Threads of one decoder on the CPU. They live inside a call.
        device: ``"cpu"``, or ``"cuda"`` to decode on a GPU into its memory; torch's default device
            without it.
        seek_mode: Taken as TorchCodec takes it; every frame is exact in both modes.
        transforms: TorchCodec's decoder transforms.
        custom_frame_mappings: Taken as TorchCodec takes it; what counts is the frame index.
        resize: ``(height, width)`` of every frame in pixels, bilinear.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        max_workers: How many runs are decoded at once; as ``batch_decode`` has it.
        storage_options: For cloud stores, as fsspec takes them.
        **access: What may be read, as ``batch_decode`` takes it, such as ``untrusted`` and ``base_dir``.

    Raises:
        MissingExtraError: TorchCodec is not installed, or cannot load FFmpeg; it is an ImportError.
        MediaNotFoundError: There is no such video.
        UnsupportedMediaError: No video, or a codec that cannot be decoded here.
        ValueError: An option that is none of its values.
    """

    def __init__(
        self,
        source: Any,
        *,
        frame_index: Any = None,
        stream_index: int | None = None,
        dimension_order: str = "NCHW",
        num_ffmpeg_threads: int = 1,
        device: Any = None,
        seek_mode: str = "exact",
        transforms: Any = None,
        custom_frame_mappings: Any = None,
        resize: tuple[int, int] | None = None,
        colorspace: str = "RGB",
        max_workers: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **access: Any,
    ) -> None:
        if seek_mode not in _SEEK_MODES:
            raise ValueError(f"expected seek_mode to be one of {', '.join(_SEEK_MODES)}, found {seek_mode!r}")
        self._torch = load_torchcodec().torch
        self._device = str(self._torch.get_default_device() if device is None else device)
        ours = {
            "frame_index": frame_index,
            "stream_index": stream_index,
            "dimension_order": dimension_order,
            "resize": resize,
            "colorspace": colorspace,
            "max_workers": max_workers,
            "storage_options": storage_options,
        }
        theirs = {
            "device": self._device,
            "num_ffmpeg_threads": num_ffmpeg_threads,
            "transforms": transforms,
        }
        super().__init__(
            source,
            engine=lambda spec: make_engine("torchcodec", spec, theirs, tensors=True),
            options={**ours, **theirs, **access},
            access=Access.of(type(self).__name__, access),
            **ours,
        )

    # A run goes through a movie of its own: not that of the whole video.
    _iteration_strategy = BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK

    @property
    def metadata(self) -> VideoStreamMetadata:
        """What the video is; times are floats, as TorchCodec has them, nearest to the exact ones."""
        exact = super().metadata
        return replace(
            exact,
            duration_seconds=float(exact.duration_seconds),
            average_rate=float(exact.average_rate),
            begin_stream_seconds=float(exact.begin_stream_seconds),
            end_stream_seconds=float(exact.end_stream_seconds or 0),
        )

    def _empty(self, shape: tuple[int, ...]) -> Any:
        return self._torch.empty(shape, dtype=self._torch.uint8, device=self._device)

    def _array(self, values: npt.NDArray[np.float64]) -> Any:
        return self._torch.from_numpy(values)
