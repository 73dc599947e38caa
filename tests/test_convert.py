"""Colour: every pixel format as FFmpeg's command line converts it, and both engines alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from _raw_video import ENCODED, FULL, LIMITED, command_line, needs_ffmpeg, noise, raw_bytes, write_video
from av.video.frame import VideoFrame

from mediaref_ursa._decode.torchcodec.library import load_torchcodec
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa.video_decoder import PyAVVideoDecoder

MATRICES = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9}
TAGS = [("bt709", LIMITED), ("smpte170m", FULL), ("bt2020nc", LIMITED)]
LEVELS = 1

SUBSAMPLED = [f"yuv{sampling}p{bits}" for sampling in (420, 422, 444) for bits in ("", *(
    f"{depth}le" for depth in (9, 10, 12, 14, 16)))]  # fmt: skip
OTHER_YUV = ["yuvj420p", "yuv440p10le", "p010le", "yuva420p", "yuva420p10le", "yuva444p12le"]
EIGHT_BIT_CHROMA = ["yuv420p", "yuv422p", "yuvj420p", "yuva420p"]
RGB_AND_GRAY = [
    "gbrp",
    "gbrp10le",
    "gbrp12le",
    "gbrp16le",
    "rgb48le",
    "gray",
    "gray10le",
    "gray12le",
    "gray16le",
]


def converted(frame: VideoFrame, **spec: Any) -> np.ndarray:
    return FrameConverter(PixelSpec(**spec)).convert(frame, 0, uri="").astype(int)


@needs_ffmpeg
@pytest.mark.parametrize("size", [(96, 64), (98, 66), (97, 65)], ids=str)
@pytest.mark.parametrize("pixel_format", SUBSAMPLED + OTHER_YUV + RGB_AND_GRAY)
def test_pixels_are_those_of_the_command_line(pixel_format: str, size: tuple[int, int]) -> None:
    width, height = size
    if height % 2 and pixel_format in EIGHT_BIT_CHROMA:
        pytest.skip("of 8-bit frames of odd height, chroma is interpolated as PyAV does it")
    frame = noise(pixel_format, width, height)
    for matrix, colour_range in TAGS if pixel_format.startswith(("yuv", "nv", "p0")) else [("bt709", FULL)]:
        is_full = colour_range == FULL or pixel_format == "yuvj420p"
        frame.colorspace, frame.color_range = MATRICES[matrix], FULL if is_full else LIMITED
        given = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}"]
        tags = ["-colorspace", matrix, "-color_range", "pc" if is_full else "tv"]
        expected = command_line([*given, *tags, "-i", "-"], raw_bytes(frame), (height, width, 3))
        assert np.abs(converted(frame) - expected).max() <= LEVELS, (matrix, colour_range)


@needs_ffmpeg
@pytest.mark.parametrize("colour_range", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize(("encoder", "pixel_format", "container", "options"), ENCODED)
def test_videos_of_every_depth(
    encoder: str,
    pixel_format: str,
    container: str,
    options: dict[str, str],
    colour_range: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"clip.{container}"
    if pixel_format.startswith(("gbr", "gray")) and colour_range == LIMITED:
        colour_range = FULL  # see docs/migrating-from-mediaref.md for gray that calls itself limited
    try:
        write_video(path, encoder, pixel_format, colour_range, options)
    except av.FFmpegError as error:
        pytest.skip(f"this FFmpeg does not encode {pixel_format} with {encoder}: {error}")
    expected = command_line(["-i", str(path)], None, (3, 96, 128, 3))
    ours = PyAVVideoDecoder(path, dimension_order="NHWC").get_all_frames().data
    assert np.abs(ours.astype(int) - expected).max() <= LEVELS
    try:
        load_torchcodec()
    except ImportError as error:
        pytest.skip(f"TorchCodec is not installed, or cannot load FFmpeg: {error!s:.80}")
    from mediaref_ursa.video_decoder import TorchCodecVideoDecoder

    theirs = TorchCodecVideoDecoder(path, dimension_order="NHWC").get_all_frames().data.numpy()
    assert np.abs(theirs.astype(int) - ours).max() <= LEVELS


WIDTHS = [*range(2, 40), 96, 98, 130, 132, 500]


@pytest.mark.parametrize("colorspace", ["RGBA", "BGRA"])
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv420p10le", "nv12", "gray", "gbrp", "yuva420p"]
)
def test_four_channels_are_three_and_alpha(pixel_format: str, colorspace: str) -> None:
    for width in WIDTHS:
        for height in (16, 17):
            frame = noise(pixel_format, width, height)
            pixels = converted(frame, colorspace=colorspace)
            assert np.array_equal(pixels[..., :3], converted(frame, colorspace=colorspace[:3])), (
                width,
                height,
            )
            if pixel_format != "yuva420p":
                assert (pixels[..., 3] == 255).all(), (width, height)


@pytest.mark.parametrize(
    "pixel_format", ["yuva420p", "yuva422p", "yuva444p", "yuva420p10le", "gbrap", "rgba"]
)
@pytest.mark.parametrize("width", [96, 98, 500])
def test_alpha_is_that_of_the_frame(pixel_format: str, width: int) -> None:
    frame = noise(pixel_format, width, 64)
    plane = frame.planes[-1]
    samples = np.frombuffer(plane, np.uint16 if pixel_format.endswith("10le") else np.uint8)
    rows = (
        samples.reshape(64, -1)[:, :width]
        if pixel_format != "rgba"
        else samples[3::4].reshape(64, -1)[:, :width]
    )
    expected = rows / 4 if pixel_format.endswith("10le") else rows
    found = converted(frame, colorspace="RGBA")[..., 3]
    assert np.abs(found - expected).max() <= LEVELS
    halved = converted(frame, colorspace="RGBA", resize=(32, width // 2))[..., 3]
    assert halved.shape == (32, width // 2)
    assert abs(halved.mean() - expected.mean()) < 5


def test_bgr_is_rgb_the_other_way_round() -> None:
    for pixel_format in SUBSAMPLED + OTHER_YUV + RGB_AND_GRAY:
        frame = noise(pixel_format, 98, 64)
        assert np.array_equal(converted(frame, colorspace="BGR"), converted(frame)[..., ::-1]), pixel_format
