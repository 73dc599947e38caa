"""Videos whose bit rate is real: textures that move, with noise, five minutes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

_THINGS = 6


@dataclass(frozen=True)
class Recipe:
    """How a video is made.

    Attributes:
        name: Of its file, without suffix.
        encoder: FFmpeg's name of the encoder.
        width: Pixels.
        height: Pixels.
        rate: Frames a second.
        options: Of the encoder.
        noise: Standard deviation of each frame's own noise, in levels.
    """

    name: str
    encoder: str
    width: int
    height: int
    rate: int
    options: tuple[tuple[str, str], ...]
    noise: float = 2.0


def x264(gop: int) -> tuple[tuple[str, str], ...]:
    """Return options of x264 with random access points at most ``gop`` frames apart; the rest is its own."""
    return (("g", str(gop)),)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("gop30", "libx264", 640, 360, 20, x264(30)),
        Recipe("gop250", "libx264", 640, 360, 20, x264(250)),
        Recipe("hd", "libx264", 1920, 1080, 30, x264(60)),
        Recipe("hevc", "libx265", 1280, 720, 20, (("x265-params", "log-level=error"),)),
        Recipe("av1", "libsvtav1", 640, 480, 30, (("preset", "10"), ("crf", "40"), ("g", "2"))),
        Recipe("small", "libx264", 128, 128, 30, x264(2)),
    )
}
"""Encoders run with their defaults, save for the distance of random access points; AV1 as LeRobot has it."""


def make(recipe: Recipe, folder: Path, seconds: int) -> Path:
    """Return the video of a recipe, made if it is not in the folder yet."""
    path = folder / f"{recipe.name}-{seconds}s.mp4"
    if path.exists():
        return path
    partial = path.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as output:
        stream = output.add_stream(recipe.encoder, rate=recipe.rate, options=dict(recipe.options))
        stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, "yuv420p"
        stream.codec_context.thread_type = "FRAME"  # PyAV's own choice makes x264 cut pictures into slices
        for number, picture in enumerate(_pictures(recipe, seconds * recipe.rate)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, recipe.rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    partial.rename(path)
    return path


def _pictures(recipe: Recipe, count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield YUV 4:2:0 pictures: a camera pans over a textured scene, textured things move in front of it.

    As sensors do, it adds noise to each frame, here from a pool of sixteen.
    """
    random = np.random.default_rng(0)
    height, width = recipe.height, recipe.width
    scene = _planes(random, 2 * height, 2 * width)
    sizes = [int(height * random.uniform(0.12, 0.3)) // 4 * 4 for _ in range(_THINGS)]
    things = [(size, _planes(random, size, size)) for size in sizes]
    sway = random.uniform(0.2, 1.2, (_THINGS, 2)), random.uniform(0, 2 * np.pi, (_THINGS, 2))
    pool = random.normal(0, recipe.noise, (16, height * 3 // 2, width)).astype(np.int16)
    for number in range(count):
        seconds = number / recipe.rate
        picture = np.empty((height * 3 // 2, width), np.int16)
        planes = _views(picture, height)
        top, left = (_swing(seconds * pace, size) for pace, size in ((0.5, height), (0.37, width)))
        for plane, whole in zip(planes, scene, strict=True):
            share = height // plane.shape[0]
            y, x = top // share, left // share
            plane[:] = whole[y : y + plane.shape[0], x : x + plane.shape[1]]
        for (size, thing), pace, phase in zip(things, *sway, strict=True):
            y, x = (
                _swing(seconds * pace[i] + phase[i], room - size) for i, room in enumerate((height, width))
            )
            for plane, whole in zip(planes, thing, strict=True):
                share = height // plane.shape[0]
                plane[y // share :, x // share :][: size // share, : size // share] = whole
        yield np.clip(picture + pool[random.integers(16)], 0, 255).astype(np.uint8)


def _swing(angle: float, room: int) -> int:
    """Return an even place that swings between 0 and ``room``."""
    return int((0.5 + 0.5 * np.sin(angle)) * (room - 2)) // 2 * 2


def _views(picture: npt.NDArray[np.int16], height: int) -> list[npt.NDArray[np.int16]]:
    """Return the planes of a picture whose rows hold luma, then both chromas."""
    blue, red = picture[height:].reshape(2, height // 2, picture.shape[1] // 2)
    return [picture[:height], blue, red]


def _planes(random: np.random.Generator, height: int, width: int) -> list[npt.NDArray[np.int16]]:
    """Return luma and both chromas of a surface with coarse and fine texture."""
    fine = ((64, 0.55), (16, 0.3), (5, 0.15))
    coarse = ((48, 0.7), (16, 0.3))
    return [
        sum(np.int16(share * 256) * _texture(random, h, w, cell).astype(np.int32) for cell, share in cells)
        // 256
        for h, w, cells in (
            (height, width, fine),
            (height // 2, width // 2, coarse),
            (height // 2, width // 2, coarse),
        )
    ]


def _texture(random: np.random.Generator, height: int, width: int, cell: int) -> npt.NDArray[np.int16]:
    """Return smooth random patches of ``cell`` pixels."""
    coarse = random.integers(20, 235, (height // cell + 2, width // cell + 2)).astype(np.float32)
    y, x = (np.arange(size) / cell for size in (height, width))
    rows = _between(coarse, y)
    return _between(rows.T, x).T.astype(np.int16)


def _between(values: npt.NDArray[np.float32], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    below = at.astype(int)
    share = (at - below)[:, None].astype(np.float32)
    between: npt.NDArray[np.float32] = values[below] * (1 - share) + values[below + 1] * share
    return between
