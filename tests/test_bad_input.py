"""Bad input gives one clear error of the tree: never a crash, a hang or a wrong frame."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _media import NO_VIDEO_NAMES, Clip
from _oracle import OracleFrame, linear_frames

import mediaref_ursa
from mediaref_ursa import (
    CorruptMediaError,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    FrameIndexVersionError,
    FrameOutsideVideoError,
    LanceFrameIndex,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    write_frame_index,
)

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_idr_mp4").path, tmp_path / "video.mp4"))


def decode_all(path: Path, frames: list[OracleFrame]) -> int:
    """Decode each frame of the whole file; return how many came out, each of them exact."""
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    batch = batch_decode(refs, on_error="none")
    for found, frame in zip(batch, frames, strict=True):
        assert found is None or np.array_equal(found, frame.rgb)
    assert all(isinstance(error, MediaRefError) for error in batch.errors.values())
    assert len(batch.errors) == sum(found is None for found in batch)
    return len(frames) - len(batch.errors)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(CorruptMediaError, match="empty file"):
        batch_decode([MediaRef(str(path), 0)])
    with pytest.raises(CorruptMediaError, match="empty file"):
        write_frame_index(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "just text\n" * 100,
        "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "ffconcat version 1.0\nfile other.mp4\n",
        "<?xml version='1.0'?><MPD/>",
    ],
)
def test_text_playlists_and_scripts_named_mp4(text: str, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_text(text)
    with pytest.raises(UnsupportedMediaError, match="expected a video"):
        batch_decode([MediaRef(str(path), 0)])


@pytest.mark.parametrize("name", NO_VIDEO_NAMES)
def test_audio_only(name: str, clip: GetClip) -> None:
    with pytest.raises(UnsupportedMediaError, match="expected a video stream, found streams of kinds: audio"):
        batch_decode([MediaRef(str(clip(name).path), 0)])


def test_a_missing_file_a_directory_and_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    for place, kind in (("nothing.mp4", MediaNotFoundError), ("", StoreError), ("fifo.mp4", StoreError)):
        for pts_ns in (0, None):
            with pytest.raises(kind) as caught:
                batch_decode([MediaRef(str(tmp_path / place), pts_ns)])
            assert caught.value.uri == str(tmp_path / place)


@pytest.mark.parametrize(
    "name", ["h264_faststart_mp4", "h264_mkv", "h264_ts", "vp9_alt_ref_webm", "mpeg4_avi"]
)
@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_file_cut_short_gives_exact_frames_or_errors(
    name: str, tenth: int, clip: GetClip, tmp_path: Path
) -> None:
    whole = clip(name).path
    data = whole.read_bytes()
    path = tmp_path / whole.name
    path.write_bytes(data[: len(data) * tenth // 10])
    frames = linear_frames(whole)
    if name.endswith("_ts") and path.stat().st_size % 188 == 0:
        # Nothing in such a stream tells that it was longer: its last packet may be half a picture. If its
        # decoder marks that, frames that refer to it are errors, else the rest is made up, by each run from
        # what it has decoded before.
        frames = linear_frames(path)
        refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
        found = batch_decode(refs, on_error="none")
        assert {type(error) for error in found.errors.values()} <= {CorruptMediaError}
        differing = [
            a is not None and not np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True)
        ]
        assert sum(differing) <= 1
    else:
        assert decode_all(path, frames) < len(frames)


@pytest.mark.parametrize("name", ["h264_idr_mp4", "h264_mov", "h264_fragmented_mp4"])
def test_a_file_cut_short_under_its_index_is_not_read_by_that_index(
    name: str, clip: GetClip, tmp_path: Path
) -> None:
    path = Path(shutil.copy(clip(name).path, tmp_path))
    frames = linear_frames(path)
    write_frame_index(str(path))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FrameIndexStaleError, match=r"expected length \d+, found \d+"):
        batch_decode([MediaRef(str(path), 0)], frame_index=LanceFrameIndex.open(str(path)))
    assert decode_all(path, frames) < len(frames)


@pytest.mark.parametrize("name", ["h264_idr_mp4", "hevc_mkv", "vp9_alt_ref_webm", "h264_ts", "mpeg4_avi"])
def test_a_flipped_bit_in_any_packet_is_found(name: str, clip: GetClip, tmp_path: Path) -> None:
    whole = clip(name).path
    frames = linear_frames(whole)
    path = Path(shutil.copy(whole, tmp_path))
    index = write_frame_index(str(path))
    table = index.segment_table(0)
    data = bytearray(whole.read_bytes())
    choose = random.Random(name)
    for _ in range(12):
        at = choose.randrange(len(data))
        if table.info.addressable:
            row = choose.randrange(len(table.packets))
            at = int(table.packets.offset[row] + choose.randrange(int(table.packets.size[row])))
        data[at] ^= 1 << choose.randrange(8)
        path.write_bytes(data)
        came_out = decode_all(path, frames)
        assert not table.info.addressable or came_out < len(frames)
        data = bytearray(whole.read_bytes())


def test_a_flipped_bit_says_which_packet(video: Path) -> None:
    index = write_frame_index(str(video))
    data = bytearray(video.read_bytes())
    data[int(index.segment_table(0).packets.offset[0]) + 5] ^= 1
    video.write_bytes(data)
    with pytest.raises(CorruptMediaError, match=r"packet 0 \(offset \d+, \d+ bytes\).*CRC-32"):
        batch_decode([MediaRef(str(video), 0)])


def test_one_bad_packet_spares_the_frames_before_it(video: Path, clip: GetClip) -> None:
    frames = linear_frames(clip("h264_idr_mp4").path)
    table = write_frame_index(str(video)).segment_table(0)
    last_of_first_group = int(table.random_access_points[1]) - 1
    data = bytearray(video.read_bytes())
    data[int(table.packets.offset[last_of_first_group])] ^= 1
    video.write_bytes(data)
    batch = batch_decode([MediaRef(str(video), round(f.time * 10**9)) for f in frames], on_error="none")
    assert len(batch.errors) == 1
    assert list(batch.errors) == np.flatnonzero(table.packet == last_of_first_group).tolist()


def test_the_index_of_another_file(clip: GetClip, video: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "other.mp4"))
    write_frame_index(str(other))
    shutil.move(f"{other}.lance", f"{video}.lance")
    frames = linear_frames(video)
    assert decode_all(video, frames) == len(frames)  # scanned instead
    with pytest.raises(FrameIndexStaleError):
        batch_decode([MediaRef(str(video), 0)], frame_index=LanceFrameIndex.open(str(video)))


def test_an_index_whose_segments_are_gone(video: Path, clip: GetClip, tmp_path: Path) -> None:
    other = Path(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "other.mp4"))
    write_frame_index(str(video), segment_uris=[str(other)])
    os.remove(other)
    frames = linear_frames(video)
    assert decode_all(video, frames) == len(frames)  # scanned instead
    with pytest.raises(MediaNotFoundError):
        batch_decode([MediaRef(str(video), 0)], frame_index=LanceFrameIndex.open(str(video)))


def test_a_changed_file_of_the_same_length_is_caught_by_its_checksums(video: Path) -> None:
    write_frame_index(str(video))
    data = video.read_bytes()
    video.write_bytes(data[:200] + bytes(reversed(data[200:])))
    with pytest.raises(CorruptMediaError, match="CRC-32"):
        batch_decode([MediaRef(str(video), 0)])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offset", -5),
        ("offset", 2**62),
        ("size", -1),
        ("size", 2**40),
        ("decode_idx", 99999),
        ("decode_idx", -1),
        ("start_decode_idx", 47),
        ("start_decode_idx", -3),
        ("pts", -(2**63)),
        ("pts", 2**62),
        ("duration", -1),
        ("segment_idx", 7),
        ("local_frame_idx", None),
    ],
)
def test_hostile_rows_are_refused_before_use(
    column: str, value: int | None, video: Path, clip: GetClip
) -> None:
    write_frame_index(str(video))
    place = f"{video}.lance"
    table = lance.dataset(place).to_table()
    metadata = table.schema.metadata
    values = table.column(column).to_pylist()
    values[5] = value
    at = table.schema.get_field_index(column)
    doctored = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    lance.write_dataset(doctored.replace_schema_metadata(metadata), place, mode="overwrite")
    frames = linear_frames(clip("h264_idr_mp4").path)
    assert decode_all(video, frames) == len(frames)  # scanned instead
    if column != "local_frame_idx":
        with pytest.raises((FrameIndexInvalidError, MediaRefError)):
            batch_decode([MediaRef(str(video), 0)], frame_index=LanceFrameIndex.open(str(video)))


@pytest.mark.parametrize(
    "change", [{"version": "2.0"}, {"version": "x"}, {"segments": [{}]}, {"segments": 5}]
)
def test_metadata_of_another_version_or_shape(change: dict[str, object], video: Path) -> None:
    import json

    write_frame_index(str(video))
    place = f"{video}.lance"
    table = lance.dataset(place).to_table()
    value = json.loads(table.schema.metadata[b"mediaref_ursa"]) | change
    changed = table.replace_schema_metadata({b"mediaref_ursa": json.dumps(value).encode()})
    lance.write_dataset(changed, place, mode="overwrite")
    kind = FrameIndexVersionError if change.get("version") == "2.0" else FrameIndexInvalidError
    with pytest.raises(kind):
        LanceFrameIndex.open(str(video))
    assert batch_decode([MediaRef(str(video), 0)])[0].shape  # scanned instead


def test_damaged_and_missing_tables(video: Path) -> None:
    with pytest.raises(FrameIndexMissingError, match="mediaref-ursa index"):
        LanceFrameIndex.open(str(video))
    write_frame_index(str(video))
    for file in sorted(Path(f"{video}.lance").rglob("*.lance")) + sorted(
        Path(f"{video}.lance").rglob("*.manifest")
    ):
        data = bytearray(file.read_bytes())
        data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
        file.write_bytes(data)
        mediaref_ursa.cleanup_cache()
        assert batch_decode([MediaRef(str(video), 0)])[0].shape
        with pytest.raises(FrameIndexInvalidError):
            LanceFrameIndex.open(str(video)).segment_table(0)
    frames = len(write_frame_index(str(video), overwrite=True))
    assert len(LanceFrameIndex.open(str(video)).pts_table(0)) == frames
    assert sorted(path.name for path in video.parent.iterdir()) == ["video.mp4", "video.mp4.lance"]
    shutil.rmtree(f"{video}.lance")
    Path(f"{video}.lance").write_text("no table")
    with pytest.raises(FrameIndexInvalidError):
        LanceFrameIndex.open(str(video))
    assert batch_decode([MediaRef(str(video), 0)])[0].shape


def test_times_outside_the_video(video: Path) -> None:
    frames = linear_frames(video)
    end = frames[-1].end * 10**9
    for time in (-(2**63), -1_001, int(end) + 1, 2**63 - 1):
        with pytest.raises(FrameOutsideVideoError, match="the time lies") as caught:
            batch_decode([MediaRef(str(video), time)])
        assert (caught.value.uri, caught.value.pts_ns) == (str(video), time)
        assert isinstance(caught.value, LookupError)
    assert np.array_equal(batch_decode([MediaRef(str(video), -1_000)])[0], frames[0].rgb)
    assert np.array_equal(batch_decode([MediaRef(str(video), int(end) - 1)])[0], frames[-1].rgb)


@pytest.mark.parametrize("name", ["h264_idr_mp4", "h264_mkv", "h264_ts", "hevc_mp4", "vp8_webm", "mpeg4_avi"])
def test_random_damage_never_crashes_and_never_hangs(name: str, clip: GetClip, tmp_path: Path) -> None:
    name = "hevc_open_gop_mp4" if name == "hevc_mp4" else name
    whole = clip(name).path.read_bytes()
    path = tmp_path / "damaged"
    choose = random.Random(name)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(choose.choice([1, 5, 50])):
            data[choose.randrange(len(data))] = choose.randrange(256)
        path.write_bytes(data)
        mediaref_ursa.cleanup_cache()
        batch = batch_decode([MediaRef(str(path), t * 10**8) for t in range(0, 20, 3)], on_error="none")
        assert all(isinstance(error, MediaRefError) for error in batch.errors.values())
