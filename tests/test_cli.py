"""The command line: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _cli_runner import run
from _http_server import ObjectServer
from _media import Clip
from _tables import packet_table

import mediaref_ursa
from mediaref_ursa import LanceFrameIndex, batch_decode, write_frame_index
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.lance_table import BASE_COLUMNS, SCHEMA, write_index
from mediaref_ursa._model.index_metadata import METADATA_KEY, encode_metadata

GetClip = Callable[[str], Clip]


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, with ``main`` at hand."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


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


# --- the program ----------------------------------------------------------------------------------


def test_the_installed_command_runs(video: Path) -> None:
    command = Path(sysconfig.get_path("scripts")) / "mediaref-ursa"
    done = subprocess.run(
        [command, "inspect", video], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"video                     {video}"


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").output == f"mediaref-ursa, version {mediaref_ursa.__version__}\n"


@pytest.mark.parametrize("command", ["", "index", "inspect", "demo"])
def test_help_says_what_there_is(command: str) -> None:
    result = run(*filter(None, [command]), "--help")
    assert result.exit_code == 0
    for word in {"": ("index", "inspect", "demo"), "demo": ("--output", "--seed")}.get(command, ("VIDEO",)):
        assert word in result.output


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from mediaref_ursa._cli.main import main
main(["demo", "--help"], standalone_mode=False)
heavy = {"av", "lance", "pyarrow", "temporaldata", "torch", "numpy", "PIL", "pydantic", "requests"}
sys.exit(f"loaded {heavy & set(sys.modules)}" if heavy & set(sys.modules) else 0)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["index", "inspect", "demo"])
@pytest.mark.parametrize("missing", ["av", "lance", "pyarrow"])
def test_a_missing_extra_names_the_command_that_installs_it(command: str, missing: str, video: Path) -> None:
    code = """
