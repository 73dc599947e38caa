"""Numbered pictures, and encoding them into files: the ground on which test clips are made.

Every picture carries its own number as sixteen black and white blocks (see ``read_code``), on a
moving, noisy texture, so that a wrong frame is recognised whatever the codec did to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

RGBArray = npt.NDArray[np.uint8]

_CODE_COLUMNS = 8
_CODE_HEIGHT = 16

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder writes to stderr otherwise


# --- pictures -----------------------------------------------------------------------------------


def make_picture(number: int, width: int, height: int) -> RGBArray:
    """Draw picture ``number`` of the test sequence.

    Args:
        number: 0 to 255, written into the blocks at the top.
        width: Pixels, at least 16.
        height: Pixels, at least 32.

    Returns:
        ``(height, width, 3)`` uint8 RGB.
    """
    picture = _texture(number, width, height)
    picture[:_CODE_HEIGHT] = _code_blocks(number, width)
    return picture


def read_code(rgb: RGBArray) -> int:
    """Return the number of a decoded, upright picture.

    Args:
        rgb: ``(H, W, 3)`` uint8.

    Raises:
        ValueError: The blocks contradict one another: a damaged picture, or one turned over.
    """
    block_width = rgb.shape[1] // _CODE_COLUMNS
    half = _CODE_HEIGHT // 2
    bits = []
    for row in range(2):
        for column in range(_CODE_COLUMNS):
            left, top = column * block_width, row * half
            middle = rgb[top + 2 : top + half - 2, left + 3 : left + block_width - 3]
            bits.append(bool(middle.mean() > 127))
    number, inverse = (sum(bit << i for i, bit in enumerate(part)) for part in (bits[:8], bits[8:]))
    if number != inverse ^ 0xFF:
        raise ValueError(f"expected a code and its inverse, found {number:08b} and {inverse:08b}")
    return number


def _code_blocks(number: int, width: int) -> RGBArray:
    """Draw the number's eight bits, least significant first, and their inverse below."""
    bits = (number >> np.arange(_CODE_COLUMNS)) & 1
    rows = np.stack([bits, 1 - bits]).astype(np.uint8) * 235
    blocks = rows.repeat(_CODE_HEIGHT // 2, axis=0).repeat(width // _CODE_COLUMNS, axis=1)
    padded = np.pad(blocks, ((0, 0), (0, width - blocks.shape[1])))
    return np.repeat(padded[:, :, None], 3, axis=2)


def _texture(number: int, width: int, height: int) -> RGBArray:
    """Draw a coloured pattern that moves by three pixels a frame, under fresh noise."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    shifted = x + 3 * number
    waves = [np.sin(shifted / 7 + y / 11), np.sin(y / 5 - shifted / 13), np.sin((shifted + y) / 3)]
    noise = np.random.default_rng(number).normal(0, 9, (height, width, 3))
    return np.clip(128 + 70 * np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


# --- encoding -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoding:
    """What to encode and into what: one video stream.

    ``ticks`` gives the pts of each picture in ``time_base``; by default picture ``i`` stands at
    ``i`` ticks of one frame.
    """

    encoder: str
    container: str
    suffix: str
    codec: str
    options: Mapping[str, str] = field(default_factory=dict)
    muxer_options: Mapping[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (96, 64)
    count: int = 48
    time_base: Fraction = Fraction(1, 25)
    ticks: Callable[[int], int] = int
    picture: Callable[[int, int, int], RGBArray] = make_picture
    gop: int | None = None
    b_frames: int | None = None
    codec_tag: str | None = None


def encode(path: Path, encoding: Encoding) -> None:
    """Write the test sequence to ``path``."""
    with av.open(str(path), "w", format=encoding.container, options=dict(encoding.muxer_options)) as output:
        stream = add_stream(output, encoding)
        for packet in packets_of(stream, encoding):
            output.mux(packet)


def add_stream(output: Any, encoding: Encoding) -> Any:
    """Add a stream for ``encoding`` to an open output container."""
    step = encoding.ticks(1) - encoding.ticks(0)
    rate = 1 / (encoding.time_base * max(step, 1))
    stream = output.add_stream(encoding.encoder, rate=rate, options=dict(encoding.options))
    stream.width, stream.height = encoding.size
    stream.pix_fmt = encoding.pixel_format
    context = stream.codec_context
    context.time_base = encoding.time_base
    context.thread_count = 1
    if encoding.codec_tag is not None:
        context.codec_tag = encoding.codec_tag
    if encoding.gop is not None:
        context.gop_size = encoding.gop
    if encoding.b_frames is not None:
        context.max_b_frames = encoding.b_frames
    return stream


def packets_of(stream: Any, encoding: Encoding) -> Iterator[Any]:
    """Encode the test sequence, packet by packet in decode order."""
    for number in range(encoding.count):
        picture = encoding.picture(number, *encoding.size)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=encoding.pixel_format)
        frame.pts = encoding.ticks(number)
        frame.time_base = encoding.time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)
