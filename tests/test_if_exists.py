"""``write_frame_index(if_exists=)``: written twice without an error, and nothing lost unasked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _http_server import ObjectServer
from _media import Clip

from mediaref_ursa import (
    FrameIndexExistsError,
    FrameIndexInvalidError,
    FrameIndexStaleError,
    FrameIndexVersionError,
    LanceFrameIndex,
    MediaNotFoundError,
    write_frame_index,
)

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, tmp_path / "video.mp4"))


@pytest.fixture
def other(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "other.mp4"))


def version(video: Path) -> int:
    return int(lance.dataset(f"{video}.lance").version)


def test_keep_writes_what_is_missing_and_keeps_what_is_fresh(video: Path) -> None:
    first = write_frame_index(video, if_exists="keep")
    second = write_frame_index(video, if_exists="keep")

    assert version(video) == 1
    assert (len(first), len(second)) == (48, 48)
    assert second.place == f"{video}.lance"
    assert second.pts_table(0).tolist() == first.pts_table(0).tolist()


def test_error_is_the_default(video: Path) -> None:
    write_frame_index(video)

    for options in ({}, {"if_exists": "error"}, {"overwrite": False}):
        with pytest.raises(FrameIndexExistsError, match="if_exists='keep'"):
            write_frame_index(video, **options)


def test_replace_is_overwrite(video: Path) -> None:
    write_frame_index(video)
    write_frame_index(video, if_exists="replace")
    write_frame_index(video, overwrite=True)
    write_frame_index(video, overwrite=True, if_exists="replace")

    assert version(video) == 4


@pytest.mark.parametrize("options", [{"if_exists": "keep"}, {"if_exists": "error"}])
def test_overwrite_contradicts_the_others(video: Path, options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="overwrite"):
        write_frame_index(video, overwrite=True, **options)


@pytest.mark.parametrize("word", ["Keep", "", "overwrite", True, 5])
def test_another_word_is_refused(video: Path, word: object) -> None:
    with pytest.raises(ValueError, match="expected if_exists to be 'error', 'keep' or 'replace', found"):
        write_frame_index(video, if_exists=word)


def test_keep_rebuilds_what_is_stale(video: Path, other: Path) -> None:
    write_frame_index(video)
    shutil.copy(other, video)

    assert len(write_frame_index(video, if_exists="keep")) == 70
    assert len(LanceFrameIndex.open(video)) == 70


@pytest.mark.parametrize("number", [(99, 0), (1, 0)])
def test_keep_loses_neither_a_newer_nor_a_damaged_index(
    video: Path, number: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mediaref_ursa._model.index_metadata.VERSION", number)
        write_frame_index(video)
    if number == (1, 0):
        for path in Path(f"{video}.lance", "data").iterdir():
            path.write_bytes(b"nonsense")
    kind = FrameIndexVersionError if number == (99, 0) else FrameIndexInvalidError

    with pytest.raises(kind, match="if_exists='replace'"):
        write_frame_index(video, if_exists="keep")
    assert len(write_frame_index(video, if_exists="replace")) == 48


def test_keep_does_not_touch_a_lance_table_of_somebody_else(video: Path) -> None:
    lance.write_dataset(pa.table({"mine": [1, 2, 3]}), f"{video}.lance")

    with pytest.raises(FrameIndexInvalidError, match="if_exists='replace'"):
        write_frame_index(video, if_exists="keep")
    assert lance.dataset(f"{video}.lance").to_table().column("mine").to_pylist() == [1, 2, 3]


def test_keep_loses_no_timestamps_of_a_clock(video: Path, other: Path) -> None:
    clock = np.arange(48) / 7
    write_frame_index(video, timestamps=clock, if_exists="keep")
    assert write_frame_index(video, if_exists="keep").timestamps().tolist() == clock.tolist()
    assert (
        write_frame_index(video, timestamps=clock, if_exists="keep").timestamps().tolist() == clock.tolist()
    )
    assert version(video) == 1

    shutil.copy(other, video)
    with pytest.raises(FrameIndexStaleError, match="its timestamps were given by its writer"):
        write_frame_index(video, if_exists="keep")
    written = write_frame_index(video, timestamps=np.arange(70) / 9, if_exists="keep")
    assert written.timestamps()[1] == 1 / 9


def test_keep_with_other_timestamps_writes_them(video: Path) -> None:
    write_frame_index(video)
    clock = np.arange(48) / 7

    assert (
        write_frame_index(video, timestamps=clock, if_exists="keep").timestamps().tolist() == clock.tolist()
    )
    assert LanceFrameIndex.open(video).timestamps().tolist() == clock.tolist()


def test_keep_with_other_segments_writes_them(video: Path, other: Path) -> None:
    write_frame_index(video)
    whole = [str(video), str(other)]

    assert len(write_frame_index(video, segment_uris=whole, if_exists="keep")) == 118
    assert len(write_frame_index(video, segment_uris=whole, if_exists="keep")) == 118
    assert version(video) == 2
    assert len(write_frame_index(video, if_exists="keep")) == 118  # what it is made of is known
    shutil.copy(video, other)
    assert len(write_frame_index(video, if_exists="keep")) == 96


def test_keep_with_another_stream_writes_it(video: Path) -> None:
    write_frame_index(video)
    assert write_frame_index(video, stream_index=0, if_exists="keep").segments[0].stream_index == 0
    assert write_frame_index(video, if_exists="keep").segments[0].stream_index == 0
    assert version(video) == 2


def test_keep_in_a_directory_for_indexes(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "indexes"
    for _ in range(2):
        index = write_frame_index(video, index_dir=folder, if_exists="keep")
        assert len(index) == 48
    assert len(list(folder.iterdir())) == 1
    assert not Path(f"{video}.lance").exists()
    assert lance.dataset(index.place).version == 1


def test_keep_of_a_video_on_a_web_server(
    clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    with ObjectServer({"/a.mp4": clip("h264_pyramid_mp4").path.read_bytes()}) as server:
        first = write_frame_index(server.url("/a.mp4?sig=1"), if_exists="keep")
        second = write_frame_index(server.url("/a.mp4?sig=2"), if_exists="keep")
    assert first.place == second.place
    assert lance.dataset(first.place).version == 1


def test_keep_of_nothing_is_the_error_of_writing(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        write_frame_index(tmp_path / "none.mp4", if_exists="keep")


def test_keep_of_segments_that_have_no_index_yet(video: Path, other: Path) -> None:
    whole = [video, other]
    for _ in range(2):
        assert len(write_frame_index(video, segment_uris=whole, if_exists="keep")) == 118
        assert len(write_frame_index(video, if_exists="keep")) == 118
    assert version(video) == 1
    assert len(write_frame_index(video, segment_uris=[other, video, other], if_exists="keep")) == 188
    shutil.copy(video, other)
    assert len(write_frame_index(video, if_exists="keep")) == 144


def test_keep_of_a_recording_whose_name_is_no_file(video: Path, other: Path) -> None:
    name = video.with_name("left.mp4")
    for _ in range(2):
        assert len(write_frame_index(name, segments=[video, other], if_exists="keep")) == 118
        assert len(write_frame_index(name, if_exists="keep")) == 118
    assert version(name) == 1
    assert len(write_frame_index(name, segments=[other, video, other], if_exists="keep")) == 188
    shutil.copy(video, other)
    assert len(write_frame_index(name, if_exists="keep")) == 144
