"""Warnings about indexes that are not used and frames that are lost: one for each video and process."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _cli_runner import run
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import (
    DamagedMediaWarning,
    FrameIndexWarning,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    MediaRefWarning,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._core.media_warnings import given_warnings, warn_once
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_idr_mp4").path, tmp_path / "video.mp4"))


def make_stale(video: Path, clip: GetClip) -> None:
    write_frame_index(video)
    shutil.copy(clip("h264_29_97_mp4").path, video)


def read(video: Path, t_ns: int = 0) -> None:
    batch_decode([MediaRef(str(video), t_ns)])
    cleanup_cache()


def read_often(video: Path, t_ns: int = 0) -> None:
    for _ in range(3):
        read(video, t_ns)


def test_a_stale_index_is_one_warning_of_its_own_category(video: Path, clip: GetClip) -> None:
    make_stale(video, clip)
    message = r"video\.mp4: the frame index is not used: .*--overwrite"
    with pytest.warns(FrameIndexWarning, match=message) as caught:
        read_often(video)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert issubclass(FrameIndexWarning, MediaRefWarning)
    assert issubclass(MediaRefWarning, UserWarning)


def test_an_index_that_cannot_be_read_is_one_warning(video: Path) -> None:
    write_frame_index(video)
    for manifest in Path(f"{video}.lance", "_versions").iterdir():
        manifest.write_bytes(b"no manifest")
    with pytest.warns(FrameIndexWarning, match="the frame index is not used") as caught:
        read_often(video)
    assert len(caught) == 1


def test_each_video_has_a_warning_of_its_own(video: Path, clip: GetClip, tmp_path: Path) -> None:
    other = Path(shutil.copy(video, tmp_path / "other.mp4"))
    make_stale(video, clip)
    make_stale(other, clip)
    with pytest.warns(FrameIndexWarning) as caught:
        batch_decode([MediaRef(str(path), 0) for path in (video, other, video, other)])
    named = sorted(str(warning.message).partition(": ")[0] for warning in caught)
    assert named == sorted(map(str, (video, other)))


def test_decoders_warn_of_a_stale_index_too(video: Path, clip: GetClip) -> None:
    make_stale(video, clip)
    with pytest.warns(FrameIndexWarning):
        PyAVVideoDecoder(video)


def test_a_forked_process_warns_for_itself(video: Path, clip: GetClip) -> None:
    make_stale(video, clip)
    with pytest.warns(FrameIndexWarning):
        read(video)
    child = os.fork()
    if not child:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read(video)
        os._exit(0 if [w.category for w in caught] == [FrameIndexWarning] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fresh_index_is_no_warning(video: Path) -> None:
    write_frame_index(video)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_often(video)


def test_a_warning_shows_no_secret_and_comes_once() -> None:
    uri = "https://me:secret@host/a.mp4?signature=2"
    with pytest.warns(FrameIndexWarning) as caught:
        [warn_once(FrameIndexWarning, "message", uri=uri) for _ in range(3)]
    assert [str(warning.message) for warning in caught] == ["https://host/a.mp4: message"]
    given_warnings.forget()
    with pytest.warns(FrameIndexWarning):
        warn_once(FrameIndexWarning, "message", uri=uri)


@pytest.fixture
def joined(clip: GetClip, tmp_path: Path) -> Path:
    """A transport stream and another, laid end to end: the second begins at the time of the first."""
    path = tmp_path / "joined.ts"
    path.write_bytes(clip("h264_ts").path.read_bytes() + clip("h264_open_gop_ts").path.read_bytes())
    return path


def test_frames_whose_time_is_repeated_are_counted_and_warned_of(joined: Path) -> None:
    shown = linear_frames(joined)
    message = r"\d+ frames are never displayed: other frames have their times"
    with pytest.warns(DamagedMediaWarning, match=message):
        index = write_frame_index(joined)
    info = LanceFrameIndex.open(joined).segments[0]
    assert info.repeated_times == index.segments[0].repeated_times
    assert info.repeated_times + len(shown) == 96
    report = json.loads(run("inspect", joined, "--json").stdout)
    assert report["repeated_times"] == info.repeated_times > 40
    assert (
        f"repeated times            {info.repeated_times}, never displayed" in run("inspect", joined).stdout
    )
    result = run("index", "--overwrite", joined)
    assert f"{info.repeated_times} frames are never displayed: other frames have their times" in result.stderr
    assert run("index", "--strict", joined).exit_code == 1


def test_without_an_index_repeated_times_are_one_warning(joined: Path) -> None:
    with pytest.warns(DamagedMediaWarning, match="frames are never displayed") as caught:
        read_often(joined, 10**9)
    assert len(caught) == 1


def test_metadata_of_joined_streams_agree_with_the_frames(joined: Path) -> None:
    shown = linear_frames(joined)
    decoder = PyAVVideoDecoder(joined)
    metadata = decoder.metadata
    assert metadata.num_frames == len(decoder) == len(shown)
    assert metadata.begin_stream_seconds == shown[0].time
    assert metadata.end_stream_seconds == shown[-1].end
    assert metadata.average_rate == metadata.num_frames / metadata.duration_seconds
    frames = decoder.get_frames_at(list(range(len(shown))))
    assert np.allclose(frames.pts_seconds, [float(frame.time) for frame in shown], rtol=0, atol=1e-9)
    assert len(LazyVideo(joined)) == len(shown)


def test_frames_of_one_time_in_matroska_are_counted(clip: GetClip) -> None:
    assert scan_frame_index(clip("h264_duplicate_pts_mkv").path).segments[0].repeated_times == 3
    assert scan_frame_index(clip("h264_mkv").path).segments[0].repeated_times == 0
