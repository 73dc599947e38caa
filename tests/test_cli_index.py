"""``mediaref-ursa index``: what is written, what is kept, and what is never lost unasked."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _cli_runner import run
from _containers import padded
from _http_server import ObjectServer
from _media import Clip
from _s3 import ACCESS_KEY, SECRET_KEY, Bucket, new_bucket

from mediaref_ursa import LanceFrameIndex, write_frame_index
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.lance_table import BASE_COLUMNS

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, tmp_path / "video.mp4"))


@pytest.fixture
def other(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "other.mp4"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.mp4"
    path.write_text("not a video at all\n" * 40)
    return path


def test_index_writes_one_line_a_file(video: Path, other: Path) -> None:
    result = run("index", video, other)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{video}: written, 48 frames, 1 segment, 4 random access points, index of ")
    assert re.search(r" ms, 1 of 2 files, \d+\.\d KB of \d+\.\d KB$", first)
    assert second.startswith(f"{other}: written, 70 frames, 1 segment, ")
    assert " ms, 2 of 2 files, " in second
    assert [len(LanceFrameIndex.open(str(path))) for path in (video, other)] == [48, 70]


def test_a_fresh_index_is_kept(video: Path) -> None:
    run("index", video)
    version = lance.dataset(f"{video}.lance").version
    result = run("index", video)
    assert result.stdout.startswith(f"{video}: fresh, kept, 48 frames, 1 segment, ")
    assert lance.dataset(f"{video}.lance").version == version
    assert run("index", "--overwrite", video).stdout.startswith(f"{video}: fresh, rebuilt, 48 frames")
    assert lance.dataset(f"{video}.lance").version > version


def test_a_stale_index_is_rebuilt(video: Path, other: Path) -> None:
    run("index", video)
    shutil.copy(other, video)
    assert run("index", video).stdout.startswith(f"{video}: stale, rebuilt, 70 frames")
    assert run("index", video).stdout.startswith(f"{video}: fresh, kept, 70 frames")


def test_an_index_that_was_renamed_with_its_video_is_rebuilt(video: Path) -> None:
    run("index", video)
    new = video.with_name("new.mp4")
    video.rename(new)
    Path(f"{video}.lance").rename(f"{new}.lance")
    result = run("index", new)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{new}: ")
    assert LanceFrameIndex.open(str(new)).segments[0].uri == str(new)


def test_a_damaged_index_is_replaced_only_when_asked(video: Path) -> None:
    run("index", video)
    for path in Path(f"{video}.lance", "data").iterdir():
        path.write_bytes(b"nonsense")
    result = run("index", video)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--overwrite replaces what stands there" in result.stderr
    assert run("index", "--overwrite", video).stdout.startswith(f"{video}: damaged, rebuilt, 48 frames")
    assert len(LanceFrameIndex.open(str(video))) == 48


def test_a_lance_table_of_somebody_else_is_not_touched(video: Path) -> None:
    lance.write_dataset(pa.table({"mine": [1, 2, 3]}), f"{video}.lance")
    assert run("index", video).exit_code == 1
    assert "damaged" in run("inspect", video).stdout
    assert lance.dataset(f"{video}.lance").to_table().column("mine").to_pylist() == [1, 2, 3]


def test_timestamps_of_a_clock_are_not_lost_unasked(video: Path, other: Path) -> None:
    write_frame_index(str(video), timestamps=np.arange(48) / 7)
    assert "fresh, kept" in run("index", video).stdout
    shutil.copy(other, video)
    result = run("index", video)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "its timestamps were given by its writer" in result.stderr
    assert run("index", "--overwrite", video).stdout.startswith(f"{video}: stale, rebuilt, 70 frames")


def test_a_video_of_several_files_stays_one(video: Path, other: Path) -> None:
    write_frame_index(str(video), segment_uris=[str(video), str(other)])
    assert run("index", video).stdout.startswith(f"{video}: fresh, kept, 118 frames, 2 segments")
    shutil.copy(video, other)
    assert run("index", video).stdout.startswith(f"{video}: stale, rebuilt, 96 frames, 2 segments")


def test_an_index_of_a_newer_version_is_replaced_only_when_asked(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mediaref_ursa._model.index_metadata.VERSION", (99, 0))
        write_frame_index(str(video))
    result = run("index", video)
    assert result.exit_code == 1
    assert "--overwrite replaces what stands there" in result.stderr
    assert run("index", "--overwrite", video).stdout.startswith(f"{video}: newer version, rebuilt, 48 frames")


def test_an_index_of_base_columns_is_kept(video: Path) -> None:
    columns = base_columns(video)
    lance.write_dataset(columns, f"{video}.lance")
    result = run("index", video)
    assert result.stdout.startswith(f"{video}: base columns only, kept, 48 frames, 1 segment, index of ")
    assert run("index", "--overwrite", video).stdout.startswith(
        f"{video}: base columns only, rebuilt, 48 frames"
    )


def base_columns(video: Path) -> pa.Table:
    table = scan_frame_index(str(video)).segment_table(0)
    count = len(table)
    values = [np.zeros(count, np.int64), np.arange(count), table.pts, table.timestamp]
    return pa.table(dict(zip(BASE_COLUMNS, values, strict=True)))


def test_failures_do_not_stop_the_rest(video: Path, other: Path, text: Path, tmp_path: Path) -> None:
    missing, folder = tmp_path / "missing.mp4", tmp_path / "folder"
    folder.mkdir()
    result = run("index", text, video, missing, folder, "data:,x", other)
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [str(video), str(other)]
    lines = result.stderr.splitlines()
    for line, uri in zip(lines, [folder, text, missing, "data:,"], strict=False):
        assert line.startswith(f"error: {uri}")
    assert "expected videos in this folder" in lines[0]
    assert lines[-1] == "error: 4 of 6 videos could not be indexed"
    assert len(lines) == 5


def test_no_line_shows_a_secret() -> None:
    result = run("index", "https://user:secret@host.invalid/a.mp4?sig=1")
    assert result.exit_code == 1
    assert "host.invalid/a.mp4" in result.stderr
    assert "secret" not in result.stderr
    assert "sig=1" not in result.stderr


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_index_of_a_video_on_a_web_server_goes_to_the_cache(clip: GetClip, own_cache: Path) -> None:
    with ObjectServer({"/a.mp4": clip("h264_pyramid_mp4").path.read_bytes()}) as server:
        uri = server.url("/a.mp4?sig=1")
        first, second = run("index", uri), run("index", server.url("/a.mp4?sig=2"))
    (place,) = (own_cache / "frame_indexes").iterdir()
    assert first.stdout.startswith(f"{server.url('/a.mp4')}: written, 48 frames")
    assert f"at {place}, " in first.stdout
    assert "fresh, kept, 48 frames" in second.stdout
    assert "sig" not in first.output + second.output


def test_what_was_left_out_is_read_when_asked(clip: GetClip, tmp_path: Path, own_cache: Path) -> None:
    large = padded(clip("h264_pyramid_mp4").path, tmp_path / "large.mp4", 400_000)
    with ObjectServer({"/a.mp4": large.read_bytes()}) as server:
        uri = server.url("/a.mp4")
        lines = [run("index", *options, uri).stdout for options in ([], [], ["--full"], ["--full"])]
        assert [("sparse" in line, line.split(", ")[0]) for line in lines] == [
            (True, f"{uri}: written"),
            (True, f"{uri}: fresh"),
            (False, f"{uri}: fresh"),
            (False, f"{uri}: fresh"),
        ]
        assert ["rebuilt" in line for line in lines] == [False, False, True, False]


def test_inspect_says_what_was_read(clip: GetClip, tmp_path: Path, own_cache: Path) -> None:
    large = padded(clip("h264_pyramid_mp4").path, tmp_path / "large.mp4", 400_000)
    with ObjectServer({"/a.mp4": large.read_bytes()}) as server:
        uri = server.url("/a.mp4")
        run("index", uri)
        report = json.loads(run("inspect", "--json", uri).stdout)
        assert (report["index"], report["verified"], report["droppable_share"]) == ("fresh", "sparse", None)
        assert "checksums are not known" in run("inspect", uri).stdout
        run("index", "--full", uri)
        report = json.loads(run("inspect", "--json", uri).stdout)
        assert (report["index"], report["verified"]) == ("fresh", "full")
        assert report["droppable_share"] > 0


def test_a_directory_for_indexes(video: Path, other: Path, tmp_path: Path) -> None:
    result = run("index", "--index-dir", tmp_path / "indexes", video, other)
    assert result.exit_code == 0
    assert not Path(f"{video}.lance").exists()
    assert len(list((tmp_path / "indexes").iterdir())) == 2
    again = run("index", "--index-dir", tmp_path / "indexes", video, other)
    assert again.stdout.count("fresh, kept") == 2
    assert run("index", video).stdout.startswith(f"{video}: written")


def test_patterns_name_local_files(video: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    result = run("index", tmp_path / "*.mp4")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [str(other), str(video)]
    odd = video.rename(tmp_path / "[v].mp4")
    assert run("index", odd).stdout.startswith(f"{odd}: ")
    nothing = run("index", tmp_path / "*.avi")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "found none" in nothing.stderr


def test_a_file_that_is_named_twice_is_indexed_once(video: Path) -> None:
    result = run("index", video, video, video.parent / "*.mp4")
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("jobs", [1, 3, 8])
def test_several_at_once_come_out_in_their_order(
    jobs: int, video: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [Path(shutil.copy(video, tmp_path / f"{number}.mp4")) for number in range(6)]
    result = run("index", "--jobs", str(jobs), *videos[:3], text, *videos[3:])
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [str(path) for path in videos]
    assert result.stderr.splitlines()[-1] == "error: 1 of 7 videos could not be indexed"
    assert re.search(r", 7 of 7 files, (\d+\.\d) KB of \1 KB$", result.stdout.splitlines()[-1])


# --- in a cloud store -----------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = new_bucket(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return bucket


def test_a_pattern_in_a_bucket(bucket: Bucket, clip: GetClip) -> None:
    data = clip("h264_pyramid_mp4").path.read_bytes()
    videos = [bucket.put(f"takes/{name}.mp4", data) for name in ("a b", "c", "d/e")]
    bucket.put("takes/notes.txt", b"not a video")
    bucket.put("other/f.mp4", data)
    result = run("index", f"s3://{bucket.name}/takes/*.mp4")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split(": written")[0] for line in result.stdout.splitlines()] == videos[:2]
    assert f"2 of 2 files, {2 * len(data) / 1000:.1f} KB of {2 * len(data) / 1000:.1f} KB" in result.stdout
    result = run("index", f"s3://{bucket.name}/takes/**/*.mp4")
    assert result.stdout.count("fresh, kept, 48 frames") == 2
    assert f"{videos[2]}: written" in result.stdout
    assert {len(LanceFrameIndex.open(video, storage_options=bucket.options)) for video in videos} == {48}
    nothing = run("index", f"s3://{bucket.name}/none/*.mp4")
    assert nothing.exit_code == 1
    assert "found none" in nothing.stderr


def test_a_bucket_that_is_not_there_is_one_error(bucket: Bucket, video: Path) -> None:
    result = run("index", f"s3://{bucket.name}-none/*.mp4", video)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{video}: written")
    assert result.stderr.splitlines()[-1] == "error: 1 of 2 videos could not be indexed"


def test_a_killed_run_goes_on_where_it_was(bucket: Bucket, clip: GetClip) -> None:
    """Indexes that were written stay; the next run writes the others."""
    data = clip("h264_pyramid_mp4").path.read_bytes()
    videos = [bucket.put(f"takes/{number:02}.mp4", data) for number in range(24)]
    code = "from mediaref_ursa._cli.main import main; main()"
    command = [sys.executable, "-c", code, "index", "--jobs", "2", f"s3://{bucket.name}/takes/*.mp4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.kill()
    assert all(": written, 48 frames" in line for line in lines)
    result = run("index", f"s3://{bucket.name}/takes/*.mp4")
    assert result.exit_code == 0
    kept, written = result.stdout.count("fresh, kept"), result.stdout.count(": written")
    assert kept >= 3
    assert kept + written + result.stdout.count("rebuilt") == len(videos)
    assert run("index", f"s3://{bucket.name}/takes/*.mp4").stdout.count("fresh, kept") == len(videos)


def test_names_that_are_no_utf_8_do(video: Path) -> None:
    odd = video.with_name(os.fsdecode(b"na\xffme.mp4"))
    try:
        video.rename(odd)
    except OSError:
        pytest.skip("this file system has no such names")
    result = run("inspect", odd)
    assert result.exit_code == 0
    assert "na?me.mp4" in result.output


def test_the_progress_bar_is_drawn_on_a_terminal_only(video: Path, other: Path) -> None:
    code = "import sys; from mediaref_ursa._cli.main import main; main()"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code, "index", str(video), str(other)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    output, _ = process.communicate(timeout=120)
    drawn = read_all(ours)
    assert process.returncode == 0
    assert [line.split(":")[0] for line in output.splitlines()] == [str(video), str(other)]
    assert "indexing" in drawn
    assert "100%" in drawn
    assert "\x1b[?25l" not in drawn  # the cursor stays
    assert drawn.rsplit("\r", 1)[1] == ""  # the bar is wiped


def read_all(descriptor: int) -> str:
    """Read what was written to a terminal whose other end is closed."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # how Linux tells the end
            part = b""
        if not part:
            os.close(descriptor)
            return b"".join(parts).decode()
        parts.append(part)
