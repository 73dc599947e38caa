"""Bytes after the end of a file, which are no part of it, and files that really end too early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import MediaRef, batch_decode, write_frame_index
from mediaref_ursa._containers.sniff import is_cut_short

CLIPS = [
    *("gif", "flv1_flv", "h264_ts", "h264_avi", "h264_mkv", "vp9_odd_webm"),
    *("h264_idr_mp4", "h264_faststart_mp4", "mjpeg_avi", "mjpeg_mkv"),
]
TAILS = {"zeros": bytes(700), "one zero": b"\0", "text": b"<html>not a part</html>", "line end": b"\r\n"}


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_what_follows_the_end_costs_no_frame(
    clip: Callable[[str], Clip], name: str, tail: bytes, tmp_path: Path
) -> None:
    source = clip(name).path
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes() + tail)
    frames = linear_frames(path)
    assert len(frames) == len(linear_frames(source))
    index = write_frame_index(path)
    assert not index.segments[0].cut_short
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    assert all(np.array_equal(a, b.rgb) for a, b in zip(batch_decode(refs), frames, strict=True))


@pytest.mark.parametrize("name", ["gif", "flv1_flv", "h264_ts"])
def test_a_file_that_ends_within_its_last_element_is_cut_short_whatever_its_last_byte(
    clip: Callable[[str], Clip], name: str
) -> None:
    path = clip(name).path
    data = path.read_bytes()
    container = {"gif": "gif", "flv1_flv": "flv", "h264_ts": "mpegts"}[name]

    def cut_short(part: bytes) -> bool:
        return is_cut_short(container, len(part), lambda at, size: part[at : at + size])

    assert not cut_short(data)
    ends = range(len(data) - 60, len(data) - 2)
    assert all(cut_short(data[:end]) for end in ends)
    if name == "gif":
        assert all(cut_short(data[:end] + b";") for end in ends[:-3])


def test_a_gif_with_local_colour_tables_and_comments_is_walked() -> None:
    table = bytes(range(12))
    picture = b"\x2c" + bytes(8) + b"\x81" + table + b"\x02" + b"\x03abc" + b"\x02de" + b"\0"
    head = b"GIF89a" + bytes(4) + b"\x81\0\0" + table
    comment = b"\x21\xfe" + b"\x05hello" + b"\0"
    whole = head + comment + picture + b"\x21\xf9\x04\0\0\0\0\0" + picture + b";"

    def cut_short(part: bytes) -> bool:
        return is_cut_short("gif", len(part), lambda at, size: part[at : at + size])

    assert not cut_short(whole)
    assert not cut_short(whole + bytes(99))
    assert all(cut_short(whole[:end]) for end in range(13, len(whole)))
