"""Videos whose bit rate is real: textures that move, with noise, five minutes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


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


def x264(gop: int, **more: str) -> tuple[tuple[str, str], ...]:
    """Return options of x264 with random access points ``gop`` frames apart."""
    given = {"preset": "veryfast", "crf": "26", "g": str(gop), "keyint_min": str(gop), **more}
    return tuple(given.items())


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("gop30", "libx264", 640, 360, 20, x264(30, preset="medium", crf="33")),
        Recipe("gop250", "libx264", 640, 360, 20, x264(250, preset="medium", crf="33")),
        Recipe("hd", "libx264", 1920, 1080, 30, x264(60)),
        Recipe("hevc", "libx265", 1280, 720, 30, (("preset", "veryfast"), ("crf", "28"))),
        Recipe("av1", "libsvtav1", 640, 480, 30, (("preset", "10"), ("crf", "40"), ("g", "2"))),
        Recipe("small", "libx264", 128, 128, 30, x264(2)),
    )
}


def make(recipe: Recipe, folder: Path, seconds: int) -> Path:
    """Return the video of a recipe, made if it is not in the folder yet."""
    path = folder / f"{recipe.name}-{seconds}s.mp4"
    if path.exists():
        return path
    partial = path.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as output:
        stream = output.add_stream(recipe.encoder, rate=recipe.rate, options=dict(recipe.options))
        stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, "yuv420p"
        for number, picture in enumerate(_pictures(recipe, seconds * recipe.rate)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, recipe.rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    partial.rename(path)
    return path


def _pictures(recipe: Recipe, count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield YUV 4:2:0 pictures: two textures that drift apart, and noise from a pool of frames."""
    random = np.random.default_rng(0)
    height, width = recipe.height * 3 // 2, recipe.width
    far, near = (_texture(random, height * 2, width * 2, cell) for cell in (24, 8))
    pool = random.normal(0, recipe.noise, (16, height, width)).astype(np.int16)
    for number in range(count):
        dy, dx = number * 2 % height, number * 3 % width
        ey, ex = number * 5 % height, number % width
        picture = far[dy : dy + height, dx : dx + width] + near[ey : ey + height, ex : ex + width]
        yield np.clip(picture // 2 + pool[random.integers(16)], 0, 255).astype(np.uint8)


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