import sys
sys.modules[sys.argv.pop(1)] = None
from mediaref_ursa._cli.main import main
main()
"""
    done = python(code, missing, command, video)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {missing}")
    assert line.endswith("pip install 'mediaref-ursa[video]'")


def test_verbose_shows_the_librarys_log(video: Path) -> None:
    code = "from mediaref_ursa._cli.main import main; main()"
    assert python(code, "index", video).stderr == ""
    loud = python(code, "--verbose", "index", "--overwrite", video).stderr
    assert f"wrote the frame index of {video} (48 frames)" in loud


def test_ctrl_c_ends_without_a_traceback(
    video: Path, other: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(uri: str, **options: object) -> LanceFrameIndex:
        if uri == str(other):
            raise KeyboardInterrupt
        return write_frame_index(uri, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("mediaref_ursa._index.build.write_frame_index", interrupted)
    result = run("index", video, text, other)
    assert result.exit_code == 130
    assert result.stdout.startswith(f"{video}: written")
    failure, last = result.stderr.splitlines()
    assert failure.startswith(f"error: {text}: ")
    assert last == "error: interrupted"
    assert len(LanceFrameIndex.open(str(video))) == 48


# --- inspect --------------------------------------------------------------------------------------


def test_inspect_tells_whether_the_index_is_fresh(video: Path, other: Path) -> None:
    states = [inspected(video)["index"]]
    run("index", video)
    states.append(inspected(video)["index"])
    shutil.copy(other, video)
    stale = inspected(video)
    assert [*states, stale["index"]] == ["none", "fresh", "stale"]
    assert stale["frames"] == 70  # the video was scanned: a stale index tells nothing
    result = run("inspect", video)
    assert "index                     stale, the video was scanned" in result.stdout
    assert result.stderr.startswith("note: the frame index is not used: ")


def inspected(video: Path | str) -> dict[str, object]:
    result = run("inspect", "--json", video)
    assert result.exit_code == 0
    report: dict[str, object] = json.loads(result.stdout)
    return report


def test_the_index_and_a_scan_tell_the_same(video: Path) -> None:
    scanned = inspected(video)
    run("index", video)
    found = {"index": "fresh", "location": "beside", "index_uri": f"{video}.lance"}
    assert inspected(video) == {**scanned, **found}


def test_text_and_json_tell_the_same(video: Path) -> None:
    report = inspected(video)
    lines = dict(line.split("  ", maxsplit=1) for line in run("inspect", video).stdout.splitlines())
    told = {name.strip(): value.strip() for name, value in lines.items()}
    assert told["codec"] == report["codec"] == "h264"
    assert told["frames"] == str(report["frames"])
    assert told["packets per random frame"] == f"{report['packets_per_random_frame']:.2f} on average"


def test_an_index_without_frames_is_not_believed(video: Path) -> None:
    table = scan_frame_index(str(video)).segment_table(0)
    none = np.empty(0, np.int64)
    frames = {"pts": none, "duration": none, "timestamp": none.astype(float), "packet": none, "start": none}
    empty = replace(table, **frames, packets=packet_table(0))
    metadata = encode_metadata([empty], f"{video}.lance")
    schema = SCHEMA.with_metadata({METADATA_KEY: metadata})
    lance.write_dataset(schema.empty_table(), f"{video}.lance")
    report = inspected(video)
    assert (report["index"], report["frames"]) == ("damaged", 48)


def test_inspect_of_an_index_of_base_columns(video: Path) -> None:
    lance.write_dataset(base_columns(video), f"{video}.lance")
    report = inspected(video)
    assert (report["index"], report["frames"]) == ("base columns only", 48)


def test_inspect_over_http(video: Path) -> None:
    with ObjectServer({"/video.mp4": video.read_bytes()}) as server:
        report = inspected(f"http://127.0.0.1:{server.port}/video.mp4?sig=1")
    local = inspected(video)
    assert report == {**local, "uri": f"http://127.0.0.1:{server.port}/video.mp4"}


@pytest.mark.parametrize("command", ["inspect", "demo"])
def test_bad_input_is_one_line_on_stderr(command: str, text: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    for bad in (text, empty, folder, tmp_path / "missing.mp4", "ftp://host/a.mp4", "data:,"):
        result = run(command, bad)
        assert result.exit_code == 1, bad
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: {bad}")


def base_columns(video: Path) -> pa.Table:
    table = scan_frame_index(str(video)).segment_table(0)
    count = len(table)
    values = [np.zeros(count, np.int64), np.arange(count), table.pts, table.timestamp]
    return pa.table(dict(zip(BASE_COLUMNS, values, strict=True)))


# --- demo -----------------------------------------------------------------------------------------


def test_the_demo_without_a_video(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = run("demo", "--output", out)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == str(out / "contact_sheet.png")
    assert lines[-2] == "all 96 frames equal those of the linear decode, pixel for pixel"
    assert sorted(path.name for path in out.iterdir()) == [
        "contact_sheet.png",
        "counter.mp4",
        "counter.mp4.lance",
        "references.parquet",
    ]
    assert Path(lines[-1]).read_bytes().startswith(b"\x89PNG")
    assert run("demo", "--output", out).exit_code == 0  # it may be run again


def test_the_demo_in_a_temporary_directory(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run("demo", video)
    sheet = Path(result.stdout.splitlines()[-1])
    assert sheet.is_file()
    assert sheet.parent.parent == tmp_path


def test_the_demo_takes_other_frames_with_another_seed(video: Path, tmp_path: Path) -> None:
    tables = []
    for seed in ("0", "0", "1"):
        run("demo", video, "--output", tmp_path / "out", "--seed", seed)
        tables.append((tmp_path / "out" / "references.parquet").read_bytes())
    assert tables[0] == tables[1] != tables[2]


def test_a_wrong_frame_is_exit_code_1_and_named(clip: GetClip, tmp_path: Path) -> None:
    video = Path(shutil.copy(clip("h264_all_intra_mp4").path, tmp_path / "video.mp4"))
    table = scan_frame_index(str(video)).segment_table(0)
    shifted = replace(table, pts=table.pts + int(table.pts[1]))
    write_index(f"{video}.lance", [shifted])
    assert batch_decode([{"uri": str(video), "pts_ns": int(shifted.pts_ns[0])}])
    result = run("demo", video, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "frames are wrong" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "out" / "contact_sheet.png")
    for line in result.stderr.splitlines():
        assert line.startswith("error: wrong frame: ")
    assert f"one window, position 0, {video} at {shifted.pts_ns[0]} ns: " in result.stderr


def test_an_output_directory_that_cannot_be_made_is_one_line(video: Path) -> None:
    result = run("demo", video, "--output", video / "under_a_file")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")


def test_real_files_come_out_right(shared_media: Path, tmp_path: Path) -> None:
    for name in (
        "h265_video.mp4",
        "nasa_13013_rotated.mp4",
        "test_non_zero_start.mp4",
        "discard_first_keyframe.mp4",
    ):
        result = run("demo", shared_media / name, "--output", tmp_path)
        assert result.exit_code == 0, result.output
