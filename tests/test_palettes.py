"""Palettes that a container gives the decoder beside packets, once or again where they change."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from _oracle import linear_frames

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, cleanup_cache, write_frame_index
from mediaref_ursa._core.errors import UnsupportedMediaError

COUNT = 24


def _palette(seed: int) -> np.ndarray:
    palette = np.random.default_rng(seed).integers(0, 256, (256, 4), np.uint8)
    palette[:, 0] = 255  # PyAV's palettes are A, R, G, B
    return palette


def _indices(number: int) -> np.ndarray:
    y, x = np.mgrid[:64, :96]
    return ((x // 8 + y // 8 * 3 + 7 * number) % 256).astype(np.uint8)


def write_pal8(path: Path, encoder: str, container: str, *, changes: tuple[int, ...] = ()) -> Path:
    """Write pictures of 256 colours; the palette is another from each number of ``changes`` on."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "pal8"
        stream.codec_context.gop_size = 6
        for number in range(COUNT):
            palette = _palette(sum(number >= change for change in changes))
            frame = av.VideoFrame.from_ndarray((_indices(number), palette), format="pal8")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(
    params=[
        ("rawvideo", "avi", ()),
        ("rawvideo", "avi", (5, 6, 17)),
        ("msrle", "avi", ()),
        ("msrle", "avi", (9,)),
        ("smc", "mov", ()),
        ("zmbv", "avi", (4, 15)),
    ],
    ids=lambda param: "-".join(map(str, param)),
)
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    encoder, container, changes = request.param
    return write_pal8(tmp_path / f"clip.{container}", encoder, container, changes=changes)


def test_colours_are_those_of_a_linear_decode(clip: Path) -> None:
    frames = linear_frames(clip)
    assert len(frames) == COUNT
    assert len({frame.rgb.tobytes() for frame in frames}) == COUNT
    refs = [MediaRef(str(clip), round(frame.time * 10**9)) for frame in frames]
    for on_disk in (False, True):
        for order in (range(COUNT), range(COUNT)[::-1], [20, 3, 18, 6]):
            found = batch_decode([refs[i] for i in order])
            assert all(np.array_equal(a, frames[i].rgb) for a, i in zip(found, order, strict=True))
        for i in range(COUNT):
            cleanup_cache()
            assert np.array_equal(batch_decode([refs[i]])[0], frames[i].rgb), i
        video = LazyVideo.from_uri(str(clip), channel_format="NHWC")
        for i in range(COUNT):
            assert np.array_equal(video[i], frames[i].rgb)
        assert np.array_equal(np.stack(list(video)), np.stack([frame.rgb for frame in frames]))
        if not on_disk:
            write_frame_index(clip)
            cleanup_cache()


def test_more_palettes_than_an_index_holds_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediaref_ursa._pyav import palettes

    monkeypatch.setattr(palettes, "MAX_PALETTES", 2)
    clip = write_pal8(tmp_path / "clip.avi", "rawvideo", "avi", changes=(5, 6, 17))
    with pytest.raises(UnsupportedMediaError, match="palettes"):
        write_frame_index(clip)
