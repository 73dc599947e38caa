"""AVI files with an OpenDML index: what is reserved in it is no index, and what is in use is looked at."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import LimitExceededError, MediaRef, batch_decode
from mediaref_ursa._index.build import scan_frame_index

GetClip = Callable[[str], Clip]
_HEAD = struct.Struct("<HBBI4sQI")
FORGED_BYTES = 512 << 20


def chunks_of(data: bytes) -> list[tuple[int, int]]:
    """Return offset and size of the content of each video chunk."""
    found, at = [], data.index(b"movi") + 4
    while data[at : at + 4] == b"00dc":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((at + 8, size))
        at += 8 + size + size % 2
    return found


def standard_index(data: bytes, *, spare: bytes, in_use: int | None = None) -> bytes:
    """An ``ix00`` chunk for all packets, followed by slots that are reserved."""
    chunks = chunks_of(data)
    entries = b"".join(
        struct.pack("<II", at, size | 0x80000000 * (i > 0)) for i, (at, size) in enumerate(chunks)
    )
    content = _HEAD.pack(2, 0, 1, len(chunks) if in_use is None else in_use, b"00dc", 0, 0) + entries + spare
    return b"ix00" + len(content).to_bytes(4, "little") + content


def with_index(source: Path, target: Path, appended: bytes, places: Sequence[int], *, spare: bytes) -> Path:
    """Turn the room that a muxer leaves for a super index into one, and append what it points to.

    Args:
        source: An AVI file of FFmpeg's muxer, whose stream header list holds a JUNK chunk.
        target: The file to write.
        appended: Chunks behind the last one.
        places: Where the super index points, from the beginning of ``appended`` on.
        spare: What stands in its slots that are not in use, over and over.
    """
    data = bytearray(source.read_bytes())
    at = data.index(b"JUNK")
    room = int.from_bytes(data[at + 4 : at + 8], "little") - _HEAD.size
    entries = b"".join(struct.pack("<QII", len(data) + place, len(appended), 1) for place in places)
    filled = (entries + spare * room)[:room]
    data[at : at + 4] = b"indx"
    data[at + 8 : at + 8 + _HEAD.size] = _HEAD.pack(4, 0, 0, len(places), b"00dc", 0, 0)
    data[at + 8 + _HEAD.size : at + 8 + _HEAD.size + room] = filled
    data += appended
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    target.write_bytes(bytes(data))
    return target


SPARE = [
    bytes(16),
    b"\xff" * 16,
    struct.pack("<QII", 0, 0x7FFFFD68, 1),
    struct.pack("<QII", 12, 99, 0x7FFFFFFF),
]


@pytest.mark.parametrize("in_super", SPARE)
@pytest.mark.parametrize("in_standard", [b"", *SPARE])
@pytest.mark.parametrize("name", ["h264_avi", "mjpeg_avi"])
def test_slots_that_are_not_in_use_say_nothing(
    name: str, in_super: bytes, in_standard: bytes, clip: GetClip, tmp_path: Path
) -> None:
    source = clip(name).path
    appended = standard_index(source.read_bytes(), spare=in_standard * 8)
    path = with_index(source, tmp_path / "camera.avi", appended, [0], spare=in_super)
    frames = linear_frames(path)
    assert len(frames) == len(linear_frames(source))
    found = batch_decode([MediaRef(str(path), round(frame.time * 10**9)) for frame in frames])
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))


def forged(data: bytes) -> bytes:
    """An ``ix00`` chunk one of whose entries claims half a gigabyte."""
    whole = bytearray(standard_index(data, spare=b""))
    struct.pack_into("<I", whole, 8 + _HEAD.size + 8 + 4, FORGED_BYTES)
    return bytes(whole)


def test_a_forged_entry_in_use_is_refused(clip: GetClip, tmp_path: Path) -> None:
    source = clip("h264_avi").path
    path = with_index(source, tmp_path / "forged.avi", forged(source.read_bytes()), [0], spare=bytes(16))
    with pytest.raises(LimitExceededError, match="announces"):
        scan_frame_index(path)


def test_a_forged_entry_behind_the_end_of_its_chunk_is_refused(clip: GetClip, tmp_path: Path) -> None:
    """The demuxer reads as many entries as are in use, wherever the chunk ends."""
    source = clip("h264_avi").path
    count = len(chunks_of(source.read_bytes()))
    appended = standard_index(source.read_bytes(), spare=b"", in_use=count + 2)
    appended += b"JUNK" + (8).to_bytes(4, "little") + struct.pack("<II", 0, FORGED_BYTES)
    path = with_index(source, tmp_path / "forged.avi", appended, [0], spare=bytes(16))
    with pytest.raises(LimitExceededError, match="announces"):
        scan_frame_index(path)


def test_a_forged_entry_of_an_index_of_indexes_is_refused(clip: GetClip, tmp_path: Path) -> None:
    source = clip("h264_avi").path
    data = source.read_bytes()
    inner = forged(data)
    content = _HEAD.pack(4, 0, 0, 1, b"00dc", 0, 0)
    content += struct.pack("<QII", len(data) + 8 + len(content) + 16, len(inner), 1)
    outer = b"ix00" + len(content).to_bytes(4, "little") + content
    path = with_index(source, tmp_path / "forged.avi", outer + inner, [0], spare=bytes(16))
    with pytest.raises(LimitExceededError, match="announces"):
        scan_frame_index(path)


def test_an_index_that_points_to_itself_ends(clip: GetClip, tmp_path: Path) -> None:
    source = clip("h264_avi").path
    data = source.read_bytes()
    content = _HEAD.pack(4, 0, 0, 2, b"00dc", 0, 0) + 2 * struct.pack("<QII", len(data), 56, 1)
    path = with_index(
        source,
        tmp_path / "loop.avi",
        b"ix00" + len(content).to_bytes(4, "little") + content,
        [0, 0],
        spare=b"\0",
    )
    with pytest.raises(LimitExceededError, match="index"):
        scan_frame_index(path)


def test_the_file_is_what_ffmpeg_reads(clip: GetClip, tmp_path: Path) -> None:
    """The hand-made index is one: it is all that says where packets are, once the old one is gone."""
    source = clip("h264_avi").path
    data = source.read_bytes()
    path = with_index(source, tmp_path / "camera.avi", standard_index(data, spare=b""), [0], spare=bytes(16))
    path.write_bytes(path.read_bytes().replace(b"idx1", b"JUNK"))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.size for packet in packets] == [size for _, size in chunks_of(data)]
