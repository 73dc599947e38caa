"""The pictures of the demo: a clip with a burnt-in frame counter, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mediaref_ursa._core.array_types import UInt8Array
from mediaref_ursa._core.extras import needs_extra

with needs_extra("video"):
    import av
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from mediaref_ursa._pyav.errors import foreign_errors

CLIP_WIDTH, CLIP_HEIGHT = 640, 360
CLIP_FPS = 30
CLIP_FRAMES = 300
_X264_OPTIONS = {
    "preset": "veryfast",
    "crf": "23",
    "x264-params": "keyint=60:min-keyint=60:scenecut=0:bframes=3:b-adapt=0:threads=1",
}
_PIXELS_A_FRAME = 3  # by which the background moves

_COLUMNS = 8
_CELL_WIDTH, _CELL_HEIGHT = 176, 116
_CAPTION_HEIGHT = 18
_HEADING_HEIGHT = 30
_SHEET, _INK, _ALARM = (24, 24, 28), (225, 225, 225), (255, 40, 40)


@dataclass(frozen=True)
class Tile:
    """One frame on the contact sheet.

    Attributes:
        pixels: uint8 ``(H, W, 3)``, RGB.
        caption: Written below it.
        is_wrong: Put a red frame around it.
    """

    pixels: UInt8Array
    caption: str
    is_wrong: bool


def write_counter_clip(path: Path) -> None:
    """Encode ten seconds of H.264 with B-frames, every frame with its number drawn in.

    Raises:
        UnsupportedMediaError: This PyAV comes without x264.
        CorruptMediaError: The file cannot be written.
    """
    background = _background()
    with (
        foreign_errors("encode the demo's clip with libx264", uri=str(path)),
        av.open(str(path), "w", format="mp4") as output,
    ):
        stream = output.add_stream("libx264", rate=CLIP_FPS, options=_X264_OPTIONS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = CLIP_WIDTH, CLIP_HEIGHT, "yuv420p"
        for number in range(CLIP_FRAMES):
            frame = VideoFrame.from_ndarray(_counter_picture(number, background), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def write_contact_sheet(path: Path, groups: Sequence[tuple[str, Sequence[Tile]]]) -> None:
    """Write a PNG with the tiles of each group under its heading, eight a row."""
    rows = [-(-len(tiles) // _COLUMNS) for _, tiles in groups]
    row_height = _CELL_HEIGHT + _CAPTION_HEIGHT
    height = len(groups) * _HEADING_HEIGHT + sum(rows) * row_height
    sheet = Image.new("RGB", (_COLUMNS * _CELL_WIDTH, height), _SHEET)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for (heading, tiles), count in zip(groups, rows, strict=True):
        draw.text((8, top + 7), heading, fill=_INK, font=ImageFont.load_default(16))
        top += _HEADING_HEIGHT
        for position, tile in enumerate(tiles):
            corner = (position % _COLUMNS * _CELL_WIDTH, top + position // _COLUMNS * row_height)
            _draw_tile(sheet, draw, tile, corner)
        top += count * row_height
    sheet.save(path, format="PNG")


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int]) -> None:
    left, top = corner
    thumbnail = Image.fromarray(tile.pixels)
    thumbnail.thumbnail((_CELL_WIDTH - 8, _CELL_HEIGHT - 8))
    position = (left + (_CELL_WIDTH - thumbnail.width) // 2, top + (_CELL_HEIGHT - thumbnail.height) // 2)
    sheet.paste(thumbnail, position)
    if tile.is_wrong:
        box = (
            position[0] - 3,
            position[1] - 3,
            position[0] + thumbnail.width + 2,
            position[1] + thumbnail.height + 2,
        )
        draw.rectangle(box, outline=_ALARM, width=3)
    below = (left + _CELL_WIDTH // 2, top + _CELL_HEIGHT + _CAPTION_HEIGHT // 2 - 2)
    colour = _ALARM if tile.is_wrong else _INK
    draw.text(below, tile.caption, fill=colour, font=ImageFont.load_default(11), anchor="mm")


def _background() -> UInt8Array:
    """Return a coloured pattern that repeats after its own width, ``(CLIP_HEIGHT, CLIP_WIDTH, 3)``."""
    y, x = np.mgrid[:CLIP_HEIGHT, :CLIP_WIDTH]
    turn = 2 * np.pi * x / CLIP_WIDTH
    waves = [np.sin(2 * turn + y / 40), np.sin(3 * turn - y / 55 + 2), np.sin(5 * turn + y / 70 + 4)]
    return (105 + 70 * np.stack(waves, axis=2)).astype(np.uint8)


def _counter_picture(number: int, background: UInt8Array) -> UInt8Array:
    """Draw frame ``number``: its number and time on a moving background, ``(H, W, 3)``."""
    picture = Image.fromarray(np.roll(background, -_PIXELS_A_FRAME * number, axis=1))
    draw = ImageDraw.Draw(picture)
    middle = CLIP_WIDTH // 2
    draw.rectangle((middle - 190, 85, middle + 190, 275), fill=(12, 12, 14))
    draw.text(
        (middle, 155), f"{number:03d}", fill=(255, 255, 255), font=ImageFont.load_default(130), anchor="mm"
    )
    seconds = f"{number / CLIP_FPS:.3f} s"
    draw.text((middle, 250), seconds, fill=(255, 205, 70), font=ImageFont.load_default(34), anchor="mm")
    played = CLIP_WIDTH * (number + 1) // CLIP_FRAMES
    draw.rectangle((0, CLIP_HEIGHT - 14, played, CLIP_HEIGHT), fill=(255, 205, 70))
    return np.asarray(picture)
