"""LeRobot data sets: every row gets its own frame, bit for bit, or is told of."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _cli_runner import run
from _http_server import ObjectServer
from _lerobot import DEPTH, FPS, TOP, WRIST, DataSet, write_data_set, write_version_2
from _s3 import new_bucket

from mediaref_ursa import (
    CorruptMediaError,
    InvalidReferenceError,
    MediaNotFoundError,
    MediaRefError,
    MediaRefWarning,
    batch_decode,
)
from mediaref_ursa._core.media_warnings import given_warnings
from mediaref_ursa.check import check_lerobot
from mediaref_ursa.lerobot import FrameTimestampError, LeRobotRefs, decode_video_frames, is_data_set


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_data_set(tmp_path_factory.mktemp("lerobot") / "set")


@pytest.fixture
def copied(written: DataSet, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written.root, tmp_path / "set"))


def check(made: DataSet, table: pa.Table, camera: str, **options: Any) -> None:
    frames = batch_decode(table, column=camera, **options)
    episodes, numbers = table.column("episode_index").to_pylist(), table.column("frame_index").to_pylist()
    for frame, episode, number in zip(frames, episodes, numbers, strict=True):
        assert np.array_equal(frame, made.frames[camera][episode][number]), (camera, episode, number)


def test_each_row_gets_its_own_frame(written: DataSet) -> None:
    data = LeRobotRefs(written.root)
    assert (data.fps, data.cameras, data.depth_cameras) == (FPS, [TOP, WRIST, DEPTH], [DEPTH])
    assert data.episodes.tolist() == sorted(written.lengths)
    assert data.tasks == {0: "push", 1: "pull"}
    assert "episodes=7" in repr(data)
    table = data.refs()
    assert len(table) == sum(written.lengths.values())
    assert table.schema.field(TOP).type == pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])
    for camera in data.cameras:
        check(written, table, camera, **data.decode_options(camera))
    states = table.column("observation.state").to_pylist()
    assert states == [[float(e), float(i)] for e, n in sorted(written.lengths.items()) for i in range(n)]
    assert set(table.column("task").to_pylist()) == {"push", "pull"}
    assert data.problems() == []


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("drift", [0.0, 0.49])
def test_starts_drift_by_up_to_half_a_frame(tmp_path: Path, drift: float, float32: bool) -> None:
    made = write_data_set(tmp_path / "set", drift=drift, float32=float32)
    check(made, LeRobotRefs(made.root).refs(camera="top"), TOP)


def test_some_episodes_and_cameras(written: DataSet) -> None:
    data = LeRobotRefs(str(written.root))
    table = data.refs(episodes=[7, 0, 7], camera="wrist")
    assert sorted(set(table.column("episode_index").to_pylist())) == [0, 7]
    assert TOP not in table.column_names
    check(written, table, WRIST)
    both = data.refs(episodes=[3], camera=[TOP, "depth"])
    check(written, both, TOP)
    assert data.refs(episodes=[]).num_rows == 0
    for wrong in ({"episodes": [1]}, {"episodes": [99]}, {"camera": "none"}, {"camera": "images"}):
        with pytest.raises(InvalidReferenceError, match="expected"):
            data.refs(**wrong)  # type: ignore[arg-type]


def test_windows_are_those_of_lerobot(written: DataSet) -> None:
    data = LeRobotRefs(written.root)
    deltas = {"top": [-2 / FPS, 0.0, 1 / FPS], "observation.state": [0.0, 3 / FPS]}
    table = data.refs(camera="top", delta_timestamps=deltas)
    frames = batch_decode(table, column=TOP, as_array=True)
    states = np.array(table.column("observation.state").to_pylist())
    pads = np.array(table.column(f"{TOP}_is_pad").to_pylist())
    row = 0
    for episode, length in sorted(written.lengths.items()):
        for number in range(length):
            for place, step in enumerate((-2, 0, 1)):
                own = min(max(number + step, 0), length - 1)
                assert np.array_equal(frames[row, place], written.frames[TOP][episode][own])
                assert pads[row, place] == (not 0 <= number + step < length)
            assert states[row].tolist() == [[episode, number], [episode, min(number + 3, length - 1)]]
            row += 1
    with pytest.raises(ValueError, match="multiples of 1/30"):
        data.refs(delta_timestamps={"top": [0.01]})
    with pytest.raises(InvalidReferenceError, match="expected one of the cameras"):
        data.refs(delta_timestamps={"none": [0.0]})


def change_episodes(root: Path, **changes: Any) -> None:
    for path in (root / "meta/episodes/chunk-000").glob("*.parquet"):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            if row["episode_index"] == 3:
                row.update(changes)
        pq.write_table(pa.Table.from_pylist(rows), path)


def test_rows_that_do_not_fit_are_told_of_and_not_guessed(copied: Path, written: DataSet) -> None:
    change_episodes(copied, **{f"videos/{TOP}/from_timestamp": 2.5})  # another episode's frames
    path = copied / "data/chunk-000/file-001.parquet"
    table = pq.read_table(path)
    times = table.column("timestamp").to_numpy().copy()
    times[4] += 0.04
    times[9] = np.nan
    pq.write_table(table.set_column(1, "timestamp", pa.array(times, pa.float32())), path)
    data = LeRobotRefs(copied)
    problems = data.problems(camera="top")
    assert {problem.episode: problem.rows for problem in problems}[3] >= 1
    assert sum(problem.rows for problem in problems if problem.episode >= 5) == 2
    with pytest.raises(CorruptMediaError, match="episode 3"):
        data.refs(camera="top")
    left = data.refs(camera="top", on_error="none")
    missing = left.column(TOP).is_null().to_numpy()
    assert missing.sum() == sum(problem.rows for problem in problems)
    kept = left.filter(pa.array(~missing & (left.column("episode_index").to_numpy() != 3)))
    check(written, kept, TOP)
    change_episodes(copied, **{f"videos/{TOP}/from_timestamp": float("nan")})
    with pytest.raises(CorruptMediaError, match="from_timestamp"):
        LeRobotRefs(copied).refs(episodes=[3], camera="top")
    change_episodes(copied, **{f"videos/{TOP}/from_timestamp": 100.0})
    (first, *_) = LeRobotRefs(copied).problems(episodes=[3], camera="top")
    assert (first.rows, "within half a frame" in first.text) == (written.lengths[3], True)


def test_version_2(tmp_path: Path) -> None:
    made = write_version_2(tmp_path / "set")
    data = LeRobotRefs(made.root)
    table = data.refs()
    assert len(table) == 19
    check(made, table, TOP)
    assert set(table.column("task").to_pylist()) == {"push"}


def test_over_http_and_in_a_bucket(written: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        str(path.relative_to(written.root)): path.read_bytes()
        for path in written.root.rglob("*")
        if path.is_file()
    }
    with ObjectServer({f"/set/{name}": data for name, data in files.items()}) as server:
        data = LeRobotRefs(f"http://127.0.0.1:{server.port}/set")
        check(written, data.refs(episodes=[0, 8], camera="top"), TOP)
    bucket = new_bucket(monkeypatch)
    for name, content in files.items():
        bucket.put(f"set/{name}", content)
    uri = f"s3://{bucket.name}/set"
    table = LeRobotRefs(uri, storage_options=bucket.options).refs(episodes=[4], camera="wrist")
    check(written, table, WRIST, storage_options=bucket.options)


def test_revisions_are_of_the_hub() -> None:
    from mediaref_ursa.lerobot._metadata import root_uri

    assert root_uri("hf://datasets/me/set/", "abc") == "hf://datasets/me/set@abc"
    for root in ("s3://bucket/set", "folder", "hf://datasets/me/set@main", "hf://datasets/me/set/sub"):
        with pytest.raises(ValueError, match="revision="):
            LeRobotRefs(root, revision="abc")


def edit_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v1.6"}, "version 3 or 2.1"),
        ({"fps": 0}, "fps above 0"),
        ({"fps": "30"}, "fps above 0"),
        ({"features": []}, "features"),
        ({"video_path": "../{video_key}/{file_index}.mp4"}, "below the data set"),
        ({"video_path": "/etc/{video_key}"}, "below the data set"),
        ({"video_path": "http://host/{video_key}"}, "below the data set"),
        ({"video_path": "{video_key.__class__}"}, "path template"),
        ({"video_path": "{other}"}, "path template"),
        ({"video_path": None}, "path template"),
        ({"data_path": "{chunk_index:>999999999999d}"}, "path template"),
    ],
    ids=str,
)
def test_damaged_and_hostile_metadata(copied: Path, changes: dict[str, Any], message: str) -> None:
    edit_info(copied, **changes)
    with pytest.raises(MediaRefError, match=message):
        LeRobotRefs(copied, untrusted=True).refs(camera="top")


def test_files_that_are_missing_or_none(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"info\.json"):
        LeRobotRefs(tmp_path)
    (copied / f"videos/{WRIST}/chunk-000/file-001.mp4").unlink()
    with pytest.raises(MediaNotFoundError, match=r"file-001\.mp4"):
        LeRobotRefs(copied).refs(camera="wrist")
    (copied / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptMediaError, match="expected a table"):
        LeRobotRefs(copied).refs(camera="top")
    change_episodes(copied, **{"data/file_index": 1})
    with pytest.raises(CorruptMediaError, match="expected 20 rows of episode 3, found 0"):
        LeRobotRefs(copied).refs(episodes=[3], camera="top")
    shutil.rmtree(copied / "meta/episodes")
    with pytest.raises(MediaNotFoundError, match="episodes"):
        LeRobotRefs(copied)
    (copied / "meta/info.json").write_text("[1")
    with pytest.raises(CorruptMediaError, match="JSON"):
        LeRobotRefs(copied)


def test_lerobots_function(written: DataSet) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    path = written.root / f"videos/{TOP}/chunk-000/file-000.mp4"
    frames = np.concatenate([written.frames[TOP][0], written.frames[TOP][2]])
    rng = np.random.default_rng(0)
    wanted = rng.uniform(0, 11 / FPS, 12)
    nearest = np.round(wanted * FPS).astype(int)
    found = decode_video_frames(path, wanted.tolist(), 0.5 / FPS, "pyav", return_uint8=True)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), frames[nearest].transpose(0, 3, 1, 2))
    floats = decode_video_frames(str(path), wanted.tolist(), 0.5 / FPS)
    assert torch.equal(floats, found.to(torch.float32) / 255)
    for error in (FrameTimestampError, AssertionError, MediaRefError):
        with pytest.raises(error, match="tolerance_s"):
            decode_video_frames(path, [0.4 / FPS], 1e-4)
        with pytest.raises(error, match="tolerance_s"):
            decode_video_frames(path, [100.0], 1e-4)
    depth = written.root / f"videos/{DEPTH}/chunk-000/file-000.mp4"
    values = decode_video_frames(depth, [0.0, 2 / FPS], 1e-3, is_depth=True)
    assert values.dtype == torch.uint16
    assert np.array_equal(values.numpy()[:, 0], written.frames[DEPTH][0][[0, 2], ..., 0])
    with pytest.raises(MediaNotFoundError):
        decode_video_frames("gone.mp4", [0.0], 1e-4)


def test_in_a_data_set_of_torch(written: DataSet) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    import mediaref_ursa.torch as ours

    table = LeRobotRefs(written.root).refs(camera=["top", "wrist"])
    data = ours.RunShuffleDataset(
        ours.RefDataset(table, {"top": TOP, "wrist": WRIST}), 8, buffer_references=30
    )
    rows = 0
    for batch in data:
        for place, (episode, number) in enumerate(
            zip(batch["episode_index"], batch["frame_index"], strict=True)
        ):
            for key, camera in (("top", TOP), ("wrist", WRIST)):
                expected = written.frames[camera][int(episode)][int(number)].transpose(2, 0, 1)
                assert np.array_equal(batch[key][place], expected)
            rows += 1
    assert rows == len(table)


def test_a_data_set_is_checked(written: DataSet, copied: Path) -> None:
    report = check_lerobot(written.root, decode=2)
    assert report.is_ok
    assert report.references == 3 * sum(written.lengths.values())
    assert (report.videos, report.decoded) == (9, 6)
    assert {finding.kind for finding in report.findings} == {"no index"}
    change_episodes(copied, **{f"videos/{TOP}/from_timestamp": 10.0 / FPS})
    report = check_lerobot(copied, camera="top")
    kinds = {finding.kind: finding for finding in report.findings}
    assert kinds["duplicates"].count > 0
    assert not kinds["duplicates"].is_error
    overlap = kinds["episodes overlap"]
    assert overlap.is_error
    assert overlap.count == kinds["duplicates"].count
    assert re.search(r"top: episodes 3 and 4 share frames of .*file-001.mp4", overlap.text)
    change_episodes(copied, **{f"videos/{TOP}/from_timestamp": 100.0})
    for done in (run("check", copied, "--column", "top"), run("check", copied, "--json")):
        assert done.exit_code == 1
        assert "no frame at the row's time" in done.stdout
        assert "episode 3" in done.stdout
    assert run("check", written.root).exit_code == 0
    refused = run("check", written.root, "--nearest-ns", "5", "--base-dir", "x")
    assert (refused.exit_code, "--nearest-ns, --base-dir with a table" in refused.stderr) == (2, True)


def test_roots_are_data_sets_of_torch(written: DataSet) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    import mediaref_ursa.torch as ours

    for source in (str(written.root), LeRobotRefs(written.root)):
        data = ours.RefDataset(source, {"top": TOP})
        assert np.array_equal(data[3]["top"], written.frames[TOP][0][3].transpose(2, 0, 1))
    assert is_data_set(str(written.root))
    assert not is_data_set(str(written.root / "meta"))


def test_a_missing_file_of_episodes_is_a_warning(copied: Path) -> None:
    edit_info(copied, total_episodes=7)
    assert len(LeRobotRefs(copied).episodes) == 7
    (copied / "meta/episodes/chunk-000/file-001.parquet").unlink()
    given_warnings.forget()
    with pytest.warns(MediaRefWarning, match="expected 7 episodes"):
        assert len(LeRobotRefs(copied).episodes) == 3
