"""Files that are no video, or only a part of one: the error says what is the matter and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from _media import Clip

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, write_frame_index
from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError, UnsupportedMediaError
from mediaref_ursa.video_decoder import PyAVVideoDecoder

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
NO_MEDIA = {
    "Git LFS pointer": (LFS, "git lfs pull"),
    "git-annex pointer": (b"/annex/objects/SHA256E-s1--00.mp4\n", "git annex get"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "HTML page"),
    "HTML, indented": (b"\n  <HTML><head><title>Sign in</title>", "HTML page"),
    "HTML with a byte order mark": (b"\xef\xbb\xbf<html>", "HTML page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML document"),
    "JSON": (b'{"message": "rate limit exceeded"}', "JSON document"),
    "zeros": (bytes(100_000), "zeros only"),
    "few zeros": (bytes(20), "zeros only"),
    "ZIP": (b"PK\x03\x04" + bytes(50), "ZIP archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "gzip"),
}


def message_of(read: Callable[[], object], kind: type[MediaRefError]) -> str:
    with pytest.raises(kind) as raised:
        read()
    return str(raised.value)


@pytest.mark.parametrize(("data", "words"), NO_MEDIA.values(), ids=NO_MEDIA)
def test_what_is_no_media_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    for read in (
        lambda: batch_decode([MediaRef(str(path), 0)]),
        lambda: batch_decode([MediaRef(str(path), 0)], untrusted=True, allow_outside_base=True),
        lambda: write_frame_index(path),
        lambda: MediaRef(str(path)).to_ndarray(),
    ):
        message = message_of(read, UnsupportedMediaError)
        assert words in message
        assert "pts_ns" not in message


def test_an_empty_file_says_what_may_have_happened(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.touch()
    assert "copy is incomplete" in message_of(lambda: write_frame_index(path), CorruptMediaError)


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    found, position = {}, 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        found[data[position + 4 : position + 8]] = position, position + size
        position += size
    return found


@pytest.mark.parametrize("name", ["h264_idr_mp4", "h264_mov", "prores_mov", "av1_mp4", "audio_and_video_mp4"])
def test_an_mp4_without_its_index_is_told_so(clip: Callable[[str], Clip], tmp_path: Path, name: str) -> None:
    whole = clip(name).path.read_bytes()
    start, end = boxes(whole)[b"moov"]
    path = tmp_path / "clip.mp4"
    for data in (
        whole[:start],
        whole[: start - 700],
        whole[:start] + b"\0\0\0\x10free" + bytes(8),
        whole[:start] + bytes(end - start),
    ):
        path.write_bytes(data)
        for read in (
            lambda: write_frame_index(path),
            lambda: batch_decode([MediaRef(str(path), 0)]),
            lambda: batch_decode([MediaRef(str(path), 0)], untrusted=True, allow_outside_base=True),
            lambda: LazyVideo.from_uri(path),
            lambda: PyAVVideoDecoder(path.read_bytes()),
        ):
            message = message_of(read, CorruptMediaError)
            assert "moov" in message
            assert "recorder did not finish" in message
            assert "copy is incomplete" in message
    path.write_bytes(whole[: start + 60])
    assert "moov) is cut off" in message_of(lambda: write_frame_index(path), CorruptMediaError)


def test_a_matroska_file_without_a_cluster_is_told_so(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    for name in ("h264_mkv", "vp9_odd_webm"):
        whole = clip(name).path.read_bytes()
        for end in (whole.index(b"\x1f\x43\xb6\x75"), 60):
            path.write_bytes(whole[:end])
            assert "no cluster" in message_of(lambda: write_frame_index(path), CorruptMediaError)


def test_an_avi_file_without_frames_is_told_so(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    whole = clip("mpeg4_avi").path.read_bytes()
    path = tmp_path / "clip.avi"
    for end in (whole.index(b"movi") - 8, 40):
        path.write_bytes(whole[:end])
        assert "(movi)" in message_of(lambda: write_frame_index(path), CorruptMediaError)
    path.write_bytes(whole[: whole.index(b"movi") + 4])
    assert "frames begin" in message_of(lambda: write_frame_index(path), CorruptMediaError)


def test_an_avi_file_without_its_index_is_read(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    whole = clip("mpeg4_avi").path.read_bytes()
    path = tmp_path / "clip.avi"
    path.write_bytes(whole[: whole.rindex(b"idx1")])
    assert len(write_frame_index(path)) >= 40
