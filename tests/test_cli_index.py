"""``mediaref-ursa index``: what is written, what is kept, and what is never lost unasked."""

from __future__ import annotations

import os
import pty
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
from _media import Clip

from mediaref_ursa import LanceFrameIndex, write_frame_index
from mediaref_ursa._frame_index import scan_frame_index
from mediaref_ursa._lance import BASE_COLUMNS

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
    assert first.endswith(" ms")
    assert second.startswith(f"{other}: written, 70 frames, 1 segment, ")
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
        patch.setattr("mediaref_ursa._index_metadata.VERSION", (99, 0))
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
    for line, uri in zip(lines, [text, missing, folder, "data:,"], strict=False):
        assert line.startswith(f"error: {uri}")
    assert "regular file, found a directory" in lines[2]
    assert lines[-1] == "error: 4 of 6 videos could not be indexed"
    assert len(lines) == 5


def test_no_index_is_written_to_an_http_server() -> None:
    result = run("index", "https://user:secret@host.invalid/a.mp4?sig=1")
    assert result.exit_code == 1
    assert "found an HTTP URL" in result.stderr
    assert "secret" not in result.stderr
    assert "sig=1" not in result.stderr


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
    code = "import sys; from mediaref_ursa._cli import main; main()"
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
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # the cursor is given back


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
