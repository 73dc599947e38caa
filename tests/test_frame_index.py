"""The Lance table beside a video: what is written, what is read, what survives."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _media import Clip
from _oracle import linear_frames

import mediaref_ursa
from mediaref_ursa import (
    FrameIndexExistsError,
    FrameIndexInvalidError,
    FrameIndexStaleError,
    LanceFrameIndex,
    MediaNotFoundError,
    MediaRef,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._index.lance_table import SCHEMA

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, tmp_path / "video.mp4"))


def test_the_table_has_the_documented_columns(video: Path) -> None:
    index = write_frame_index(str(video))
    table = lance.dataset(f"{video}.lance").to_table()
    assert table.schema.equals(SCHEMA, check_metadata=False)
    assert table.num_rows == len(index)
    frames = linear_frames(video)
    assert table.column("segment_idx").to_pylist() == [0] * len(frames)
    assert table.column("local_frame_idx").to_pylist() == list(range(len(frames)))
    assert table.column("pts").to_pylist() == [frame.pts for frame in frames]
    assert table.column("timestamp").to_pylist() == [float(frame.time) for frame in frames]


def test_the_format_document_names_every_column() -> None:
    text = (Path(__file__).parents[1] / "docs" / "index-format.md").read_text()
    for field in SCHEMA:
        assert f"`{field.name}`" in text


def test_there_is_an_index_already(video: Path) -> None:
    write_frame_index(str(video))
    with pytest.raises(FrameIndexExistsError, match="overwrite=True"):
        write_frame_index(str(video))
    assert len(write_frame_index(str(video), overwrite=True)) == len(linear_frames(video))


def test_a_missing_video_leaves_no_index(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        write_frame_index(str(tmp_path / "none.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_opening_reads_metadata_only_and_columns_once(video: Path) -> None:
    write_frame_index(str(video))
    index = LanceFrameIndex.open(str(video))
    assert len(index) == index.segment_frame_counts().sum() == len(linear_frames(video))
    assert index.segments[0].codec == "h264"
    data = Path(f"{video}.lance") / "data"
    data.rename(data.with_name("elsewhere"))
    with pytest.raises(FrameIndexInvalidError):
        index.pts_table(0)
    data.with_name("elsewhere").rename(data)
    assert index.pts_table(0) is index.pts_table(0)
    with pytest.raises(IndexError, match="from 0 to 0"):
        index.pts_table(1)


def test_pickled_and_copied_indexes_read_on(video: Path) -> None:
    written = write_frame_index(str(video))
    for index in (written, LanceFrameIndex.open(str(video))):
        for twin in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
            assert np.array_equal(twin.pts_table(0), index.pts_table(0))
            assert repr(twin) == repr(index)


def test_timestamps_of_a_camera_clock(video: Path) -> None:
    count = len(linear_frames(video))
    clock = 1000.0 + np.cumsum(np.random.default_rng(0).uniform(0.01, 0.05, count))
    write_frame_index(str(video), timestamps=clock)
    index = LanceFrameIndex.open(str(video))
    assert np.array_equal(index.timestamps(), clock)
    frames = batch_decode([MediaRef(str(video), int(index.segment_table(0).pts_ns[7]))])
    assert np.array_equal(frames[0], linear_frames(video)[7].rgb)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:-1], r"expected \d+ timestamps"),
        (lambda t: t[::-1], "ascending"),
        (lambda t: np.where(t == t[3], np.nan, t), "found nan at position 3"),
        (lambda t: np.where(t == t[-1], np.inf, t), r"found inf at position \d+"),
        (lambda t: t.reshape(2, -1), "shape"),
    ],
)
def test_timestamps_are_checked(
    change: Callable[[np.ndarray], np.ndarray], message: str, video: Path
) -> None:
    count = len(linear_frames(video))
    with pytest.raises(ValueError, match=message):
        write_frame_index(str(video), timestamps=change(np.arange(float(count))))
    assert not Path(f"{video}.lance").exists()


def test_several_segments_run_on(clip: GetClip, tmp_path: Path) -> None:
    names = ["h264_29_97_mp4", "h264_idr_mp4", "h264_ts"]
    paths = [shutil.copy(clip(name).path, tmp_path) for name in names]
    oracles = [linear_frames(path) for path in paths]
    write_frame_index(str(tmp_path / "whole"), segments=paths)
    index = LanceFrameIndex.open(str(tmp_path / "whole"))
    assert index.segment_frame_counts().tolist() == [len(frames) for frames in oracles]
    assert [info.uri for info in index.segments] == [str(path) for path in paths]
    before, expected = Fraction(0), []
    for frames in oracles:
        expected += [float(frame.time) + float(before) for frame in frames]
        before += frames[-1].end - frames[0].time
    assert index.timestamps() == pytest.approx(expected, abs=1e-9)
    assert (np.diff(index.timestamps()) > 0).all()


def test_progress_is_told_in_bytes(video: Path) -> None:
    told: list[tuple[int, int]] = []
    write_frame_index(str(video), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (video.stat().st_size, video.stat().st_size)
    assert all(0 <= done <= total for done, total in told)


def base_only(video: Path) -> None:
    write_frame_index(str(video))
    columns = ["segment_idx", "local_frame_idx", "pts", "timestamp"]
    table = lance.dataset(f"{video}.lance").to_table(columns=columns)
    shutil.rmtree(f"{video}.lance")
    lance.write_dataset(table.replace_schema_metadata(None), f"{video}.lance")


@pytest.mark.parametrize("name", ["h264_pyramid_mp4", "h264_ts", "vp8_hidden_webm"])
def test_a_table_with_the_four_base_columns_works(name: str, clip: GetClip, tmp_path: Path) -> None:
    path = Path(shutil.copy(clip(name).path, tmp_path))
    frames = linear_frames(path)
    base_only(path)
    index = LanceFrameIndex.open(str(path))
    assert not index.has_packets
    assert len(index) == len(frames)
    assert index.pts_table(0).tolist() == [frame.pts for frame in frames]
    assert len(index.timestamps()) == len(frames)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    for found in (batch_decode(refs), batch_decode(refs, frame_index=index)):
        assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))


def test_base_columns_of_another_video_are_refused(video: Path, clip: GetClip) -> None:
    base_only(video)
    shutil.copy(clip("h264_29_97_mp4").path, video)
    with pytest.raises(FrameIndexStaleError, match="another video"):
        batch_decode([MediaRef(str(video), 0)], frame_index=LanceFrameIndex.open(str(video)))


def test_unknown_columns_and_keys_are_ignored(video: Path) -> None:
    import json

    write_frame_index(str(video))
    table = lance.dataset(f"{video}.lance").to_table()
    value = json.loads(table.schema.metadata[b"mediaref_ursa"])
    value["version"] = "1.7"
    value["later"] = value["segments"][0]["later"] = {"x": 1}
    table = table.append_column("later", pa.array(["x"] * table.num_rows))
    table = table.replace_schema_metadata({b"mediaref_ursa": json.dumps(value).encode(), b"other": b"x"})
    lance.write_dataset(table, f"{video}.lance", mode="overwrite")
    assert len(LanceFrameIndex.open(str(video)).pts_table(0)) == len(linear_frames(video))


def test_moving_or_copying_the_folder_keeps_the_index_fresh(video: Path, tmp_path: Path) -> None:
    write_frame_index(str(video))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(video, moved)
    shutil.copytree(f"{video}.lance", moved / "video.mp4.lance")
    os.utime(moved / "video.mp4", (0, 0))
    index = LanceFrameIndex.open(str(moved / "video.mp4"))
    assert index.segments[0].uri == str(moved / "video.mp4")
    os.remove(video)
    frames = batch_decode([MediaRef(str(moved / "video.mp4"), 0)], frame_index=index)
    assert frames[0].shape == (64, 96, 3)


def test_a_video_and_its_index_renamed_together(video: Path, tmp_path: Path) -> None:
    expected = batch_decode([MediaRef(str(video), 0)])[0]
    write_frame_index(str(video))
    video.rename(tmp_path / "renamed.mp4")
    Path(f"{video}.lance").rename(tmp_path / "renamed.mp4.lance")
    index = LanceFrameIndex.open(str(tmp_path / "renamed.mp4"))
    assert index.segments[0].uri == str(tmp_path / "renamed.mp4")
    found = batch_decode([MediaRef(str(tmp_path / "renamed.mp4"), 0)], frame_index=index)
    assert np.array_equal(found[0], expected)


def test_relative_paths_are_those_of_the_writer(
    clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    shutil.copy(clip("h264_idr_mp4").path, tmp_path / "parts" / "a.mp4")
    monkeypatch.chdir(tmp_path)
    write_frame_index(str(tmp_path / "whole.mp4"), segments=["parts/a.mp4"])
    write_frame_index("parts/a.mp4")
    monkeypatch.chdir("/")
    for uri in (tmp_path / "whole.mp4", tmp_path / "parts" / "a.mp4"):
        index = LanceFrameIndex.open(str(uri))
        assert index.segments[0].uri == str(tmp_path / "parts" / "a.mp4")


@pytest.mark.parametrize("name", ["a b%20c.mp4", "ünïcode ☃.mp4", "what?#.mp4", "x.lance.mp4", "plus+&=.mp4"])
def test_odd_file_names(name: str, clip: GetClip, tmp_path: Path) -> None:
    path = Path(shutil.copy(clip("h264_idr_mp4").path, tmp_path / name))
    write_frame_index(path.as_uri())
    assert Path(f"{path}.lance").is_dir()
    assert LanceFrameIndex.open(path.as_uri()).segments[0].uri == str(path)
    mediaref_ursa.cleanup_cache()
    index = LanceFrameIndex.open(str(path))
    found = batch_decode([MediaRef(str(path), 0), MediaRef(path.as_uri(), 0)])
    assert len(index) == 48
    assert np.array_equal(found[0], found[1])


def test_a_rewritten_index_is_seen_at_once(video: Path, clip: GetClip) -> None:
    write_frame_index(str(video))
    ref = MediaRef(str(video), 0)
    first = batch_decode([ref])[0]
    shutil.copy(clip("h264_open_gop_mp4").path, video)
    write_frame_index(str(video), overwrite=True)
    second = batch_decode([MediaRef(str(video), int(linear_frames(video)[0].time * 10**9))])[0]
    assert np.array_equal(second, linear_frames(video)[0].rgb)
    assert first.shape == second.shape


def test_a_killed_writer_leaves_the_old_index_or_none(video: Path) -> None:
    script = (
        "import sys, mediaref_ursa\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    mediaref_ursa.write_frame_index(sys.argv[1], overwrite=True)\n"
    )
    frames = len(linear_frames(video))
    for attempt in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(video)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.8 + 0.037 * attempt)
            writer.send_signal(signal.SIGKILL)
        if Path(f"{video}.lance").exists():
            index = LanceFrameIndex.open(str(video))
            assert len(index) == len(index.pts_table(0)) == frames
            assert len(list((Path(f"{video}.lance") / "data").iterdir())) >= 1
