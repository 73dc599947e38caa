"""The decoder class on PyAV, with NumPy arrays as output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._decode.execute import make_engine
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.pixels import checked_output_format
from mediaref_ursa._pyav.sample_formats import sample_format
from mediaref_ursa.video_decoder.codec_decoder import CodecVideoDecoder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._model.access import AccessOptions
    from mediaref_ursa._model.pixels import Crop, Dtype


class PyAVVideoDecoder(CodecVideoDecoder):
    """Decode frames of one video with PyAV, into NumPy arrays.

    Making one reads the video's frame index, or scans the video where there is none; nothing stays
    open. Safe for many threads, after forks, and to pickle if its source is.

    Args:
        source: A path, a URI, the bytes of a video, or a file object with ``read`` and ``seek``.
        frame_index: A ``LanceFrameIndex``, the URI of one, or a ``CollectionIndex`` that has the video; the
            one next to the video without it.
        stream_index: Another video stream than FFmpeg's best, by its number among all streams of the file.
            The video is scanned, since an index describes the best one.
        dimension_order: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``.
        resize: ``(height, width)`` of every frame in pixels, bilinear.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        dtype: ``"uint8"``, or ``"native"`` for the type that keeps all bits, as ``batch_decode`` has it.
        output_format: ``"native"``, as MediaRef 2 has it: ``dtype="native"``, and the channels of the media,
            one of gray, four of formats with alpha, else three.
        expected_pixel_format: With ``output_format="native"``, FFmpeg's name of the format that the media
            must have, such as ``gray12le``.
        num_ffmpeg_threads: FFmpeg's own threads within each decoder.
        crop: ``(top, left, height, width)`` in pixels of the upright picture, cut out before it is resized.
        max_workers: How many runs are decoded at once; as ``batch_decode`` has it.
        storage_options: For cloud stores, as fsspec takes them.
        **access: What may be read, as ``batch_decode`` takes it, such as ``untrusted`` and ``base_dir``.

    Raises:
        MediaNotFoundError: There is no such video.
        UnsupportedMediaError: No video, a codec that cannot be decoded here, or another pixel format than is
            expected.
        ValueError: An option that is none of its values.

    Example:
        >>> from mediaref_ursa.video_decoder import PyAVVideoDecoder
        >>> with PyAVVideoDecoder("clip.mp4") as decoder:
        ...     batch = decoder.get_frames_played_at([0.0, 0.5, 1.0])
        >>> batch.data.shape, batch.pts_seconds.tolist()
        ((3, 3, 96, 128), [0.0, 0.5, 1.0])
    """

    def __init__(
        self,
        source: Any,
        *,
        frame_index: Any = None,
        stream_index: int | None = None,
        dimension_order: str = "NCHW",
        resize: tuple[int, int] | None = None,
        colorspace: str = "RGB",
        dtype: Dtype = "uint8",
        output_format: Literal["rgb", "native"] = "rgb",
        expected_pixel_format: str | None = None,
        num_ffmpeg_threads: int = 1,
        crop: Crop | None = None,
        max_workers: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **access: Unpack[AccessOptions],
    ) -> None:
        colorspace_decoded = checked_output_format(output_format, colorspace)
        if expected_pixel_format is not None and output_format != "native":
            raise ValueError("expected output_format='native' with expected_pixel_format, found 'rgb'")
        self.output_format, self.expected_pixel_format = output_format, expected_pixel_format
        copied = {
            "output_format": output_format,
            "expected_pixel_format": expected_pixel_format,
            "num_ffmpeg_threads": num_ffmpeg_threads,
        }
        options = {
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
        pixels = {"colorspace": colorspace_decoded}
        if output_format == "native":
            pixels["dtype"] = "native"
        super().__init__(
            source,
            engine=partial(make_engine, "pyav", options={"num_ffmpeg_threads": num_ffmpeg_threads}),
            options={**options, **copied, **access},
            access=Access.from_only_options(type(self).__name__, access),
            **{**options, **pixels},
        )
        for table in self._video.segments:
            if expected_pixel_format not in (None, table.info.pixel_format):
                raise UnsupportedMediaError(
                    f"expected media of {expected_pixel_format}, found {table.info.pixel_format}",
                    uri=table.info.uri,
                )

    def _stored_format(self) -> str | None:
        return self._video.segments[0].info.pixel_format if self.output_format == "native" else None

    def _decoded_shape(self, height: int, width: int) -> tuple[int, int, int]:
        if self._spec.colorspace != "native":
            return super()._decoded_shape(height, width)
        form = sample_format(self._video.segments[0].info.pixel_format)
        colorspace = "G" if form.is_gray else "RGBA" if form.has_alpha else "RGB"
        return replace(self._spec, colorspace=colorspace).shape(height, width)

    def __len__(self) -> int:
        """Return the number of frames.

        Raises:
            TypeError: A sampler of TorchCodec asks, which it does first: it works with tensors only.
        """
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("torchcodec.samplers"):
            raise TypeError(
                "expected a decoder that gives tensors for torchcodec.samplers, found a PyAVVideoDecoder; "
                "use TorchCodecVideoDecoder"
            )
        return super().__len__()


clear_metadata_cache = CodecVideoDecoder.clear_cache
"""MediaRef's name of :func:`mediaref_ursa.cleanup_cache` in this module."""
