"""A packed table is its own collection: indexes found without being named, and the URIs of its videos."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames
from _s3 import Bucket, new_bucket

from mediaref_ursa import (
    CollectionIndex,
    FrameIndexInvalidError,
    FrameIndexStaleError,
    LanceFrameIndex,
    LazyVideo,
    MediaChangedError,
    MediaRef,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    blob_uri,
    cleanup_cache,
    pack_videos,
    plan_decode,
    write_frame_index,
)

GetClip = Callable[[str], Clip]
NAMES = ["h264_pyramid_mp4", "mpeg4_avi", "vp8_webm"]


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    for name in NAMES:
        path = clip(name).path
        (tmp_path / "in" / "a b").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "in" / "a b" / f"{name}%{path.suffix}")
    shutil.copy(clip(NAMES[0]).path, tmp_path / "in" / "first.mp4")
    return tmp_path / "in"


@pytest.fixture
def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def no_scan(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make every scan from now on an error."""

    def begin() -> None:
        def scan(*_: Any, **__: Any) -> None:
            raise AssertionError("a video was scanned")

        monkeypatch.setattr("mediaref_ursa._video.source.scan_video", scan)
        cleanup_cache()

    return begin


def assert_exact(uri: str, path: Path, **options: Any) -> None:
    frames = linear_frames(path)
    found = batch_decode([MediaRef(uri, round(frame.time * 10**9)) for frame in frames], **options)
    for a, b in zip(found, frames, strict=True):
        np.testing.assert_array_equal(a, b.rgb)


def test_it_yields_the_uris_that_references_use(files: list[Path], tmp_path: Path) -> None:
    uris = pack_videos(files, tmp_path / "set.lance", jobs=2)
    collection = CollectionIndex.open(tmp_path / "set.lance")

    assert len(collection) == len(files)
    assert sorted(collection) == sorted(uris)
    assert collection.missing([*uris, uris[0] + "x"]) == [uris[0] + "x"]
    assert collection.stale() == []
    for uri, path in zip(uris, files, strict=True):
        assert len(collection.get(uri)) == len(linear_frames(path))


@pytest.mark.parametrize("untrusted", [False, True])
def test_the_table_alone_is_enough(
    files: list[Path], tmp_path: Path, no_scan: Callable[[], None], untrusted: bool
) -> None:
    uris = pack_videos(files, tmp_path / "set.lance")
    shutil.move(tmp_path / "set.lance", tmp_path / "moved.lance")
    no_scan()

    for uri, path in zip(uris, files, strict=True):
        moved = uri.replace("set.lance", "moved.lance")
        assert LanceFrameIndex.open(moved).location == "collection"
        assert_exact(moved, path, untrusted=untrusted)
        relative = moved.removeprefix(f"{tmp_path}/")
        assert_exact(relative, path, base_dir=tmp_path, untrusted=untrusted)
    assert len(LazyVideo.from_uri(uris[0].replace("set.lance", "moved.lance"))) > 0


def test_named_by_the_caller(files: list[Path], tmp_path: Path, no_scan: Callable[[], None]) -> None:
    uris = pack_videos(files, tmp_path / "set.lance")
    expected = batch_decode([MediaRef(str(path), 10**9) for path in files])
    no_scan()
    refs = [MediaRef(uri, 10**9) for uri in uris]
    collection = CollectionIndex.open(tmp_path / "set.lance")

    found = batch_decode(refs, frame_index=collection)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert plan_decode(refs, frame_index=collection).frames == len(refs)


def test_an_index_of_the_collection_is_of_the_version_of_its_row(files: list[Path], tmp_path: Path) -> None:
    uris = pack_videos(files, tmp_path / "set.lance")
    collection = CollectionIndex.open(tmp_path / "set.lance")
    found = collection.get_many(uris)
    assert [found[uri].segments[0].etag for uri in uris] == [
        LanceFrameIndex.open(uri).segments[0].etag for uri in uris
    ]
    assert None not in {found[uri].segments[0].etag for uri in uris}


def test_a_collection_that_is_kept_open_sees_a_row_that_was_replaced(
    files: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "set.lance"
    uri = pack_videos(files, table, keys=[f"k{number}" for number in range(len(files))])[0]
    collection = CollectionIndex.open(table)
    batch_decode([MediaRef(uri, 10**9)], frame_index=collection)
    lance.dataset(str(table)).delete("key = 'k0'")
    with pytest.raises(MediaRefError):
        batch_decode([MediaRef(uri, 10**9)], frame_index=collection)
    pack_videos([files[1]], table, keys=["k0"])

    found = batch_decode([MediaRef(uri, 10**9)], frame_index=collection)[0]
    expected = batch_decode([MediaRef(str(files[1]), 10**9)])[0]
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, batch_decode([MediaRef(str(files[0]), 10**9)])[0])


