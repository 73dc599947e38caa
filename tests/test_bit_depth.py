"""Gray values of more than 8 bits: cut to 8 bits only with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from _media import Clip
from PIL import Image

from mediaref_ursa import BitDepthWarning, DataURI, LazyVideo, MediaRef, batch_decode
from mediaref_ursa._core.media_warnings import given_warnings
from mediaref_ursa.video_decoder import PyAVVideoDecoder

DEPTH = (np.arange(64 * 96) % 5600 + 400).astype(np.uint16).reshape(64, 96)


@pytest.fixture(autouse=True)
def nothing_said() -> Iterator[None]:
    given_warnings.forget()
    yield
    given_warnings.forget()


def write_deep(path: Path, encoder: str, pixel_format: str, container: str) -> Path:
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.thread_count = 1
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(DEPTH * 8, format="gray16le").reformat(format=pixel_format)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["depth.png", "depth.tiff", "depth.jp2"])
def test_a_deep_image_is_cut_with_a_warning_once_a_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(DEPTH).save(path)
    reads: list[Callable[[], object]] = [
        lambda: MediaRef(str(path)).to_ndarray(),
        lambda: MediaRef(str(path)).to_ndarray(format="gray"),
        lambda: batch_decode([MediaRef(str(path))]),
        lambda: batch_decode([MediaRef(str(path))], colorspace="G", as_array=True),
        lambda: MediaRef(str(path)).to_pil_image(),
    ]
    for read in reads:
        given_warnings.forget()
        with pytest.warns(BitDepthWarning, match=name) as given:
            _ = read(), read()
        assert len(given) == 1
        assert given[0].filename == __file__


def test_each_file_has_a_warning_of_its_own(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(DEPTH).save(tmp_path / name)
    with pytest.warns(BitDepthWarning) as given:
        batch_decode([MediaRef(str(tmp_path / name)) for name in ("a.png", "b.png", "a.png")])
    assert len(given) == 2


def test_data_uris_are_cut_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "depth.png"
    Image.fromarray(DEPTH).save(path)
    uri = DataURI.from_file(path)
    with pytest.warns(BitDepthWarning, match="in memory"):
        uri.to_ndarray()
    with pytest.warns(BitDepthWarning, match="data:image/png"):
        batch_decode([MediaRef(str(uri))])
    given_warnings.forget()
    with pytest.warns(BitDepthWarning):
        DataURI.from_file(path, format="jpeg")


@pytest.mark.parametrize(
    ("encoder", "pixel_format", "container"),
    [
        ("ffv1", "gray16le", "matroska"),
        ("ffv1", "gray10le", "avi"),
        ("libx265", "gray12le", "mp4"),
        ("png", "gray16be", "mov"),
        ("rawvideo", "gray16be", "mov"),
    ],
)
def test_a_deep_video_is_cut_with_a_warning(
    tmp_path: Path, encoder: str, pixel_format: str, container: str
) -> None:
    path = write_deep(tmp_path / f"depth.{container}", encoder, pixel_format, container)
    video = LazyVideo.from_uri(path)
    reads: list[Callable[[], object]] = [
        lambda: batch_decode([MediaRef(str(path), 0)]),
        lambda: MediaRef(str(path), 0).to_ndarray(format="gray"),
        lambda: video[0],
        lambda: list(video),
        lambda: PyAVVideoDecoder(str(path)).get_frames_at([1]),
    ]
    for read in reads:
        given_warnings.forget()
        with pytest.warns(BitDepthWarning, match=path.name) as given:
            _ = read(), read()
        assert len(given) == 1


def test_the_torchcodec_engine_warns_too(tmp_path: Path) -> None:
    pytest.importorskip("torchcodec")
    path = write_deep(tmp_path / "depth.mp4", "libx265", "gray12le", "mp4")
    with pytest.warns(BitDepthWarning):
        batch_decode([MediaRef(str(path), 0)], decoder="torchcodec")


def test_what_has_8_bits_or_colours_has_no_warning(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    Image.fromarray((DEPTH >> 8).astype(np.uint8)).save(tmp_path / "gray.png")
    Image.new("1", (8, 8)).save(tmp_path / "bits.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch_decode([MediaRef(str(tmp_path / name)) for name in ("gray.png", "bits.png")])
        for name in ("h264_10bit_mp4", "gif", "h264_idr_mp4"):
            batch_decode([MediaRef(str(clip(name).path), 0)])


def test_a_warning_that_is_an_error_reaches_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "depth.png"
    Image.fromarray(DEPTH).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BitDepthWarning)
        with pytest.raises(BitDepthWarning):
            MediaRef(str(path)).to_ndarray()
