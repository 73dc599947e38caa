"""``mediaref-ursa index --into`` and ``inspect`` of a collection: what is printed, kept and found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from _cli_runner import run
from _media import Clip
from _s3 import ACCESS_KEY, SECRET_KEY, new_bucket

from mediaref_ursa import CollectionIndex, LanceFrameIndex, write_frame_index
from mediaref_ursa._references.arrow import refs_to_struct_array
from mediaref_ursa.store._glob import videos_named

GetClip = Callable[[str], Clip]
HIDDEN = ".mediaref/index.lance"


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "takes").mkdir(parents=True)
    shutil.copy(clip("h264_pyramid_mp4").path, folder / "a.mp4")
    shutil.copy(clip("vp8_webm").path, folder / "takes" / "b.webm")
    return folder


@pytest.mark.parametrize("name", ["set.lance", HIDDEN])
def test_a_folder_goes_into_one_table(name: str, folder: Path) -> None:
    first = run("index", folder, "--into", folder / name, "--jobs", "2")
    assert (first.exit_code, first.stderr) == (0, "")
    lines = sorted(first.stdout.splitlines())
    assert lines[0] == f"{folder / name}: 2 videos, 2 added" if name == HIDDEN else lines[-2]
    assert f"{folder / 'a.mp4'}: added, 48 frames, 1 segment" in lines
    assert not list(folder.rglob("*.mp4.lance"))

    again = run("index", folder, "--into", folder / name)
    assert again.stdout == f"{folder / name}: 2 videos, 0 added, 2 fresh, kept\n"
    assert sorted(CollectionIndex.open(folder / name)) == [
        str(folder / "a.mp4"),
        str(folder / "takes" / "b.webm"),
    ]


def test_what_is_stale_is_replaced_and_what_fails_is_reported(folder: Path, clip: GetClip) -> None:
    run("index", folder, "--into", folder / HIDDEN)
    shutil.copy(clip("mpeg4_mp4").path, folder / "a.mp4")
    (folder / "bad.mp4").write_bytes(b"no video at all" * 99)

    result = run("index", folder, "--into", folder / HIDDEN)

    assert result.exit_code == 1
    assert f"{folder / HIDDEN}: 3 videos, 0 added, 1 replaced, 1 fresh, kept, 1 failed" in result.stdout
    assert "bad.mp4" in result.stderr
    assert "1 of 3 videos could not be indexed" in result.stderr


def test_options_that_name_other_locations_are_refused(folder: Path) -> None:
    for option in (["--hidden"], ["--index-dir", folder]):
        result = run("index", folder, "--into", folder / "set.lance", *option)
        assert result.exit_code == 2
        assert "expected --into alone" in result.stderr


def test_inspect_reports_on_a_collection(folder: Path) -> None:
    write_frame_index(folder / "a.mp4")
    run("index", folder, "--into", folder / "set.lance")
    (folder / "takes" / "b.webm").unlink()

    report = json.loads(run("inspect", folder / "set.lance", "--json").stdout)
    text = run("inspect", folder / "set.lance").stdout

    frames = sum(
        len(index)
        for index in CollectionIndex.open(folder / "set.lance")
        .get_many([folder / "a.mp4", folder / "takes" / "b.webm"])
        .values()
    )
    assert (report["videos"], report["segments"], report["frames"]) == (2, 2, frames)
    assert report["codecs"] == {"h264": 1, "vp8": 1}
    assert report["hours"] > 0
    assert report["bytes_per_frame"] == report["table_bytes"] / frames
    assert report["stale"] == [str(folder / "takes" / "b.webm")]
    assert "videos      2" in text
    assert "stale       1: " in text


def test_inspect_says_in_which_collection_an_index_was_found(folder: Path) -> None:
    run("index", folder, "--into", folder / HIDDEN)

    report = json.loads(run("inspect", folder / "a.mp4", "--json").stdout)

    assert (report["index"], report["location"]) == ("fresh", "collection")
    assert report["index_uri"] == str(folder / HIDDEN)
    assert "in the collection of its folder" in run("inspect", folder / "a.mp4").stdout


def test_an_empty_collection_has_a_report(tmp_path: Path) -> None:
    CollectionIndex.open(tmp_path / "set.lance", create=True)

    report = json.loads(run("inspect", tmp_path / "set.lance", "--json").stdout)

    assert (report["videos"], report["bytes_per_frame"], report["stale"]) == (0, None, [])


def test_a_bucket_goes_into_one_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    video = bucket.put("takes/a.mp4", (folder / "a.mp4").read_bytes())
    place = f"s3://{bucket.name}/takes/{HIDDEN}"

    for expected in ("1 added", "0 added, 1 fresh, kept"):
        result = run("index", f"s3://{bucket.name}/takes/", "--into", place)
        assert result.exit_code == 0, result.stderr
        assert f"{place}: 1 video, {expected}" in result.stdout
    report = json.loads(run("inspect", place, "--json").stdout)
    assert (report["videos"], report["table_bytes"]) == (1, None)
    assert LanceFrameIndex.open(video).location == "collection"


@pytest.mark.parametrize("kind", ["parquet", "feather", "jsonl", "lance", "two columns"])
@pytest.mark.parametrize("with_base", [True, False])
def test_the_videos_of_a_table_of_references_go_into_one_table(
    kind: str, with_base: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ["a.mp4", str(folder / "takes" / "b.webm"), "a.mp4", "picture.png"]
    times = [0, 5, 7, None]
    table = pa.table({"step": [0, 1, 2, 3], "frame": refs_to_struct_array(uris, times)})
    path = folder / f"steps.{'parquet' if kind == 'two columns' else kind}"
    if kind == "jsonl":
        rows = [{"frame": {"uri": uri, "pts_ns": pts}} for uri, pts in zip(uris, times, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "feather":
        feather.write_feather(table, path)
    elif kind == "lance":
        lance.write_dataset(table, str(path))
    else:
        table = table if kind == "parquet" else pa.table({"uri": uris, "pts_ns": times})
        pq.write_table(table, path)
    monkeypatch.chdir(folder if not with_base else folder.parent)
    base = ["--base-dir", folder] if with_base else []

    result = run("index", path, "--into", folder / "set.lance", *base)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith(f"{folder / 'set.lance'}: 2 videos, 2 added\n")
    assert sorted(CollectionIndex.open(folder / "set.lance")) == [
        str(folder / "a.mp4"),
        str(folder / "takes" / "b.webm"),
    ]


def test_an_index_or_a_collection_is_no_table_of_references(folder: Path) -> None:
    write_frame_index(folder / "a.mp4")
    result = run("index", folder / "a.mp4.lance", "--into", folder / "set.lance")
    assert result.exit_code == 0, result.stderr
    assert list(CollectionIndex.open(folder / "set.lance")) == [str(folder / "a.mp4")]
    result = run("index", folder / "set.lance", "--into", folder / "other.lance")
    assert result.exit_code == 1


@pytest.mark.parametrize("what", ["no table", "no references", "missing"])
def test_a_table_without_references_is_one_error(what: str, folder: Path) -> None:
    path = folder / "steps.parquet"
    if what == "no table":
        path.write_bytes(b"no parquet")
    elif what == "no references":
        pq.write_table(pa.table({"step": [1], "name": ["x"]}), path)

    result = run("index", path, "--into", folder / "set.lance")

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert str(path) in result.stderr


def test_a_collection_in_a_folder_is_no_video_of_it(folder: Path) -> None:
    for place in (folder / "set.lance", folder / HIDDEN, folder / "takes" / HIDDEN):
        assert run("index", folder, "--into", place).exit_code == 0

    listed = [video.uri for video in videos_named(str(folder))]

    assert listed == [str(folder / "a.mp4"), str(folder / "takes" / "b.webm")]
