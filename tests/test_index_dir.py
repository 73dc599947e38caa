"""Indexes that cannot stand beside their videos: where they go, who finds them, and who does not."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from _http_server import Fault, ObjectServer
from _media import Clip
from _oracle import linear_frames
from _s3 import Bucket, _reset_auth, client_of, new_bucket

from mediaref_ursa import (
    FrameIndexExistsError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    LanceFrameIndex,
    MediaRef,
    StoreError,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._index.location import index_folder
from mediaref_ursa._lance.lance_calls import LanceCallError
from mediaref_ursa.layout import frame_index_name
from mediaref_ursa.store import MemoryStore

GetClip = Callable[[str], Clip]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(clip: GetClip) -> Iterator[ObjectServer]:
    with ObjectServer({"/a.mp4": clip("h264_pyramid_mp4").path.read_bytes()}) as server:
        yield server


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, folder / "video.mp4"))


# --- names ----------------------------------------------------------------------------------------------


def test_a_name_tells_versions_apart_and_no_secret() -> None:
    uri = "https://me:secret@host/a b/ünï.mp4?signature=1"
    name = frame_index_name(uri, length=5, etag='"x"')
    assert name.endswith(".lance")
    assert not any(word in name for word in ("secret", "signature", "host", "/", " "))
    assert name == frame_index_name(
        "https://host/a b/ünï.mp4?signature=2", length=5, etag='"x"', modified=3.0
    )
    others = [
        frame_index_name(uri, length=5, etag='"y"'),
        frame_index_name(uri, length=6, etag='"x"'),
        frame_index_name("https://host/b/ünï.mp4", length=5, etag='"x"'),
        frame_index_name(uri, length=5, etag='W/"x"'),
        frame_index_name(uri, length=5, etag='W/"x"', modified=3.0),
        frame_index_name(uri, length=5),
        frame_index_name(uri, length=5, modified=3.0),
        frame_index_name(uri),
    ]
    assert len({name, *others}) == 9


def test_without_a_strong_tag_the_query_may_choose_the_object() -> None:
    one, other = (frame_index_name(f"https://host/get?id={i}", length=5, modified=3.0) for i in (1, 2))
    assert one != other


def test_of_a_local_file_the_length_counts_alone() -> None:
    assert frame_index_name("/v/a.mp4", length=5, modified=1.0) == frame_index_name("/v/a.mp4", length=5)
    assert frame_index_name("/v/a.mp4", length=5) != frame_index_name("/v/a.mp4", length=6)


@pytest.mark.parametrize("uri", ["https://host/" + "x" * 500, "s3://b/...", "/v/..", "https://host/"])
def test_any_name_is_one_of_a_file(uri: str) -> None:
    name = frame_index_name(uri, length=1)
    assert len(name) < 120
    assert not name.startswith(".")
    assert os.path.basename(name) == name


def test_a_data_uri_has_no_index() -> None:
    with pytest.raises(ValueError, match="data URI"):
        frame_index_name("data:video/mp4;base64,AAAA")


# --- over http ------------------------------------------------------------------------------------------


def test_the_next_process_finds_it(server: ObjectServer, cache: Path) -> None:
    written = write_frame_index(server.url("/a.mp4?signature=1"))
    assert written.place is not None
    assert Path(written.place).parent == index_folder() == cache / "frame_indexes"
    code = (
        "import sys, json, mediaref_ursa\n"
        "index = mediaref_ursa.LanceFrameIndex.open(sys.argv[1])\n"
        "print(json.dumps([index.pts_table(0).tolist(), index.segments[0].uri, index.place]))\n"
    )
    uri = server.url("/a.mp4?signature=2")
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=True)
    pts, named, place = json.loads(done.stdout)
    assert pts == written.pts_table(0).tolist()
    assert (named, place) == (uri, written.place)


def test_frames_come_through_it(server: ObjectServer, cache: Path, clip: GetClip) -> None:
    uri = server.url("/a.mp4?signature=1")
    write_frame_index(uri)
    truth = linear_frames(clip("h264_pyramid_mp4").path)
    refs = [MediaRef(uri, round(truth[i].time * 10**9)) for i in (0, 7, 40)]
    cleanup_cache()
    for index in (None, LanceFrameIndex.open(uri)):
        for frame, i in zip(batch_decode(refs, frame_index=index), (0, 7, 40), strict=True):
            np.testing.assert_array_equal(frame, truth[i].rgb)


def test_no_file_holds_a_signature(server: ObjectServer, cache: Path) -> None:
    write_frame_index(server.url("/a.mp4?signature=SECRET").replace("//", "//me:PASSWORD@"))
    for path in (cache / "frame_indexes").rglob("*"):
        assert "SECRET" not in str(path)
        if path.is_file():
            assert b"SECRET" not in path.read_bytes()
            assert b"PASSWORD" not in path.read_bytes()


def test_another_version_of_the_object_has_none(server: ObjectServer, cache: Path, clip: GetClip) -> None:
    uri = server.url("/a.mp4")
    write_frame_index(uri)
    server.put("/a.mp4", clip("h264_29_97_mp4").path.read_bytes())
    with pytest.raises(FrameIndexMissingError):
        LanceFrameIndex.open(uri)
    write_frame_index(uri)
    assert len(LanceFrameIndex.open(uri)) == 70


@pytest.mark.parametrize(
    "headers", [{"ETag": 'W/"1"'}, {"ETag": ""}, {"ETag": "", "Last-Modified": ""}], ids=str
)
def test_objects_without_a_strong_tag(
    headers: dict[str, str], server: ObjectServer, cache: Path, clip: GetClip
) -> None:
    server.always = Fault(headers=headers)
    uri = server.url("/a.mp4")
    write_frame_index(uri)
    assert len(LanceFrameIndex.open(uri)) == 48
    server.put("/a.mp4", clip("h264_29_97_mp4").path.read_bytes())
    with pytest.raises(FrameIndexMissingError):
        LanceFrameIndex.open(uri)


def test_one_that_stands_there_is_replaced_only_when_asked(server: ObjectServer, cache: Path) -> None:
    uri = server.url("/a.mp4")
    write_frame_index(uri)
    seen = len(server.seen)
    with pytest.raises(FrameIndexExistsError, match="overwrite=True"):
        write_frame_index(uri)
    assert len(server.seen) == seen + 1  # nothing was scanned in vain
    write_frame_index(uri, overwrite=True)


def test_nothing_is_found_where_nothing_stands(server: ObjectServer, cache: Path) -> None:
    for uri in (server.url("/a.mp4"), server.url("/none.mp4")):
        with pytest.raises(FrameIndexMissingError):
            LanceFrameIndex.open(uri)
    assert not (cache / "frame_indexes").exists()


def test_a_server_that_is_down_is_told(cache: Path) -> None:
    with pytest.raises(StoreError):
        LanceFrameIndex.open("http://127.0.0.1:9/a.mp4")


def test_an_index_that_describes_another_file_is_not_used(
    server: ObjectServer, cache: Path, clip: GetClip
) -> None:
    uri = server.url("/a.mp4")
    place = write_frame_index(uri).place
    assert place is not None
    server.put("/a.mp4", clip("h264_29_97_mp4").path.read_bytes())
    other = write_frame_index(uri).place
    assert other is not None
    shutil.rmtree(other)
    shutil.copytree(place, other)
    with pytest.raises(FrameIndexStaleError):
        LanceFrameIndex.open(uri)


# --- the folder -----------------------------------------------------------------------------------------


def test_the_folder_is_its_users_alone(server: ObjectServer, cache: Path) -> None:
    write_frame_index(server.url("/a.mp4"))
    for folder in (cache, cache / "frame_indexes"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_in_is_not_believed(server: ObjectServer, cache: Path) -> None:
    write_frame_index(server.url("/a.mp4"))
    (cache / "frame_indexes").chmod(0o777)
    with pytest.raises(StoreError, match="only you"):
        LanceFrameIndex.open(server.url("/a.mp4"))
    with pytest.raises(StoreError, match="only you"):
        write_frame_index(server.url("/a.mp4"), overwrite=True)


def test_a_folder_that_cannot_be_made_names_the_way_out(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "0")
    with pytest.raises(StoreError, match="index_dir="):
        write_frame_index(server.url("/a.mp4"))


def test_emptying_the_segment_cache_keeps_indexes(server: ObjectServer, cache: Path) -> None:
    from mediaref_ursa._cache.settings import shared_range_cache

    write_frame_index(server.url("/a.mp4"))
    shared_range_cache().clear()
    assert len(LanceFrameIndex.open(server.url("/a.mp4"))) == 48


# --- places that take no files ----------------------------------------------------------------------------


def test_beside_a_read_only_file(video: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mediaref_ursa._index.lance_table.os.access", lambda path, mode: path != video.parent)
        written = write_frame_index(video)
    assert written.place is not None
    assert Path(written.place).parent == cache / "frame_indexes"
    assert not Path(f"{video}.lance").exists()
    opened = LanceFrameIndex.open(video)
    assert opened.place == written.place
    assert opened.segments[0].uri == str(video)
    assert batch_decode([MediaRef(str(video), 0)], frame_index=opened)[0].shape == (64, 96, 3)
    os.utime(video, (0, 0))
    assert LanceFrameIndex.open(video).place == written.place


@pytest.mark.parametrize("reason", ["Permission denied (os error 13)", "Read-only file system (os error 30)"])
def test_what_lance_says_of_a_read_only_place(
    reason: str, video: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediaref_ursa._index import lance_table

    write = lance_table.write

    def refuse(place: str, *arguments: object, **options: object) -> None:
        if place.startswith(str(video)):
            raise LanceCallError(f"LanceError(IO): {reason}")
        write(place, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(lance_table, "write", refuse)
    assert write_frame_index(video).place != f"{video}.lance"
    assert len(LanceFrameIndex.open(video)) == 48


def test_one_beside_the_video_is_found_first(
    video: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mediaref_ursa._index.lance_table.os.access", lambda path, mode: path != video.parent)
        elsewhere = write_frame_index(video).place
    beside = write_frame_index(video).place
    assert LanceFrameIndex.open(video).place == beside == f"{video}.lance"
    assert LanceFrameIndex.open_elsewhere(video).place == elsewhere


def test_a_read_only_bucket(clip: GetClip, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(monkeypatch)
    uri = bucket.put("takes/a.mp4", clip("h264_pyramid_mp4").path.read_bytes())
    with reading_only(bucket) as options:
        written = write_frame_index(uri, storage_options=options)
        assert written.place is not None
        assert Path(written.place).parent == cache / "frame_indexes"
        assert LanceFrameIndex.open(uri, storage_options=options).place == written.place
    assert bucket.list_keys() == ["takes/a.mp4"]


@contextmanager
def reading_only(bucket: Bucket) -> Iterator[dict[str, object]]:
    """Let the server check signatures for a while; give options that may read and list only."""
    iam, user = client_of("iam", bucket.endpoint_url), f"reader-of-{bucket.name}"
    iam.create_user(UserName=user)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    reads = [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}]
    document = json.dumps({"Version": "2012-10-17", "Statement": reads})
    iam.put_user_policy(UserName=user, PolicyName="read", PolicyDocument=document)
    before = _reset_auth(bucket.endpoint_url, "0")
    try:
        yield {**bucket.options, "key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    finally:
        _reset_auth(bucket.endpoint_url, before)


# --- a directory that the caller names ----------------------------------------------------------------------


def test_a_directory_of_indexes(video: Path, server: ObjectServer, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "indexes"
    for uri in (str(video), server.url("/a.mp4")):
        place = write_frame_index(uri, index_dir=folder).place
        assert place is not None
        assert Path(place).parent == folder
        assert LanceFrameIndex.open(uri, index_dir=folder).place == place
        assert LanceFrameIndex.open(uri, index_dir=str(folder)).segments[0].uri == uri
        with pytest.raises(FrameIndexMissingError):
            LanceFrameIndex.open(uri)
        with pytest.raises(FrameIndexExistsError):
            write_frame_index(uri, index_dir=folder)
        with pytest.raises(FrameIndexMissingError):
            LanceFrameIndex.open(uri, index_dir=tmp_path)
    assert not cache.exists() or not (cache / "frame_indexes").exists()
    assert not Path(f"{video}.lance").exists()


def test_a_directory_of_indexes_in_a_bucket(
    server: ObjectServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(monkeypatch)
    uri, folder = server.url("/a.mp4?signature=1"), f"s3://{bucket.name}/indexes/"
    place = write_frame_index(uri, index_dir=folder, storage_options=bucket.options).place
    assert place is not None
    assert place.startswith(folder)
    opened = LanceFrameIndex.open(uri, index_dir=folder, storage_options=bucket.options)
    assert (opened.place, opened.segments[0].uri, len(opened.pts_table(0))) == (place, uri, 48)


def test_a_video_of_several_files(clip: GetClip, tmp_path: Path) -> None:
    parts = [str(clip(name).path) for name in ("h264_pyramid_mp4", "h264_29_97_mp4")]
    name = str(tmp_path / "no such file")
    write_frame_index(name, segments=parts, index_dir=tmp_path / "indexes")
    opened = LanceFrameIndex.open(name, index_dir=tmp_path / "indexes")
    assert [info.uri for info in opened.segments] == parts
    assert opened.segment_frame_counts().tolist() == [48, 70]


def test_a_store_of_the_callers(clip: GetClip, tmp_path: Path) -> None:
    store = MemoryStore({"memory-video": clip("h264_pyramid_mp4").path.read_bytes()})
    place = write_frame_index("memory-video", store=store, index_dir=tmp_path).place
    opened = LanceFrameIndex.open("memory-video", store=store, index_dir=tmp_path)
    assert opened.place == place
    opened.check_fresh(0, store.head("memory-video"))
