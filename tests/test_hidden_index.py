"""Indexes in the folder ``.mediaref`` next to their videos: written, found, renewed, moved, and listed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lance
import numpy as np
import pytest
from _cli_runner import run
from _fault_server import FaultServer
from _lance_tables import change_data_file, renamed
from _media import Clip
from _oracle import linear_frames
from _s3 import ACCESS_KEY, SECRET_KEY, Bucket, new_bucket

import mediaref_ursa
from mediaref_ursa import (
    FrameIndexExistsError,
    FrameIndexInvalidError,
    FrameIndexStaleError,
    FrameIndexWarning,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._index.found import DAMAGED, FRESH, STALE, find_index
from mediaref_ursa._model.access import Access
from mediaref_ursa.layout import hidden_frame_index_uri, lance_frame_index_uri
from mediaref_ursa.store._glob import names_one_video, videos_named
from mediaref_ursa.store._location import Location

GetClip = Callable[[str], Clip]


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    cleanup_cache()
    yield
    cleanup_cache()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def video(clip: GetClip, tmp_path: Path, cache: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, folder / "a b.mp4"))


@pytest.fixture
def other(clip: GetClip) -> Path:
    return clip("h264_idr_mp4").path


def hidden(video: Path) -> Path:
    return video.parent / ".mediaref" / f"{video.name}.lance"


def sidecar(video: Path) -> Path:
    return video.with_name(f"{video.name}.lance")


def names_beside(video: Path) -> set[str]:
    return {path.name for path in video.parent.iterdir()} - {video.name}


def first_frame(video: Path | str, **options: object) -> np.ndarray:
    cleanup_cache()
    frame = batch_decode([MediaRef(str(video), 0)], **options)[0]  # type: ignore[call-overload]
    assert isinstance(frame, np.ndarray)
    return frame


def state_of(video: Path) -> tuple[str, str | None]:
    found = find_index(Location(str(video)))
    return found.state, found.location


def no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mediaref_ursa._video.source.scan_video", lambda *_, **__: pytest.fail("the video was scanned")
    )


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "index"),
    [
        ("a.mp4", ".mediaref/a.mp4.lance"),
        ("./a.mp4", "./.mediaref/a.mp4.lance"),
        ("/a.mp4", "/.mediaref/a.mp4.lance"),
        ("takes/what?#.mp4", "takes/.mediaref/what?#.mp4.lance"),
        ("file:///data/a%20b.mp4?x=/y", "file:///data/.mediaref/a%20b.mp4.lance"),
        ("file:a.mp4", "file:.mediaref/a.mp4.lance"),
        ("s3://bucket/a.mp4", "s3://bucket/.mediaref/a.mp4.lance"),
        ("https://host/v/a.mp4?sig=1/2#t", "https://host/v/.mediaref/a.mp4.lance"),
    ],
)
def test_where_it_stands(uri: str, index: str) -> None:
    assert hidden_frame_index_uri(uri) == index


@pytest.mark.parametrize("uri", ["data:video/mp4;base64,AAAA", "s3://bucket", "https://host"])
def test_what_is_in_no_folder_has_none(uri: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        hidden_frame_index_uri(uri)


def test_the_words_are_documented() -> None:
    text = mediaref_ursa.layout.__doc__ or ""
    assert all(f"``{word}``" in text for word in ("beside", "hidden", "cache", "index_dir"))


# --- written and found ------------------------------------------------------------------------------------


def test_nothing_else_is_written_and_every_reader_finds_it(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_frame_index(video, hidden=True)
    assert (written.place, written.location) == (str(hidden(video)), "hidden")
    assert names_beside(video) == {".mediaref"}
    no_scan(monkeypatch)
    opened = LanceFrameIndex.open(video)
    assert (opened.place, opened.location) == (written.place, "hidden")
    assert opened.segments == written.segments
    frames = linear_frames(video)
    np.testing.assert_array_equal(first_frame(video), frames[0].rgb)
    np.testing.assert_array_equal(first_frame(video, untrusted=True), frames[0].rgb)
    np.testing.assert_array_equal(first_frame(video.name, base_dir=str(video.parent)), frames[0].rgb)
    lazy = LazyVideo.from_uri(video, channel_format="NHWC")
    np.testing.assert_array_equal(lazy[3], frames[3].rgb)
    by_its_name = LanceFrameIndex.open(hidden(video))
    assert (by_its_name.uri, by_its_name.location) == (str(video), "hidden")
    assert batch_decode([MediaRef(str(video), 0)], frame_index=by_its_name)[0].shape == (64, 96, 3)
    named = LazyVideo(video, frame_index=hidden(video))
    assert len(named) == len(frames)


def test_a_relative_path(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(video.parent)
    written = write_frame_index(video.name, hidden=True)
    assert written.place == str(hidden(video))
    assert LanceFrameIndex.open(f".mediaref/{video.name}.lance").uri == str(video)


def test_words_for_the_other_locations(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_frame_index(video, index_dir=tmp_path / "many").location == "index_dir"
    assert LanceFrameIndex.open(video, index_dir=tmp_path / "many").location == "index_dir"
    with monkeypatch.context() as patch:
        patch.setattr("mediaref_ursa._index.lance_table.os.access", lambda path, mode: path != video.parent)
        assert write_frame_index(video).location == "cache"
    assert LanceFrameIndex.open(video).location == "cache"
    assert state_of(video) == (FRESH, "cache")
    assert json.loads(run("inspect", "--json", video).stdout)["location"] == "cache"
    assert write_frame_index(video).location == "beside"
    assert LanceFrameIndex.open(video).location == "beside"


def test_the_sidecar_comes_first_where_both_stand(video: Path) -> None:
    write_frame_index(video, hidden=True)
    shutil.copytree(hidden(video), sidecar(video))
    assert LanceFrameIndex.open(video).location == "beside"
    assert state_of(video) == (FRESH, "beside")


def test_a_sidecar_that_is_moved_by_hand_is_the_same_index(video: Path) -> None:
    before = write_frame_index(video)
    hidden(video).parent.mkdir()
    sidecar(video).rename(hidden(video))
    opened = LanceFrameIndex.open(video)
    assert opened.segments == before.segments
    assert opened.location == "hidden"


def test_a_folder_is_moved_and_a_video_renamed_with_its_index(video: Path, tmp_path: Path) -> None:
    write_frame_index(video, hidden=True)
    moved = tmp_path / "elsewhere"
    video.parent.rename(moved)
    assert state_of(moved / video.name) == (FRESH, "hidden")
    renamed_video = moved / "b.mp4"
    (moved / video.name).rename(renamed_video)
    hidden(moved / video.name).rename(hidden(renamed_video))
    assert state_of(renamed_video) == (FRESH, "hidden")


def test_a_recording_of_several_files(video: Path, other: Path, tmp_path: Path) -> None:
    second = Path(shutil.copy(other, video.parent / "second.mp4"))
    far = tmp_path / "far"
    far.mkdir()
    third = Path(shutil.copy(other, far / "third.mp4"))
    parts = [str(video), str(second), str(third)]
    name = video.parent / "session"
    for uri, given in ((video, {"segment_uris": parts[1:]}), (name, {"segments": parts})):
        written = write_frame_index(uri, hidden=True, **given)  # type: ignore[arg-type]
        assert written.location == "hidden"
        opened = LanceFrameIndex.open(uri)
        assert [info.uri for info in opened.segments] == parts
    whole = LazyVideo.from_uri(name, channel_format="NHWC")
    assert len(whole) == 48 + 2 * len(linear_frames(second))
    np.testing.assert_array_equal(whole[48], linear_frames(second)[0].rgb)
    assert run("index", name).stdout.startswith(f"{name}: fresh, kept")
    text = lance.dataset(str(hidden(name))).schema.metadata[b"mediaref_ursa"]
    assert [part["uri"] for part in json.loads(text)["segments"]] == [
        video.name,
        "second.mp4",
        "../far/third.mp4",
    ]


def test_untrusted_indexes_name_files_in_the_folder_of_their_video(video: Path, other: Path) -> None:
    """As a sidecar may: the folder is that of the video, and not ``.mediaref`` alone."""
    second = Path(shutil.copy(other, video.parent / "second.mp4"))
    write_frame_index(video, segment_uris=[second], hidden=True)
    frames = batch_decode([MediaRef(str(video), 0)], untrusted=True)
    np.testing.assert_array_equal(frames[0], linear_frames(video)[0].rgb)


def test_hidden_and_a_directory_of_the_callers_contradict(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hidden=True or index_dir="):
        write_frame_index(video, hidden=True, index_dir=tmp_path)
    assert run("index", "--hidden", "--index-dir", tmp_path, video).exit_code == 2


def test_where_the_folder_cannot_be_made(video: Path, cache: Path) -> None:
    (video.parent / ".mediaref").write_text("in the way")
    written = write_frame_index(video, hidden=True)
    assert written.location == "cache"
    assert LanceFrameIndex.open(video).location == "cache"


@pytest.mark.parametrize("name", ["?#%20.mp4", "ümlaut 'x'.mp4", ".dot.mp4", "x.lance.mp4", " .mp4"])
def test_odd_names(name: str, video: Path) -> None:
    odd = video.rename(video.with_name(name))
    write_frame_index(odd, hidden=True)
    assert state_of(odd) == (FRESH, "hidden")
    np.testing.assert_array_equal(first_frame(odd), linear_frames(odd)[0].rgb)


def test_a_name_that_no_table_can_have(video: Path) -> None:
    odd = video.rename(video.with_name("a\nb.mp4"))
    assert write_frame_index(odd, hidden=True).location == "cache"


# --- one that stands there --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("then", [True, False, None])
def test_an_index_in_either_location_is_there_already(first: bool, then: bool | None, video: Path) -> None:
    write_frame_index(video, hidden=first)
    with pytest.raises(FrameIndexExistsError) as caught:
        write_frame_index(video, hidden=then)
    assert caught.value.uri == str(hidden(video) if first else sidecar(video))


@pytest.mark.parametrize("if_exists", ["keep", "replace"])
@pytest.mark.parametrize("is_stale", [True, False])
def test_what_is_renewed_stays_hidden(if_exists: str, is_stale: bool, video: Path, other: Path) -> None:
    write_frame_index(video, hidden=True)
    if is_stale:
        shutil.copy(other, video)
    written = write_frame_index(video, if_exists=if_exists)  # type: ignore[arg-type]
    assert written.location == "hidden"
    assert names_beside(video) == {".mediaref"}
    assert state_of(video) == (FRESH, "hidden")


@pytest.mark.parametrize("if_exists", ["keep", "replace"])
@pytest.mark.parametrize("is_stale", [True, False])
@pytest.mark.parametrize("to_hidden", [True, False])
def test_what_is_wanted_in_the_other_location_goes_there(
    to_hidden: bool, is_stale: bool, if_exists: str, video: Path, other: Path
) -> None:
    write_frame_index(video, hidden=not to_hidden)
    if is_stale:
        shutil.copy(other, video)
    written = write_frame_index(video, hidden=to_hidden, if_exists=if_exists)  # type: ignore[arg-type]
    expected = "hidden" if to_hidden else "beside"
    assert written.location == expected
    assert state_of(video) == (FRESH, expected)
    left = {*names_beside(video), *(path.name for path in (video.parent / ".mediaref").iterdir())}
    assert left == {".mediaref", f"{video.name}.lance"}
    np.testing.assert_array_equal(first_frame(video), linear_frames(video)[0].rgb)


def test_what_is_moved_takes_timestamps_along(video: Path) -> None:
    times = np.linspace(5, 6, 48)
    write_frame_index(video, timestamps=times)
    kept = write_frame_index(video, hidden=True, if_exists="keep")
    np.testing.assert_array_equal(kept.timestamps(), times)
    assert kept.place == str(hidden(video))


def test_one_that_is_moved_replaces_an_old_one(video: Path, other: Path) -> None:
    write_frame_index(video, hidden=True)
    shutil.copy(other, video)
    shutil.copytree(hidden(video), sidecar(video))
    write_frame_index(video, hidden=False, if_exists="replace")
    shutil.copytree(sidecar(video), hidden(video), dirs_exist_ok=True)
    (hidden(video) / "old").touch()
    write_frame_index(video, hidden=True, if_exists="keep")
    assert not (hidden(video) / "old").exists()
    assert state_of(video) == (FRESH, "hidden")


def test_stale_is_an_error_or_scanned(video: Path, other: Path) -> None:
    index = write_frame_index(video, hidden=True)
    shutil.copy(other, video)
    assert state_of(video) == (STALE, "hidden")
    with pytest.warns(FrameIndexWarning, match="describes another file"):
        frame = first_frame(video)
    np.testing.assert_array_equal(frame, linear_frames(video)[0].rgb)
    with pytest.raises(FrameIndexStaleError):
        batch_decode([MediaRef(str(video), 0)], frame_index=index)


def test_a_fresh_hidden_one_is_used_where_the_sidecar_is_stale(
    video: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frame_index(video)
    aside = sidecar(video).rename(video.parent / "aside")
    shutil.copy(other, video)
    write_frame_index(video, hidden=True)
    aside.rename(sidecar(video))
    no_scan(monkeypatch)
    assert state_of(video) == (FRESH, "hidden")
    with pytest.warns(FrameIndexWarning, match="describes another file"):
        frame = first_frame(video)
    np.testing.assert_array_equal(frame, linear_frames(video)[0].rgb)


def test_a_damaged_one_is_an_error_or_scanned(video: Path) -> None:
    write_frame_index(video, hidden=True)
    next(hidden(video).glob("_versions/*.manifest")).write_bytes(b"no manifest")
    assert state_of(video) == (DAMAGED, "hidden")
    with pytest.raises(FrameIndexInvalidError):
        LanceFrameIndex.open(video)
    with pytest.warns(FrameIndexWarning):
        np.testing.assert_array_equal(first_frame(video), linear_frames(video)[0].rgb)
    with pytest.raises(FrameIndexInvalidError):
        write_frame_index(video, if_exists="keep")
    assert write_frame_index(video, if_exists="replace").location == "hidden"
    assert state_of(video) == (FRESH, "hidden")
    assert os.listdir(video.parent / ".mediaref") == [f"{video.name}.lance"]


@pytest.mark.parametrize("access", [Access(), Access(untrusted=True)])
def test_one_that_names_files_in_other_folders_is_refused(video: Path, access: Access) -> None:
    write_frame_index(video, hidden=True)
    change_data_file(hidden(video), lambda fields: renamed(fields, b"../../../other/x.lance"))
    with pytest.raises(FrameIndexInvalidError, match="allow_outside_index"):
        LanceFrameIndex.open(video, access=access)


def test_links_lead_nowhere_else_where_nothing_is_trusted(video: Path, tmp_path: Path) -> None:
    write_frame_index(video, hidden=True)
    (tmp_path / "outside").mkdir()
    (video.parent / ".mediaref").rename(tmp_path / "outside" / ".mediaref")
    (video.parent / ".mediaref").symlink_to(tmp_path / "outside" / ".mediaref")
    assert LanceFrameIndex.open(video).location == "hidden"
    for access in (Access(untrusted=True), Access(base_dir=str(video.parent))):
        with pytest.raises(FrameIndexInvalidError, match="a link that leads out of there"):
            LanceFrameIndex.open(video, access=access)


def test_several_writers_at_once(video: Path) -> None:
    errors: list[BaseException] = []

    def write(is_hidden: bool | None) -> None:
        try:
            write_frame_index(video, hidden=is_hidden, if_exists="replace")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(way,)) for way in (True, True, None, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert state_of(video)[0] == FRESH
    np.testing.assert_array_equal(first_frame(video), linear_frames(video)[0].rgb)


def test_a_new_one_is_seen_without_a_new_process(video: Path, other: Path) -> None:
    """As a sidecar is: indexes in memory go by the versions of the table too."""
    expected = linear_frames(video)[0].rgb
    np.testing.assert_array_equal(batch_decode([MediaRef(str(video), 0)])[0], expected)
    times = np.linspace(5, 6, 48)
    write_frame_index(video, timestamps=times, hidden=True)
    np.testing.assert_array_equal(batch_decode([MediaRef(str(video), 0)])[0], expected)
    assert LazyVideo.from_uri(video).timestamps[0] == 5


# --- the command line -------------------------------------------------------------------------------------


def test_inspect_says_where_it_was_found(video: Path) -> None:
    def found() -> tuple[str, str | None]:
        report = json.loads(run("inspect", "--json", video).stdout)
        return report["index"], report["location"]

    assert found() == ("none", None)
    assert "index location" not in run("inspect", video).stdout
    run("index", "--hidden", video)
    assert found() == ("fresh", "hidden")
    assert "index location            hidden in .mediaref\n" in run("inspect", video).stdout
    run("index", "--overwrite", video)
    assert found() == ("fresh", "hidden")
    hidden(video).rename(sidecar(video))
    assert found() == ("fresh", "beside")
    next(sidecar(video).glob("_versions/*.manifest")).write_bytes(b"no manifest")
    assert found() == ("damaged", "beside")


def test_a_folder_with_a_sidecar_and_without(video: Path, other: Path) -> None:
    second = Path(shutil.copy(other, video.parent / "second.mp4"))
    write_frame_index(video)
    result = run("index", "--hidden", video.parent)
    assert (result.exit_code, result.stderr) == (0, "")
    first_line, second_line = result.stdout.splitlines()
    assert first_line.startswith(f"{video}: fresh, moved, 48 frames")
    assert first_line.split(", 3 of")[0].split(", 1 of")[0].endswith(f"at {hidden(video)}")
    assert second_line.startswith(f"{second}: written")
    assert names_beside(video) == {"second.mp4", ".mediaref"}
    again = run("index", "--hidden", video.parent)
    assert again.stdout.count("fresh, kept") == 2
    plain = run("index", f"{video.parent}/*.mp4")
    assert plain.stdout.count("fresh, kept") == 2
    assert names_beside(video) == {"second.mp4", ".mediaref"}


def test_a_stale_one_is_rebuilt_where_it_stands(video: Path, other: Path) -> None:
    run("index", "--hidden", video)
    shutil.copy(other, video)
    assert run("index", video).stdout.startswith(f"{video}: stale, rebuilt")
    assert names_beside(video) == {".mediaref"}


def test_nothing_in_the_hidden_folder_is_a_video(video: Path, other: Path) -> None:
    run("index", "--hidden", video)
    shutil.copy(other, video.parent / ".mediaref" / "left.mp4")
    folder = str(video.parent)
    for pattern in (folder, f"{folder}/", f"{folder}/*", f"{folder}/*.mp4", f"{folder}/**"):
        assert [listed.uri for listed in videos_named(pattern)] == [str(video)], pattern
    assert names_one_video(str(hidden(video)))
    assert [listed.uri for listed in videos_named(str(hidden(video)))] == [str(video)]


def test_recordings_that_only_hidden_indexes_name_are_listed(video: Path, other: Path) -> None:
    second = Path(shutil.copy(other, video.parent / "second.mp4"))
    name = video.parent / "session.mp4"
    write_frame_index(name, segments=[video, second], hidden=True)
    for pattern in (video.parent, video.parent / "s*.mp4", video.parent / "**"):
        assert str(name) in [listed.uri for listed in videos_named(str(pattern))], pattern
    assert run("inspect", video.parent).exit_code == 0


def test_the_demo_uses_it(video: Path, tmp_path: Path) -> None:
    run("index", "--hidden", video)
    result = run("demo", video, "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{hidden(video)}, which stands there already and is fresh" in result.stdout


# --- stores -----------------------------------------------------------------------------------------------


def test_on_a_web_server_it_goes_to_the_cache_directory(video: Path, cache: Path) -> None:
    with FaultServer({"/a.mp4": video.read_bytes()}) as server:
        assert write_frame_index(server.url("/a.mp4"), hidden=True).location == "cache"
        assert LanceFrameIndex.open(server.url("/a.mp4")).location == "cache"
        assert not [asked for asked in server.seen if "lance" in asked.path]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Bucket:
    found = new_bucket(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return found


def test_in_a_bucket(bucket: Bucket, video: Path, other: Path) -> None:
    uri = bucket.put("takes/a b%20.mp4", video.read_bytes())
    written = write_frame_index(uri, hidden=True, storage_options=bucket.options)
    assert written.place == f"s3://{bucket.name}/takes/.mediaref/a b%20.mp4.lance"
    assert LanceFrameIndex.open(uri, storage_options=bucket.options).segments == written.segments
    frame = first_frame(uri, storage_options=bucket.options)
    np.testing.assert_array_equal(frame, linear_frames(video)[0].rgb)
    assert [found.uri for found in videos_named(f"s3://{bucket.name}/takes/")] == [uri]
    assert run("index", uri).stdout.startswith(f"{uri}: fresh, kept")
    bucket.put("takes/a b%20.mp4", other.read_bytes())
    assert run("index", uri).stdout.startswith(f"{uri}: stale, rebuilt")
    assert not [key for key in bucket.list_keys() if key.startswith("takes/a b%20.mp4.lance")]


def test_a_sidecar_in_a_bucket_is_not_moved(bucket: Bucket, video: Path) -> None:
    uri = bucket.put("takes/a.mp4", video.read_bytes())
    write_frame_index(uri, storage_options=bucket.options)
    for if_exists in ("error", "keep", "replace"):
        with pytest.raises(FrameIndexExistsError) as caught:
            write_frame_index(uri, hidden=True, if_exists=if_exists, storage_options=bucket.options)  # type: ignore[arg-type]
        assert caught.value.uri == lance_frame_index_uri(uri)
    assert "move it to" in str(caught.value)
    result = run("index", "--hidden", uri)
    assert result.exit_code == 1
    assert "move it to" in result.stderr


def test_recordings_in_a_bucket_are_listed(bucket: Bucket, video: Path) -> None:
    for key in ("takes/left_0.mp4", "takes/.mediaref/left.mp4.lance/_versions/1.manifest"):
        bucket.put(key, video.read_bytes())
    found = [listed.uri for listed in videos_named(f"s3://{bucket.name}/takes/")]
    assert found == [f"s3://{bucket.name}/takes/left.mp4", f"s3://{bucket.name}/takes/left_0.mp4"]


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (False, {"sidecar": 1, "hidden": 0, "collections": 0, "head": 0}),
        (True, {"sidecar": 1, "hidden": 1, "collections": 0, "head": 0}),
        (None, {"sidecar": 1, "hidden": 1, "collections": 2, "head": 2}),  # of the folder and the bucket
    ],
)
def test_the_requests_that_looking_costs(
    hidden: bool | None, expected: dict[str, int], bucket: Bucket, video: Path
) -> None:
    """One request finds that a location is empty, and none is asked twice."""
    uri = bucket.put("takes/a.mp4", video.read_bytes())
    if hidden is not None:
        write_frame_index(uri, hidden=hidden, storage_options=bucket.options)
    with FaultServer(upstream=bucket.endpoint_url) as proxy:
        first_frame(uri, storage_options={**bucket.options, "endpoint_url": proxy.url()})
        listed = [asked.target for asked in proxy.seen if "list-type" in asked.target]
        heads = [asked for asked in proxy.seen if asked.method == "HEAD" and asked.path.endswith("/a.mp4")]
    found = {
        "sidecar": sum("a.mp4.lance" in name and ".mediaref" not in name for name in listed),
        "hidden": sum(".mediaref%2Fa.mp4" in name for name in listed),
        "collections": sum(".mediaref%2Findex.lance" in name for name in listed),
        "head": len(heads),
    }
    assert found == expected
