"""What names videos on the command line: files, folders, patterns, and recordings of several files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _cli_runner import run
from _media import Clip
from _s3 import ACCESS_KEY, SECRET_KEY, Bucket, new_bucket

from mediaref_ursa import LanceFrameIndex, MediaNotFoundError
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.lance_table import write_index
from mediaref_ursa.store._glob import names_one_video, videos_named

GetClip = Callable[[str], Clip]


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    """Three videos in two folders, a recording of two files, and what is no video."""
    root = tmp_path / "takes"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for place in ("b.mp4", "a.MKV", "deep/deeper/c.mp4", "left_0.mp4", "left_1.mp4", ".hidden/d.mp4"):
        shutil.copy(clip("h264_idr_mp4").path, root / place)
    (root / ".e.mp4").write_bytes(b"a hidden file")
    (root / "notes.txt").write_text("no video")
    (root / "photo.png").write_bytes(b"\x89PNG")
    (root / "folder.mp4").mkdir()
    files = [root / "left_0.mp4", root / "left_1.mp4"]
    whole = scan_frame_index(files[0], segment_uris=files)
    write_index(f"{root}/left.mp4.lance", [whole.segment_table(number) for number in range(2)])
    return root


def names(root: Path, pattern: str | os.PathLike[str]) -> list[str]:
    return [os.path.relpath(video.uri, root) for video in videos_named(os.fspath(pattern))]


WHOLE = ["a.MKV", "b.mp4", "deep/deeper/c.mp4", "left.mp4", "left_0.mp4", "left_1.mp4"]


def test_a_folder_names_all_videos_below_it(folder: Path) -> None:
    assert sorted(names(folder, folder)) == WHOLE
    assert sorted(names(folder, f"{folder}/")) == WHOLE
    assert names(folder, folder / "deep") == ["deep/deeper/c.mp4"]
    sizes = {video.uri: video.size_bytes for video in videos_named(str(folder))}
    assert sizes[str(folder / "b.mp4")] == (folder / "b.mp4").stat().st_size


def test_the_order_is_that_of_names(folder: Path) -> None:
    assert names(folder, folder) == sorted(names(folder, folder))


def test_indexes_that_are_there_add_nothing(folder: Path) -> None:
    run("index", folder)
    assert sorted(names(folder, folder)) == WHOLE


def test_a_pattern_names_recordings_too(folder: Path) -> None:
    assert names(folder, folder / "l*.mp4") == ["left.mp4", "left_0.mp4", "left_1.mp4"]
    assert names(folder, folder / "**" / "*.mp4") == [name for name in WHOLE if name.endswith(".mp4")]


def test_a_pattern_that_names_folders_names_what_is_in_them(folder: Path) -> None:
    assert names(folder, folder / "dee*") == ["deep/deeper/c.mp4"]


def test_an_index_names_its_video(folder: Path) -> None:
    assert names(folder, folder / "left.mp4.lance") == ["left.mp4"]
    run("index", folder / "b.mp4")
    assert names(folder, folder / "b.mp4.lance") == ["b.mp4"]
    assert names(folder, f"{folder}/b.mp4.lance/") == ["b.mp4"]


def test_a_relative_folder_gives_relative_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [video.uri for video in videos_named(".")] == WHOLE
    assert [video.uri for video in videos_named("deep")] == ["deep/deeper/c.mp4"]
    assert [video.uri for video in videos_named("./deep")] == ["./deep/deeper/c.mp4"]


def test_a_file_uri_of_a_folder(folder: Path) -> None:
    assert sorted(names(folder, folder.as_uri())) == WHOLE


@pytest.mark.parametrize("command", ["index", "inspect", "demo"])
def test_a_folder_without_videos_says_what_is_looked_for(command: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    result = run(command, tmp_path)
    assert result.exit_code == 1
    line = result.stderr.splitlines()[0]
    assert line.startswith(f"error: {tmp_path}: expected videos in this folder")
    assert ".mp4" in line
    with pytest.raises(MediaNotFoundError):
        videos_named(str(tmp_path))


def test_links_that_go_round_end(folder: Path) -> None:
    (folder / "deep" / "round").symlink_to(folder)
    assert sorted(names(folder, folder)) == WHOLE


def test_index_of_a_folder(folder: Path) -> None:
    result = run("index", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [os.path.relpath(line.split(": ")[0], folder) for line in lines] == WHOLE
    assert [": fresh, kept, 96 frames, 2 segments" in line for line in lines].index(True) == 3
    assert len(LanceFrameIndex.open(folder / "deep" / "deeper" / "c.mp4")) == 48
    again = run("index", folder)
    assert again.stdout.count("fresh, kept") == len(WHOLE)


def test_inspect_of_a_recording_by_its_name(folder: Path) -> None:
    result = run("inspect", folder / "left.mp4")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "index                     fresh" in result.stdout
    assert "segments                  2" in result.stdout
    report = json.loads(run("inspect", "--json", folder / "left.mp4").stdout)
    assert (report["index"], report["segments"], report["frames"]) == ("fresh", 2, 96)


def test_index_of_a_recording_by_its_name(folder: Path, clip: GetClip) -> None:
    name = folder / "left.mp4"
    assert run("index", name).stdout.startswith(f"{name}: fresh, kept, 96 frames, 2 segments")
    assert run("index", "--overwrite", name).stdout.startswith(
        f"{name}: fresh, rebuilt, 96 frames, 2 segments"
    )
    shutil.copy(clip("h264_29_97_mp4").path, folder / "left_1.mp4")
    assert "stale, the video was scanned" in run("inspect", name).stdout
    assert run("index", name).stdout.startswith(f"{name}: stale, rebuilt, 118 frames, 2 segments")
    assert len(LanceFrameIndex.open(name)) == 118


def test_demo_of_a_recording_by_its_name(folder: Path, tmp_path: Path) -> None:
    result = run("demo", folder / "left.mp4", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "frames equal those of the linear decode" in result.stdout


def test_a_recording_whose_files_are_gone_names_them(folder: Path) -> None:
    (folder / "left_1.mp4").unlink()
    for command in ("inspect", "index", "demo"):
        result = run(command, folder / "left.mp4")
        assert result.exit_code == 1
        assert "left_1.mp4: there is no such file" in result.stderr


def test_inspect_of_several(folder: Path) -> None:
    result = run("inspect", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("video  ")]
    assert [os.path.relpath(name, folder) for name in shown] == WHOLE
    assert "\n\nvideo  " in result.stdout
    reports = json.loads(run("inspect", "--json", folder / "b.mp4", folder / "a.MKV").stdout)
    assert [report["frames"] for report in reports] == [48, 48]


def test_inspect_as_json_is_a_list_unless_one_file_is_named(folder: Path) -> None:
    one = folder / "deep" / "deeper" / "c.mp4"
    assert isinstance(json.loads(run("inspect", "--json", one).stdout), dict)
    for several in (folder / "deep", folder / "deep" / "deeper" / "*.mp4"):
        assert len(json.loads(run("inspect", "--json", several).stdout)) == 1


def test_inspect_goes_on_after_a_failure(folder: Path) -> None:
    (folder / "deep" / "bad.mp4").write_text("no video at all\n" * 40)
    result = run("inspect", folder / "deep")
    assert result.exit_code == 1
    assert "c.mp4" in result.stdout
    failure, last = result.stderr.splitlines()
    assert failure.startswith(f"error: {folder}/deep/bad.mp4: ")
    assert last == "error: 1 of 2 videos could not be inspected"


def test_demo_of_several(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("demo", folder / "b.mp4", folder / "deep", "--output", out)
    assert (result.exit_code, result.stderr) == (0, "")
    sheets = [line for line in result.stdout.splitlines() if line.endswith("contact_sheet.png")]
    assert len(sheets) == len(set(sheets)) == 2
    assert all(Path(sheet).is_file() and Path(sheet).is_relative_to(out) for sheet in sheets)
    assert {Path(sheet).parent.name for sheet in sheets} == {"1-b.mp4", "2-c.mp4"}


def test_demo_of_several_goes_on_after_a_failure(folder: Path, tmp_path: Path) -> None:
    (folder / "deep" / "bad.mp4").write_text("no video at all\n" * 40)
    result = run("demo", folder / "deep", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout.count("contact_sheet.png") == 1
    assert "bad.mp4" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["2-c.mp4"]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.mp4", True),
        ("*.mp4", False),
        ("https://host/a?b=*", True),
        ("s3://b/*.mp4", False),
        ("s3://b/c/", False),
    ],
)
def test_what_names_one_video(name: str, is_one: bool) -> None:
    assert names_one_video(name) == is_one


def test_a_folder_in_a_bucket(monkeypatch: pytest.MonkeyPatch, clip: GetClip) -> None:
    bucket: Bucket = new_bucket(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    data = clip("h264_idr_mp4").path.read_bytes()
    videos = [bucket.put(f"takes/{name}.mp4", data) for name in ("a", "d/e")]
    bucket.put("takes/notes.txt", b"not a video")
    result = run("index", f"s3://{bucket.name}/takes/")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split(": written")[0] for line in result.stdout.splitlines()] == videos
    again = run("index", f"s3://{bucket.name}/takes/")
    assert again.stdout.count("fresh, kept") == 2
    empty = run("index", f"s3://{bucket.name}/none/")
    assert empty.exit_code == 1
    assert "expected videos in this folder" in empty.stderr


def test_recordings_in_a_bucket_are_found(monkeypatch: pytest.MonkeyPatch, clip: GetClip) -> None:
    """A recording has an index of its own name and no file."""
    bucket: Bucket = new_bucket(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    for key in ("takes/left_0.mp4", "takes/left.mp4.lance/_versions/1.manifest", "takes/.e/f.mp4"):
        bucket.put(key, clip("h264_idr_mp4").path.read_bytes())
    found = [video.uri for video in videos_named(f"s3://{bucket.name}/takes/")]
    assert found == [f"s3://{bucket.name}/takes/left.mp4", f"s3://{bucket.name}/takes/left_0.mp4"]


# --- what is left behind ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "missing", "cut"])
def test_a_failed_demo_leaves_nothing_behind(
    kind: str, clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    video = tmp_path / "video.mp4"
    if kind != "missing":
        whole = clip("h264_idr_mp4").path.read_bytes()
        video.write_bytes(b"no video at all\n" * 40 if kind == "text" else whole[: len(whole) // 2])
    assert run("demo", video).exit_code == 1
    assert list(temporary.iterdir()) == []
    assert run("demo", video, video, tmp_path / "none.mp4").exit_code == 1
    assert list(temporary.iterdir()) == []
    assert run("demo", video, "--output", tmp_path / "new" / "out").exit_code == 1
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert run("demo", video, "--output", tmp_path / "mine").exit_code == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_interrupted_demo_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mediaref_ursa._cli.demo.demo.check_frames", interrupted)
    result = run("demo", folder / "b.mp4", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")
    assert not (tmp_path / "out").exists()


def test_a_bar_estimates_from_its_first_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from when the command began: indexing and decoding before it are no part of it."""
    from mediaref_ursa._cli import progress

    made: list[float] = []
    now = [1000.0]
    whole = progress._new_bar

    def recorded() -> object:
        made.append(now[0])
        return whole()

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "_new_bar", recorded)
    with progress.progress_bar("linear decode") as bar:
        now[0] = 1009.0  # nine seconds of other work
        assert made == []
        bar.move_to(1, 200)
        assert made == [1009.0]


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mediaref_ursa", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith("mediaref-ursa, version ")
