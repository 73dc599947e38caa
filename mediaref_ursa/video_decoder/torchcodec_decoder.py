"""The decoder class on TorchCodec, on the CPU or a GPU, with torch tensors as output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._decode.execute import make_engine
from mediaref_ursa._decode.torchcodec.engine import checked_seek_mode
from mediaref_ursa._decode.torchcodec.library import load_torchcodec
from mediaref_ursa._decode.torchcodec.transforms import TransformDraws
from mediaref_ursa._model.access import Access
from mediaref_ursa._plan.runs import BatchDecodingStrategy
from mediaref_ursa.video_decoder.codec_decoder import CodecVideoDecoder
from mediaref_ursa.video_decoder.types import VideoStreamMetadata

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._model.access import AccessOptions
    from mediaref_ursa._model.pixels import Crop, Dtype

with suppress(ImportError):  # a missing library is reported when a decoder is made
    load_torchcodec()

_FRAME_MAPPING_KEYS = (("pts", "pkt_pts"), ("duration", "pkt_duration"), ("key_frame",))


class TorchCodecVideoDecoder(CodecVideoDecoder):
    """Decode frames of one video with TorchCodec, into torch tensors.

    A drop-in for ``torchcodec.decoders.VideoDecoder``: which frame comes out is decided by the frame
    index, TorchCodec decodes the packets that it takes. It needs the ``torchcodec`` extra and FFmpeg's
    shared libraries.

    Args:
        source: A path, a URI, the bytes of a video, or a file object with ``read`` and ``seek``.
        frame_index: A ``LanceFrameIndex``, the URI of one, or a ``CollectionIndex`` that has the video; the
            one next to the video without it.
        stream_index: Another video stream than FFmpeg's best, by its number among all streams of the file.
        dimension_order: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``. The former are views
            of the latter, as TorchCodec gives them: in memory, the channels of a pixel stand side by side.
        num_ffmpeg_threads: Threads of one decoder on the CPU. They live inside a call.
        device: ``"cpu"``, or ``"cuda"`` to decode on a GPU into its memory; torch's default device
            without it.
        seek_mode: Taken as TorchCodec takes it; every frame is exact in both modes.
        transforms: TorchCodec's decoder transforms. What they draw at random is drawn once, for all frames.
        custom_frame_mappings: Taken, and checked, as TorchCodec does it; what counts is the frame index.
        resize: ``(height, width)`` of every frame in pixels, bilinear.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        dtype: ``"uint8"``, or ``"native"``, which TorchCodec has for media of 8 bits only.
        crop: ``(top, left, height, width)`` in pixels of the upright picture, cut out before it is resized.
        max_workers: How many runs are decoded at once; as ``batch_decode`` has it.
        storage_options: For cloud stores, as fsspec takes them.
        **access: What may be read, as ``batch_decode`` takes it, such as ``untrusted`` and ``base_dir``.

    Raises:
        MissingExtraError: TorchCodec is not installed, or cannot load FFmpeg; it is an ImportError.
        MediaNotFoundError: There is no such video.
        UnsupportedMediaError: No video, or a codec that cannot be decoded here.
        ValueError: An option that is none of its values, a crop that is larger than the frames, or frame
            mappings that are none, or that come with ``seek_mode="approximate"``.
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
        dtype: Dtype = "uint8",
        crop: Crop | None = None,
        max_workers: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **access: Unpack[AccessOptions],
    ) -> None:
        checked_seek_mode(seek_mode)
        if custom_frame_mappings is not None:
            _check_frame_mappings(custom_frame_mappings, seek_mode)
        self._torch = load_torchcodec().torch
        self._device = str(self._torch.get_default_device() if device is None else device)
        self._transforms = TransformDraws(transforms)
        ours = {
            "frame_index": frame_index,
            "stream_index": stream_index,
            "dimension_order": dimension_order,
            "resize": resize,
            "colorspace": colorspace,
            "dtype": dtype,
            "crop": crop,
            "max_workers": max_workers,
            "storage_options": storage_options,
        }
        theirs = {
            "device": self._device,
            "num_ffmpeg_threads": num_ffmpeg_threads,
            "transforms": self._transforms,
        }
        super().__init__(
            source,
            engine=lambda spec: make_engine(
                "torchcodec", replace(spec, channel_format="NHWC"), theirs, tensors=True
            ),
            options={**ours, **theirs, **access},
            access=Access.from_only_options(type(self).__name__, access),
            **ours,
        )
        for table in self._video.segments if self._transforms else ():
            self._transforms.of_size(*table.info.display_size)  # drawn, and checked, now

    # A run goes through a movie of its own: not that of the whole video.
    _iteration_strategy = BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK

    @property
    def metadata(self) -> VideoStreamMetadata:
        """Metadata of the video stream; times are floats, like TorchCodec's, nearest to the exact ones."""
        exact = super().metadata
        return replace(
            exact,
            duration_seconds=float(exact.duration_seconds),
            average_rate=float(exact.average_rate),
            begin_stream_seconds=float(exact.begin_stream_seconds),
            end_stream_seconds=float(exact.end_stream_seconds or 0),
        )

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return self._torch.empty(shape, dtype=self._torch.uint8, device=self._device)

    def _array(self, values: npt.NDArray[Any]) -> Any:
        return self._torch.from_numpy(values)

    def _ordered(self, pixels: Any) -> Any:
        return pixels.movedim(-1, -3) if self._spec.channel_format == "NCHW" else pixels

    def _decoded_shape(self, height: int, width: int) -> tuple[int, int, int]:
        if self._transforms and self._spec.resize is None:
            height, width = self._transforms.of_size(height, width).size
        return replace(self._spec, channel_format="NHWC").shape(height, width)


def _check_frame_mappings(mappings: Any, seek_mode: str) -> None:
    """Check ``custom_frame_mappings`` as TorchCodec does; they are not needed here.

    Raises:
        ValueError: They are not ffprobe's JSON of frames, or come with ``seek_mode="approximate"``.
        TypeError: Neither text, nor bytes, nor a file.
    """
    if seek_mode == "approximate":
        raise ValueError("expected custom_frame_mappings or seek_mode='approximate', found both")
    try:
        value = json.loads(mappings.read() if hasattr(mappings, "read") else mappings)
    except ValueError as error:  # bytes that are no text are one too
        raise ValueError(f"expected custom_frame_mappings of JSON, found another text: {error}") from error
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames) or not frames:
        raise ValueError("expected custom_frame_mappings with a list of 'frames', found none")
    for frame in frames:
        for names in _FRAME_MAPPING_KEYS:
            number = next((frame[name] for name in names if name in frame), None)
            if number is None:
                raise ValueError(f"expected {' or '.join(names)} in each of the frames, found {frame}")
            int(number)
