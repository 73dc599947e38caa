"""Encrypted media are named as such, in every container that can say so, and never decoded to noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from _containers import MatroskaBlock, MatroskaTrack, write_matroska
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, write_frame_index
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa.video_decoder import PyAVVideoDecoder


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _sinf(original: bytes, *, with_key: bool = True) -> bytes:
    scheme = _box(b"schm", bytes(4), b"cenc", b"\0\1\0\0")
    key = _box(b"schi", _box(b"tenc", bytes(4), b"\0\0\1\x08", bytes(16)))
    return _box(b"sinf", _box(b"frma", original), scheme, key if with_key else b"")


def encrypt_mp4(source: Path, target: Path, entry_name: bytes, *, with_key: bool = True) -> Path:
    """Say in the sample entry that a video is encrypted, and spoil what the samples hold."""
    data = bytearray(source.read_bytes())
    position, chain = 0, []
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", None):
        while kind is not None and data[position + 4 : position + 8] != kind:
            position += int.from_bytes(data[position : position + 4], "big")
        chain.append(position)
        position += 16 if kind == b"stsd" else 8
    entry = chain[-1]
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    more = _sinf(bytes(data[entry + 4 : entry + 8]), with_key=with_key)
    media = data.index(b"mdat") + 4
    assert media < chain[0]  # so that no offset changes
    for place in range(media + 500, chain[0], 97):
        data[place] ^= 0x5A
    data[end:end] = more
    for start in chain:
        size = int.from_bytes(data[start : start + 4], "big") + len(more)
        data[start : start + 4] = size.to_bytes(4, "big")
    data[entry + 4 : entry + 8] = entry_name
    target.write_bytes(bytes(data))
    return target


def every_way(path: Path) -> list[Callable[[], Any]]:
    return [
        lambda: batch_decode([MediaRef(str(path), 0)]),
        lambda: write_frame_index(path),
        lambda: write_frame_index(path, full=False),
        lambda: LazyVideo.from_uri(str(path)),
        lambda: PyAVVideoDecoder(path.read_bytes()),
        lambda: batch_decode([MediaRef(str(path), 0)], untrusted=True, allow_outside_base=True),
    ]


def refused(path: Path, match: str = "encrypted") -> None:
    for read in every_way(path):
        with pytest.raises(UnsupportedMediaError, match=match):
            read()


@pytest.mark.parametrize("name", ["h264_idr_mp4", "hevc_hvc1_mp4", "av1_mp4", "mpeg4_mp4", "h264_mov"])
@pytest.mark.parametrize("entry", [b"encv", b"drmi"])
def test_an_encrypted_mp4_is_named_as_such(
    clip: Callable[[str], Clip], tmp_path: Path, name: str, entry: bytes
) -> None:
    refused(encrypt_mp4(clip(name).path, tmp_path / "clip.mp4", entry), "encrypted .*" + entry.decode())


def test_a_track_without_a_key_box_is_named_too(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    path = encrypt_mp4(clip("h264_idr_mp4").path, tmp_path / "clip.mp4", b"encv", with_key=False)
    refused(path, "encv")


def test_a_clear_video_beside_an_encrypted_track_is_read(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    """The first of two videos is encrypted; the other one is FFmpeg's best."""
    path = encrypt_mp4(clip("two_videos_mp4").path, tmp_path / "clip.mp4", b"encv")
    with pytest.raises(UnsupportedMediaError, match="encrypted"):
        PyAVVideoDecoder(str(path), stream_index=0)
    with av.open(str(path)) as container:
        best = container.streams.best("video").index
    assert best == 1
    assert len(PyAVVideoDecoder(str(path), stream_index=1)) > 0


@pytest.mark.parametrize("key_id", [b"", b"0123456789abcdef"])
def test_an_encrypted_matroska_track_is_named_as_such(
    clip: Callable[[str], Clip], tmp_path: Path, key_id: bytes
) -> None:
    with av.open(str(clip("vp9_odd_webm").path)) as container:
        packets = [(p.pts, bytes(p), p.is_keyframe) for p in container.demux(video=0) if p.size]
    track = MatroskaTrack("V_VP9", b"", (97, 65))
    blocks = [MatroskaBlock(pts, (b"\x01" + bytes(8) + data,), key) for pts, data, key in packets]
    path = tmp_path / "clip.mkv"
    write_matroska(path, track, blocks, key_id=key_id, is_encrypted=True)
    refused(path, "ContentEncryption")


@pytest.mark.parametrize("how", ["transport", "pes"])
@pytest.mark.parametrize("name", ["h264_ts", "mpeg2_ts"])
def test_a_scrambled_transport_stream_is_named_as_such(
    clip: Callable[[str], Clip], tmp_path: Path, name: str, how: str
) -> None:
    data = bytearray(clip(name).path.read_bytes())
    for at in range(0, len(data), 188):
        pid = int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF
        if pid != 0x100:
            continue
        start = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        if how == "transport":
            data[at + 3] |= 0x80
            data[start : at + 188] = bytes(byte ^ 0x5A for byte in data[start : at + 188])
        elif data[at + 1] & 0x40:
            data[start + 6] |= 0x20
    path = tmp_path / "clip.ts"
    path.write_bytes(bytes(data))
    refused(path, "scrambled")


def mpeg_crc32(data: bytes) -> bytes:
    """CRC-32 of a table section (ISO/IEC 13818-1, annex A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc.to_bytes(4, "big")


def test_a_stream_of_sample_aes_is_named_as_such(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    data = bytearray(clip("h264_ts").path.read_bytes())
    changed = 0
    for at in range(0, len(data), 188):
        start = at + 5
        if data[at + 1] & 0x40 and data[start] == 2:  # a program map
            end = start + 3 + (int.from_bytes(data[start + 1 : start + 3], "big") & 0xFFF) - 4
            kind = start + 12 + (int.from_bytes(data[start + 10 : start + 12], "big") & 0xFFF)
            assert data[kind] == 0x1B
            data[kind] = 0xDB
            data[end : end + 4] = mpeg_crc32(bytes(data[start:end]))
            changed += 1
    assert changed
    path = tmp_path / "clip.ts"
    path.write_bytes(bytes(data))
    refused(path, "SAMPLE-AES")


def test_media_in_the_clear_are_read(clip: Callable[[str], Clip]) -> None:
    for name in (
        "h264_ts",
        "hevc_ts",
        "mpeg2_ts",
        "vp9_odd_webm",
        "h264_zlib_mkv",
        "wmv2_avi",
        "h264_fragmented_mp4",
    ):
        path = clip(name).path
        frames = linear_frames(path)
        found = batch_decode([MediaRef(str(path), round(frames[0].time * 10**9))])[0]
        assert np.array_equal(found, frames[0].rgb)
