"""Small files on which earlier versions failed: a grid, alpha, a palette, deep gray, bytes after an end."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from _oracle import linear_frames
from PIL import Image

from mediaref_ursa import BitDepthWarning, MediaRef, batch_decode
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._core.media_warnings import given_warnings


@pytest.fixture(scope="session")
def cases() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("no ../shared/cases beside this checkout: the real files are not part of it")
    return folder


def test_a_grid_is_one_picture(cases: Path) -> None:
    path = str(cases / "grid.avif")
    with pytest.raises(UnsupportedMediaError, match=r"image \(AVIF\).*no pts_ns"):
        batch_decode([MediaRef(path, 0)])
    assert MediaRef(path).to_ndarray().shape == (256, 256, 3)


def test_vp9_alpha(cases: Path) -> None:
    path = cases / "vp9_alpha.webm"
    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    expected = []
    with av.open(str(path)) as container:
        context = av.CodecContext.create("libvpx-vp9", "r")
        for packet in container.demux(video=0):
            for frame in context.decode(packet if packet.size else None):
                rows = np.frombuffer(frame.planes[3], np.uint8).reshape(-1, frame.planes[3].line_size)
                expected.append(rows[: frame.height, : frame.width])
    assert expected[0][0].tolist() == list(range(0, 256, 2))
    found = batch_decode(refs, colorspace="RGBA")
    assert all(np.array_equal(a[..., 3], b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("name", "count"), [("pal8_raw.avi", 20), ("gif_bytes_after_trailer.gif", 12)])
def test_every_frame_is_that_of_a_linear_decode(cases: Path, name: str, count: int) -> None:
    frames = linear_frames(cases / name)
    assert len(frames) == count
    refs = [MediaRef(str(cases / name), round(frame.time * 10**9)) for frame in frames]
    for found, frame in zip(batch_decode(refs), frames, strict=True):
        assert np.array_equal(found, frame.rgb)


def test_depth_is_cut_with_a_warning(cases: Path) -> None:
    given_warnings.forget()
    with pytest.warns(BitDepthWarning, match=r"depth16\.png"):
        MediaRef(str(cases / "depth16.png")).to_ndarray()


def test_depth_is_kept_with_native_samples(cases: Path) -> None:
    with Image.open(cases / "depth16.png") as picture:
        stored = np.asarray(picture)
    found = MediaRef(str(cases / "depth16.png")).to_ndarray(format="native", dtype="native")
    assert found.dtype == np.uint16
    assert np.array_equal(found, stored)
    assert stored.max() > 255
