"""How frames are turned where the stream says it for each of them (display orientation messages)."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from _containers import remux, set_mp4_rotation
from _encoding import make_picture
from _media import Clip
from _oracle import linear_frames
from PIL import Image

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, cleanup_cache, write_frame_index
from mediaref_ursa._core.errors import UnsupportedMediaError


def orientation(degrees: int, *, is_hevc: bool) -> bytes:
    """An SEI unit after its length: display orientation, no flips (H.264, D.1.27; H.265, D.2.17)."""
    bits = "000" + format(degrees * 65536 // 360, "016b") + "1" + ("" if is_hevc else "0") + "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    unit = (b"\x4e\x01" if is_hevc else b"\x06") + bytes([47, len(payload)]) + payload + b"\x80"
    return len(unit).to_bytes(4, "big") + unit


TURNS: dict[str, Callable[[int], int | None]] = {
    "from the third group on": lambda number: 90 if number >= 24 else None,
    "at one random access point": lambda number: 90 if number == 24 else None,
    "the first only": lambda number: 90 if number == 0 else None,
    "all": lambda number: 180,
    "one picture within a group": lambda number: 270 if number == 3 else None,
    "each differently": lambda number: 90 * (number % 4),
}


def write_turned(source: Path, target: Path, turn: Callable[[int], int | None], *, is_hevc: bool) -> Path:
    def change(sample: object) -> tuple[bytes, bool]:
        degrees = turn(sample.number)
        message = b"" if degrees is None else orientation(degrees, is_hevc=is_hevc)
        return message + sample.data, sample.is_keyframe

    return remux(source, target, change)


@pytest.mark.parametrize("name", ["h264_idr_mp4", "hevc_closed_gop_mp4"])
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_each_frame_is_turned_as_in_a_linear_decode(
    clip: Callable[[str], Clip], tmp_path: Path, name: str, turn: Callable[[int], int | None]
) -> None:
    path = write_turned(clip(name).path, tmp_path / "clip.mp4", turn, is_hevc=name.startswith("hevc"))
    frames = linear_frames(path)
    assert len({round(frame.frame.rotation) for frame in frames} - {0}) > 0
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    for on_disk in (False, True):
        found = batch_decode(refs)
        assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))
        for ref, frame in list(zip(refs, frames, strict=True))[::-1]:
            assert np.array_equal(batch_decode([ref])[0], frame.rgb)
        if not on_disk:
            write_frame_index(path)
            cleanup_cache()


def test_the_container_is_believed_where_it_says_how_frames_are_turned(
    clip: Callable[[str], Clip], tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    write_turned(clip("h264_idr_mp4").path, path, TURNS["each differently"], is_hevc=False)
    set_mp4_rotation(path, 270)
    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    assert all(np.array_equal(a, b.rgb) for a, b in zip(batch_decode(refs), frames, strict=True))


def test_torchcodec_is_not_given_what_it_would_not_turn(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    pytest.importorskip("torchcodec")
    path = write_turned(clip("h264_idr_mp4").path, tmp_path / "clip.mp4", TURNS["all"], is_hevc=False)
    with pytest.raises(UnsupportedMediaError, match="turned"):
        batch_decode([MediaRef(str(path), 0)], decoder="torchcodec")


def test_a_window_of_frames_that_are_turned_alike(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    path = write_turned(clip("h264_idr_mp4").path, tmp_path / "clip.mp4", TURNS["all"], is_hevc=False)
    expected = np.stack([frame.rgb for frame in linear_frames(path)[20:25]])
    assert np.array_equal(LazyVideo.from_uri(path, channel_format="NHWC")[20:25], expected)


@pytest.mark.parametrize("orientations", [[6] * 5, [1, 6, 3, 8, 1]], ids=["all alike", "each differently"])
def test_pictures_that_have_an_exif_orientation(tmp_path: Path, orientations: list[int]) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number, orientation_tag in enumerate(orientations):
            exif = Image.Exif()
            exif[0x0112] = orientation_tag
            file = io.BytesIO()
            Image.fromarray(make_picture(number, 96, 64)).save(file, "JPEG", exif=exif)
            packet = av.Packet(file.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 25), True, stream
            output.mux(packet)
    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    assert all(np.array_equal(a, b.rgb) for a, b in zip(batch_decode(refs), frames, strict=True))
    for ref, frame in zip(refs[::-1], frames[::-1], strict=True):
        assert np.array_equal(batch_decode([ref])[0], frame.rgb)