def test_an_index_next_to_a_file_is_taken(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in files:
        write_frame_index(path)

    def scan(*_: Any, **__: Any) -> None:
        raise AssertionError("a video was scanned")

    monkeypatch.setattr("mediaref_ursa._index.packed_file.scan_uri", scan)
    uris = pack_videos(files, tmp_path / "set.lance")

    for uri, path in zip(uris, files, strict=True):
        assert_exact(uri, path)


def test_a_row_that_is_replaced_has_the_index_of_its_own_media(files: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "set.lance"
    (uri,) = pack_videos(files[:1], table, keys=["a"])
    assert_exact(uri, files[0])
    lance.dataset(str(table)).delete("key = 'a'")
    pack_videos(files[1:2], table, keys=["a"])

    assert_exact(uri, files[1])


def test_what_was_opened_before_a_row_was_replaced_never_mixes_the_two(
    files: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "set.lance"
    (uri,) = pack_videos(files[:1], table, keys=["a"])
    index = LanceFrameIndex.open(uri)
    video = LazyVideo.from_uri(uri)
    assert len(video[:2]) == 2
    assert index.segments[0].etag is not None
    lance.dataset(str(table)).delete("key = 'a'")
    pack_videos(files[:1], table, keys=["a"])  # the same bytes, in another row

    with pytest.raises(MediaChangedError, match="its row was written anew"):
        _ = video[5:9]
    with pytest.raises(FrameIndexStaleError):
        batch_decode([MediaRef(uri, 10**9)], frame_index=index)
    assert_exact(uri, files[0])


def test_compaction_leaves_all_as_it_is(
    files: list[Path], tmp_path: Path, no_scan: Callable[[], None]
) -> None:
    table = tmp_path / "set.lance"
    uris = [pack_videos([path], table, keys=[str(i)])[0] for i, path in enumerate(files)]
    lance.dataset(str(table)).delete("key = '0'")
    lance.dataset(str(table)).optimize.compact_files()
    no_scan()

    assert sorted(CollectionIndex.open(table)) == sorted(uris[1:])
    for uri, path in zip(uris[1:], files[1:], strict=True):
        assert_exact(uri, path)


def test_in_a_bucket(files: list[Path], monkeypatch: pytest.MonkeyPatch, no_scan: Callable[[], None]) -> None:
    bucket: Bucket = new_bucket(monkeypatch)
    table = f"s3://{bucket.name}/sets/a b.lance"
    uris = pack_videos(files, table, storage_options=bucket.options)
    no_scan()

    assert sorted(CollectionIndex.open(table, storage_options=bucket.options)) == sorted(uris)
    for uri, path in zip(uris, files, strict=True):
        assert_exact(uri, path, storage_options=bucket.options)


class TestBadInput:
    def test_a_file_that_is_no_video(self, files: list[Path], tmp_path: Path) -> None:
        (tmp_path / "bad.mp4").write_bytes(b"no video" * 1000)
        table = tmp_path / "set.lance"
        with pytest.raises(UnsupportedMediaError) as caught:
            pack_videos([files[0], tmp_path / "bad.mp4"], table, keys=["a", "b"])
        assert caught.value.uri == str(tmp_path / "bad.mp4")
        errors: list[MediaRefError] = []
        given = [files[0], tmp_path / "bad.mp4", files[1]]
        uris = pack_videos(given, table, keys=["a", "b", "c"], on_error=errors.append)
        assert [error.uri for error in errors] == [str(tmp_path / "bad.mp4")]
        assert_exact(uris[1], files[1])
        assert lance.dataset(str(table)).count_rows() == 2

    def test_media_with_indexes_and_without(self, files: list[Path], tmp_path: Path) -> None:
        pack_videos(files[:1], tmp_path / "with.lance")
        pack_videos(files[:1], tmp_path / "without.lance", index=False)
        with pytest.raises(StoreError, match="without indexes, found one of videos"):
            pack_videos(files[1:2], tmp_path / "with.lance", index=False)
        with pytest.raises(StoreError, match="add to it with index=False"):
            pack_videos(files[1:2], tmp_path / "without.lance")
        with pytest.raises(ValueError, match="other names than those of keys and media, found frames"):
            pack_videos(files[:1], tmp_path / "third.lance", columns={"frames": [1]})

    def test_a_table_without_indexes_is_no_collection(self, files: list[Path], tmp_path: Path) -> None:
        (uri,) = pack_videos(files[:1], tmp_path / "set.lance", index=False)
        with pytest.raises(FrameIndexInvalidError, match="no collection of frame indexes"):
            CollectionIndex.open(tmp_path / "set.lance")
        assert_exact(uri, files[0])

    def test_a_damaged_index_is_not_used(self, files: list[Path], tmp_path: Path) -> None:
        """The video is scanned instead, with a warning."""
        import pyarrow as pa

        table = tmp_path / "set.lance"
        (uri,) = pack_videos(files[:1], table, keys=["a"])
        lance.dataset(str(table)).update({"segment": "cast('x' as binary)"})
        assert isinstance(lance.dataset(str(table)).to_table(columns=["segment"]), pa.Table)

        with pytest.warns(Warning, match="the frame index is not used"):
            assert_exact(uri, files[0])
        with pytest.raises(MediaRefError):
            CollectionIndex.open(table).get(uri)

    def test_the_root_leads_nowhere_else(self, files: list[Path], tmp_path: Path) -> None:
        (uri,) = pack_videos(files[:1], tmp_path / "set.lance", keys=["../../x"])

        assert list(CollectionIndex.open(tmp_path / "set.lance")) == [uri]
        assert uri == blob_uri(tmp_path / "set.lance", "video", "../../x")
        assert_exact(uri, files[0], base_dir=tmp_path, untrusted=True)
