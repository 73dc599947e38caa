"""Colour: every pixel format as FFmpeg's command line converts it, and both engines alike."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from mediaref_ursa._decode.torchcodec.library import load_torchcodec
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa.video_decoder import PyAVVideoDecoder

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's command line is missing")

LIMITED, FULL = 1, 2
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


def noise(pixel_format: str, width: int, height: int) -> VideoFrame:
    """Return a frame of random samples, each within its bits."""
    frame = VideoFrame(width, height, pixel_format)
    random = np.random.default_rng(5)
    bits = frame.format.components[0].bits
    for plane in frame.planes:
        samples = random.integers(0, 2**bits, plane.buffer_size // (1 if bits == 8 else 2))
        if pixel_format == "p010le":
            samples <<= 6
        plane.update(samples.astype(np.uint8 if bits == 8 else np.uint16).tobytes())
    return frame


def raw_bytes(frame: VideoFrame) -> bytes:
    """Return the samples of a frame without the padding of rows."""
    context: Any = av.CodecContext.create("rawvideo", "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in context.encode(frame))


def command_line(arguments: list[str], sent: bytes | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return what ``ffmpeg`` makes of its input, as 8-bit RGB."""
    command = ["ffmpeg", "-v", "error", *arguments, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(command, input=sent, capture_output=True, check=True, timeout=60)
    return np.frombuffer(done.stdout, np.uint8).reshape(shape).astype(int)


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


ENCODED = [
    ("libx264", "yuv420p10le", "mp4", {}),
    ("libx264", "yuv422p10le", "mkv", {}),
    ("libx264", "yuv444p10le", "mkv", {}),
    ("libx265", "yuv420p10le", "mp4", {"x265-params": "log-level=none:pools=none"}),
    ("libx265", "yuv420p12le", "mp4", {"x265-params": "log-level=none:pools=none"}),
    ("libx265", "yuv422p12le", "mkv", {"x265-params": "log-level=none:pools=none"}),
    ("libx265", "gbrp10le", "mkv", {"x265-params": "log-level=none:pools=none"}),
    ("libvpx-vp9", "yuv420p10le", "webm", {"deadline": "realtime", "cpu-used": "8"}),
    ("libvpx-vp9", "yuv422p12le", "webm", {"deadline": "realtime", "cpu-used": "8"}),
    ("libsvtav1", "yuv420p10le", "mp4", {"preset": "12", "svtav1-params": "lp=1"}),
    ("prores_ks", "yuv422p10le", "mov", {}),
    ("ffv1", "yuv420p9le", "mkv", {}),
    ("ffv1", "yuv420p14le", "mkv", {}),
    ("ffv1", "yuv444p16le", "mkv", {}),
    ("ffv1", "gbrp14le", "mkv", {}),
    ("ffv1", "gray12le", "mkv", {}),
    ("ffv1", "yuv420p", "mkv", {}),
]


def write_video(
    path: Path, encoder: str, pixel_format: str, colour_range: int, options: dict[str, str]
) -> None:
    """Write three frames of hard edges, noise and a gradient, in BT.709."""
    random = np.random.default_rng(3)
    picture = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    picture[:48] = np.linspace(0, 255, 128, dtype=np.uint8)[None, :, None]
    picture[10:40, 30:60] = (255, 0, 0)
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, pixel_format
        stream.codec_context.color_range, stream.codec_context.colorspace = colour_range, 1
        for number in range(3):
            rolled = VideoFrame.from_ndarray(np.roll(picture, 8 * number, axis=1), format="rgb24")
            frame = rolled.reformat(
                format=pixel_format, dst_colorspace="itu709", dst_color_range=colour_range
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


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
