"""Collections that are found without being named: in which order, by whom, and how far up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames
from _s3 import new_bucket

import mediaref_ursa
from mediaref_ursa import (
    CollectionIndex,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexWarning,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._index.collection_table import CollectionTable
from mediaref_ursa._model.access import Access

GetClip = Callable[[str], Clip]
HIDDEN = ".mediaref/index.lance"


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "takes" / "first").mkdir(parents=True)
    for name in ("a.mp4", "takes/b.mp4", "takes/first/c.mp4"):
        shutil.copy(clip("h264_idr_mp4").path, folder / name)
    return folder


def videos_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.mp4"))


def unscanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._video.source.scan_video", lambda *_, **__: pytest.fail("scanned"))


def test_the_collection_of_a_folder_serves_all_below(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos_of(folder))
    unscanned(monkeypatch)
    expected = linear_frames(folder / "a.mp4")[0].rgb

    for frame in batch_decode([MediaRef(video, 0) for video in videos_of(folder)]):
        assert np.array_equal(frame, expected)
    for video in videos_of(folder):
        index = LanceFrameIndex.open(video)
        assert (index.location, index.place) == ("collection", str(folder / HIDDEN))
        assert LazyVideo.from_uri(video)[0].shape


def test_the_order_is_beside_hidden_collection_cache(folder: Path) -> None:
    video = str(folder / "takes" / "b.mp4")

    def location() -> str | None:
        return LanceFrameIndex.open(video).location

    write_frame_index(video, index_dir=None, hidden=True)
    CollectionIndex.open(folder / HIDDEN, create=True).add([video])
    assert location() == "hidden"
    write_frame_index(video, overwrite=True, hidden=False)
    assert location() == "beside"
    shutil.rmtree(f"{video}.lance")
    assert location() == "collection"
    shutil.rmtree(folder / ".mediaref")
    with pytest.raises(FrameIndexMissingError):
        location()


def test_the_nearest_folder_counts(folder: Path) -> None:
    video = str(folder / "takes" / "b.mp4")
    CollectionIndex.open(folder / HIDDEN, create=True).add([video])
    near = CollectionIndex.open(folder / "takes" / HIDDEN, create=True)
    with pytest.raises(FrameIndexMissingError):
        LanceFrameIndex.open(video)

    near.add([video])

    assert LanceFrameIndex.open(video).place == near.uri


def test_the_environment_names_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = videos_of(folder)
    named = CollectionIndex.open(tmp_path / "named.lance", create=True, root=folder)
    named.add(videos[:1])
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos)
    monkeypatch.setenv("MEDIAREF_URSA_INDEX", named.uri)
    unscanned(monkeypatch)

    assert LanceFrameIndex.open(videos[0]).place == named.uri
    assert LanceFrameIndex.open(videos[1]).place == str(folder / HIDDEN)
    assert len(batch_decode([MediaRef(video, 0) for video in videos])) == 3


def test_an_environment_that_names_none_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAREF_URSA_INDEX", str(folder / "none.lance"))

    with pytest.raises(FrameIndexInvalidError, match="MEDIAREF_URSA_INDEX"):
        LanceFrameIndex.open(folder / "a.mp4")
    with pytest.warns(FrameIndexWarning, match="MEDIAREF_URSA_INDEX"):
        assert batch_decode([MediaRef(str(folder / "a.mp4"), 0)])[0].shape


def test_a_stale_row_is_not_used(folder: Path, clip: GetClip) -> None:
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos_of(folder))
    shutil.copy(clip("mpeg4_mp4").path, folder / "a.mp4")

    with pytest.warns(FrameIndexWarning, match="another file"):
        frame = batch_decode([MediaRef(str(folder / "a.mp4"), 0)])[0]

    assert np.array_equal(frame, linear_frames(folder / "a.mp4")[0].rgb)


def test_rows_that_are_written_later_are_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = videos_of(folder)
    collection = CollectionIndex.open(folder / HIDDEN, create=True)
    collection.add(videos[:1])
    assert batch_decode([MediaRef(video, 0) for video in videos])
    collection.add(videos)
    unscanned(monkeypatch)

    assert batch_decode([MediaRef(video, 0) for video in videos])


def test_rows_of_a_batch_are_read_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos_of(folder))
    asked: list[int] = []
    find = CollectionTable.find

    def counted(self: CollectionTable, keys: list[str]) -> object:
        asked.append(len(keys))
        return find(self, keys)

    monkeypatch.setattr(CollectionTable, "find", counted)
    assert batch_decode([MediaRef(video, 0) for video in videos_of(folder)])

    assert asked == [3]


def test_none_is_found_outside_of_what_references_may_read(folder: Path) -> None:
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos_of(folder))
    video = str(folder / "takes" / "b.mp4")

    def location(**options: object) -> str | None:
        return LanceFrameIndex.open(video, access=Access(**options)).location  # type: ignore[arg-type]

    assert location() == "collection"
    assert location(untrusted=True, base_dir=str(folder)) == "collection"
    for options in ({"untrusted": True}, {"base_dir": str(folder / "takes")}):
        with pytest.raises(FrameIndexMissingError):
            location(**options)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_one_that_another_user_laid_down_is_not_used(folder: Path) -> None:
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos_of(folder))
    os.chown(folder / ".mediaref", 12345, 12345)

    with pytest.raises(FrameIndexMissingError):
        LanceFrameIndex.open(folder / "takes" / "b.mp4")


def test_a_writer_of_one_index_does_not_look_there(folder: Path) -> None:
    CollectionIndex.open(folder / HIDDEN, create=True).add(videos_of(folder))

    assert write_frame_index(folder / "a.mp4", if_exists="keep").location == "beside"


def test_one_in_a_bucket_serves_a_batch_with_few_requests(
    clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(monkeypatch)
    names = [f"takes/{number}.mp4" for number in range(6)]
    videos = [bucket.put(name, clip("h264_idr_mp4").path.read_bytes()) for name in names]
    options = bucket.options
    collection = CollectionIndex.open(f"s3://{bucket.name}/{HIDDEN}", create=True, storage_options=options)
    assert collection.root == f"s3://{bucket.name}"
    assert collection.add(videos, jobs=3).added == 6
    assert collection.add(videos, jobs=3).kept == 6
    assert sorted(collection) == videos
    assert collection.stale() == []
    unscanned(monkeypatch)

    named = batch_decode(
        [MediaRef(video, 0) for video in videos], frame_index=collection, storage_options=options
    )
    mediaref_ursa.cleanup_cache()
    found = batch_decode([MediaRef(video, 0) for video in videos], storage_options=options)

    expected = linear_frames(clip("h264_idr_mp4").path)[0].rgb
    assert all(np.array_equal(frame, expected) for frame in (*named, *found))
    assert LanceFrameIndex.open(videos[0], storage_options=options).location == "collection"


def test_several_writers_of_one_in_a_bucket_lose_nothing(
    clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(monkeypatch)
    data = clip("h264_one_frame_mp4").path.read_bytes()
    videos = [bucket.put(f"{number}.mp4", data) for number in range(8)]
    place = f"s3://{bucket.name}/set.lance"

    def add(some: list[str]) -> None:
        CollectionIndex.open(place, create=True, storage_options=bucket.options).add(some)

    with ThreadPoolExecutor(3) as pool:
        for task in [pool.submit(add, some) for some in (videos[:5], videos[3:], videos[::-1])]:
            task.result()

    collection = CollectionIndex.open(place, storage_options=bucket.options)
    assert sorted(collection) == videos
    collection.compact()
    assert sorted(collection.get_many(videos)) == videos
