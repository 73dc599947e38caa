"""Frames of random samples and videos of every depth, and FFmpeg's command line to hold them against."""

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

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's command line is missing")

LIMITED, FULL = 1, 2


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


def command_line(
    arguments: list[str], sent: bytes | None, shape: tuple[int, ...], pixel_format: str = "rgb24"
) -> np.ndarray:
    """Return what ``ffmpeg`` makes of its input, as 8-bit RGB or another packed format."""
    command = ["ffmpeg", "-v", "error", *arguments, "-pix_fmt", pixel_format, "-f", "rawvideo", "-"]
    done = subprocess.run(command, input=sent, capture_output=True, check=True, timeout=60)
    dtype = "<u2" if pixel_format.endswith("le") else np.uint8
    return np.frombuffer(done.stdout, dtype).reshape(shape).astype(int)


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
