"""Streams without a container, and containers of other trades: what has times is read, the rest is named."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _encoding import Encoding, encode, make_picture
from _oracle import OracleFrame, linear_frames
from PIL import Image

from mediaref_ursa import (
    LazyVideo,
    MediaRef,
    MediaRefError,
    UnsupportedMediaError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._containers.raw_streams import raw_stream, stream_without_times
from mediaref_ursa._containers.sniff import SNIFF_BYTES, find_container, is_cut_short, sniff_container
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa.video_decoder import BatchDecodingStrategy

FINE = {"qmin": "2", "qmax": "6"}
SVT = {"preset": "12", "crf": "40", "g": "16", "svtav1-params": "lp=1"}
ENCODINGS = {
    "mpeg-1": Encoding("mpeg1video", "mpeg1video", "m1v", "mpeg1video", FINE, gop=12, b_frames=2),
    "mpeg-2": Encoding("mpeg2video", "mpeg2video", "m2v", "mpeg2video", FINE, gop=12, b_frames=2),
    "mpeg-4": Encoding("mpeg4", "m4v", "m4v", "mpeg4", FINE, gop=12, b_frames=2),
    "mpeg-4 without B": Encoding("mpeg4", "m4v", "m4v", "mpeg4", FINE, gop=6),
    "apng": Encoding("apng", "apng", "png", "apng", pixel_format="rgb24", count=20),
    "apng with alpha": Encoding("apng", "apng", "png", "apng", pixel_format="rgba", count=20),
    "dv": Encoding("dvvideo", "dv", "dv", "dvvideo", size=(720, 576), count=6),
    "mxf": Encoding("mpeg2video", "mxf", "mxf", "mpeg2video", FINE, gop=12, b_frames=2),
    "mxf with h264": Encoding("libx264", "mxf", "mxf", "h264", gop=12, b_frames=2),
    "obu": Encoding("libsvtav1", "obu", "obu", "av1", SVT),
    "jpeg pictures": Encoding("mjpeg", "mjpeg", "mjpeg", "mjpeg", FINE, pixel_format="yuvj420p", count=20),
    "realmedia 1": Encoding("rv10", "rm", "rm", "rv10", FINE, gop=12),
    "realmedia 2": Encoding("rv20", "rm", "rm", "rv20", FINE, gop=12),
}


def write_flic(path: Path, count: int = 12, size: tuple[int, int] = (96, 64)) -> None:
    """Write an animation of Autodesk's: a palette, then pictures that are copied whole."""
    width, height = size
    frames = []
    for number in range(count):
        indices = make_picture(number, width, height)[:, :, 1].tobytes()
        chunks = [struct.pack("<IH", 6 + len(indices), 16) + indices]  # FLI_COPY
        if number == 0:
            palette = bytes(value for entry in range(256) for value in (entry, 255 - entry, entry // 2))
            chunks.insert(0, struct.pack("<IHHBB", 10 + len(palette), 4, 1, 0, 0) + palette)  # FLI_COLOR256
        body = b"".join(chunks)
        frames.append(struct.pack("<IHH8x", 16 + len(body), 0xF1FA, len(chunks)) + body)
    content = b"".join(frames)
    head = struct.pack("<IHHHHHHI", 128 + len(content), 0xAF12, count, width, height, 8, 3, 40)
    head = head.ljust(80, b"\0") + struct.pack("<I", 128)
    path.write_bytes(head.ljust(128, b"\0") + content)


def made(name: str, folder: Path) -> Path:
    if name == "flic":
        path = folder / "video.flc"
        write_flic(path)
        return path
    encoding = ENCODINGS[name]
    path = folder / f"video.{encoding.suffix}"
    encode(path, encoding)
    return path


def reported(path: Path) -> list[OracleFrame]:
    """Return the frames of a linear decode by the demuxer that the bytes call for, whatever the name says."""
    data = path.read_bytes()
    container = find_container(len(data), lambda at, size: data[at : at + size])
    named = path.with_name(f"named.{container}")
    named.write_bytes(data)
    return linear_frames(named)


@pytest.mark.parametrize("name", [*ENCODINGS, "flic"])
def test_frames_are_those_of_a_linear_decode(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    frames = reported(path)
    assert len(frames) > 1
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    for _ in ("scanned", "read from its index"):
        for strategy in BatchDecodingStrategy:
            found = batch_decode(refs, strategy)
            assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))
        backwards = [ref.to_ndarray() for ref in refs[::-5]]
        assert all(np.array_equal(a, b.rgb) for a, b in zip(backwards, frames[::-5], strict=True))
        write_frame_index(path, overwrite=True)
    index = scan_frame_index(path)
    assert index.pts_table(0).tolist() == [frame.pts for frame in frames]
    assert not index.segments[0].cut_short
    assert len(LazyVideo(str(path), frame_index=index)) == len(frames)


@pytest.mark.parametrize("name", [*ENCODINGS, "flic"])
def test_untrusted_files_are_read_too(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    frames = reported(path)
    found = batch_decode(
        [MediaRef(path.name, round(frames[-1].time * 10**9))], untrusted=True, base_dir=str(tmp_path)
    )
    assert np.array_equal(found[0], frames[-1].rgb)


@pytest.mark.parametrize("name", ["apng", "mxf", "flic"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_is_cut_short_is_told(name: str, share: float, tmp_path: Path) -> None:
    data = made(name, tmp_path).read_bytes()
    cut = data[: int(len(data) * share)]
    container = sniff_container(cut[:SNIFF_BYTES])
    assert is_cut_short(container, len(cut), lambda at, size: cut[at : at + size])
    assert not is_cut_short(container, len(data), lambda at, size: data[at : at + size])


@pytest.mark.parametrize(("encoder", "suffix"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_stream_without_times_is_named(encoder: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"video.{suffix}"
    encode(path, Encoding(encoder, suffix, suffix, suffix, {"x265-params": "log-level=none"}))
    wanted = {"h264": "raw H.264", "hevc": "raw HEVC"}[suffix]
    with pytest.raises(UnsupportedMediaError, match=rf"{wanted}.*ffmpeg -i"):
        batch_decode([MediaRef(str(path), 0)])


def test_a_png_that_does_not_move_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    Image.fromarray(make_picture(3, 96, 64)).save(path)
    with pytest.raises(UnsupportedMediaError):
        batch_decode([MediaRef(str(path), 0)])
    moving = made("apng", tmp_path)
    assert MediaRef(str(moving)).to_ndarray().shape == (64, 96, 3)


def jpeg(number: int, size: tuple[int, int] = (96, 64), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(make_picture(number, *size)).save(file, "JPEG", **options)
    return file.getvalue()


def test_a_photo_is_no_stream_of_pictures(tmp_path: Path) -> None:
    """One picture, with a preview behind it, with a film behind it, or several that it names itself."""
    photo = jpeg(1)
    named = photo[:2] + b"\xff\xe2\0\x0aMPF\0" + bytes(4) + photo[2:] + jpeg(2)
    film = b"\0\0\0\x18ftypmp42" + bytes(12)
    thumbnail = photo[:2] + b"\xff\xe1" + (len(photo) + 2).to_bytes(2, "big") + photo + photo[2:]
    for number, data in enumerate(
        (photo, photo + jpeg(2, (48, 32)), photo + film, named, photo + b"\0\0" + photo, thumbnail)
    ):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        with pytest.raises(UnsupportedMediaError):
            batch_decode([MediaRef(str(path), 0)])
        if data is not named:  # its list of pictures is none that Pillow reads
            assert MediaRef(str(path)).to_ndarray().shape == (64, 96, 3)
    progressive = tmp_path / "progressive.mjpeg"
    progressive.write_bytes(b"".join(jpeg(number, progressive=True) for number in range(4)))
    frames = reported(progressive)
    found = batch_decode([MediaRef(str(progressive), round(frame.time * 10**9)) for frame in frames])
    assert len(frames) == 4
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))


def test_what_only_begins_like_a_stream_is_no_stream() -> None:
    for head in (
        b"",
        b"\0\0\1",
        b"\0\0\1\xb3",
        b"\x12\0",
        b"\x1f\x07\0\x3f",
        b"\x89PNG\r\n\x1a\n",
        b"\0\0\0\1",
    ):
        assert raw_stream(head) in (None, "mpegvideo")
        assert stream_without_times(head) is None
    assert raw_stream(b"\x12\0\x32" + bytes(80)) is None  # no sequence header follows
    assert raw_stream(b"\x1f\x07\0\x3f" + bytes(96)) is None
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0) + b"IDAT" + bytes(4) + struct.pack(">I", 8) + b"acTL"
    assert raw_stream(png) is None


@pytest.mark.parametrize("name", [*ENCODINGS, "flic"])
def test_bytes_that_only_begin_like_one(name: str, tmp_path: Path) -> None:
    """They are an error of this library, or what a linear decode makes of them."""
    head = made(name, tmp_path).read_bytes()[:200]
    path = tmp_path / "head.bin"
    path.write_bytes(head + b"\x55" * 4000)
    try:
        index = scan_frame_index(path)
    except MediaRefError:
        return
    frames = reported(path)
    assert index.pts_table(0).tolist() == [frame.pts for frame in frames]
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    batch = batch_decode(refs, on_error="none")
    for slot, (found, frame) in enumerate(zip(batch, frames, strict=True)):
        damaged = isinstance(batch.errors.get(slot), MediaRefError)
        assert damaged if found is None else np.array_equal(found, frame.rgb)
