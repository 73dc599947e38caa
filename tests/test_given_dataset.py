"""``LanceFrameIndex`` over a table that the caller opened, and the calls that programs of before make."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pytest
from _media import Clip

from mediaref_ursa import (
    Access,
    FrameIndexInvalidError,
    IndexLimits,
    LanceFrameIndex,
    LazyVideo,
    LimitExceededError,
    write_frame_index,
)
from mediaref_ursa.store import LocalStore

GetClip = Callable[[str], Clip]


@pytest.fixture
def path(clip: GetClip, tmp_path: Path) -> str:
    found = str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "video.mp4"))
    write_frame_index(found)
    return found


def test_a_given_table_is_the_opened_one(path: str) -> None:
    given = LanceFrameIndex(lance.dataset(f"{path}.lance"), path)
    opened = LanceFrameIndex.open(path)
    assert (given.uri, given.place) == (opened.uri, opened.place)
    assert given.segments == opened.segments
    assert given.timestamps().tolist() == opened.timestamps().tolist()
    video = LazyVideo(path, frame_index=pickle.loads(pickle.dumps(given)))
    assert np.array_equal(video[5:9], LazyVideo.from_uri(path)[5:9])


def test_a_given_table_stays_in_its_version(path: str) -> None:
    dataset = lance.dataset(f"{path}.lance")
    write_frame_index(path, if_exists="replace", timestamps=np.arange(70) / 10)
    given = LanceFrameIndex(dataset, path)
    assert given.timestamps()[1] == pytest.approx(1001 / 30000)
    assert LanceFrameIndex.open(path).timestamps()[1] == pytest.approx(0.1)


def test_a_table_of_the_four_base_columns(path: str, tmp_path: Path) -> None:
    table = lance.dataset(f"{path}.lance").to_table(
        columns=["segment_idx", "local_frame_idx", "pts", "timestamp"]
    )
    dataset = lance.write_dataset(table.replace_schema_metadata(None), str(tmp_path / "base.lance"))
    given = LanceFrameIndex(dataset, path)
    assert not given.has_packets
    assert given.pts_table(0).tolist() == LanceFrameIndex.open(path).pts_table(0).tolist()


def test_a_given_table_is_checked_as_an_opened_one(path: str, tmp_path: Path) -> None:
    dataset = lance.dataset(f"{path}.lance")
    other = lance.write_dataset(dataset.to_table(columns=["pts"]), str(tmp_path / "other.lance"))
    with pytest.raises(FrameIndexInvalidError, match="expected the columns"):
        LanceFrameIndex(other, path)
    with pytest.raises(LimitExceededError):
        LanceFrameIndex(dataset, path, access=Access(index_limits=IndexLimits(max_packets=3)))
    with pytest.raises(
        TypeError, match=r"expected a lance\.LanceDataset, found str; .*LanceFrameIndex\.open"
    ):
        LanceFrameIndex(f"{path}.lance", path)  # type: ignore[arg-type]


def test_the_store_stands_in_second_place(path: str) -> None:
    assert len(LanceFrameIndex.open(path, LocalStore())) == len(
        LanceFrameIndex.open(path, store=LocalStore())
    )


def test_metadata_is_a_property_and_may_be_set(path: str) -> None:
    video = LazyVideo.from_uri(path, metadata={"subject": "m1"})
    assert isinstance(LazyVideo.metadata, property)
    assert video.lazy_slice(0.0, 1.0).metadata is video.metadata
    video.metadata = 7
    assert (video.metadata, video.lazy_slice(0.0, 1.0).metadata) == (7, 7)
    assert pickle.loads(pickle.dumps(video)).metadata == 7


def test_concat_is_a_classmethod_of_subclasses_too(path: str) -> None:
    class Camera(LazyVideo):
        pass

    videos = [Camera.from_uri(path).lazy_slice(0.0, 0.5), Camera.from_uri(path).lazy_slice(1.0, 1.5)]
    joined = Camera.concat(videos)
    assert isinstance(joined, Camera)
    assert len(joined) == sum(map(len, videos))


def test_segments_are_found_by_numbers_in_the_whole_video(path: str) -> None:
    video = LazyVideo.from_segments([path, path], uri="session/camera")
    window = video.lazy_slice(float(video.timestamps[60]), float(video.timestamps[80]))
    count = int(video.segment_frame_counts[0])
    for number in (*window.frame_indices.tolist(), 0, len(video) - 1):
        assert window._segment_for_frame(number) == divmod(number, count)
    for number in (-1, len(video)):
        with pytest.raises(IndexError, match="expected a frame of the whole video, 0 to"):
            window._segment_for_frame(number)
