"""References checked: each kind of finding made by a real file, and the verdict that of decoding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _cli_runner import run
from _media import Clip
from _oracle import linear_frames
from PIL import Image

from mediaref_ursa import MediaRef, batch_decode, counters, write_frame_index
from mediaref_ursa._index import row_tables
from mediaref_ursa.check import CheckReport, check_refs, relocate
from mediaref_ursa.layout import lance_frame_index_uri

GetClip = Callable[[str], Clip]
REF = pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> str:
    path = str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "a.mp4"))
    write_frame_index(path)
    return path


@pytest.fixture
def times(video: str) -> list[int]:
    return [round(frame.time * 10**9) for frame in linear_frames(video)]


def kinds(report: CheckReport) -> dict[str, tuple[int, ...]]:
    return {finding.kind: finding.rows for finding in report.findings}


def test_good_references_decode_nothing(video: str, times: list[int]) -> None:
    before = counters()
    report = check_refs([MediaRef(video, time) for time in times])
    assert counters().packets_decoded == before.packets_decoded
    assert report.is_ok
    assert kinds(report) == {}
    assert (report.references, report.videos, report.images, report.decoded) == (len(times), 1, 0, 0)
    assert "no errors" in report.to_text()
    assert check_refs([]).is_ok


def test_media_that_are_missing_or_none(video: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "b.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    refs = [
        MediaRef(video, 0),
        MediaRef(str(tmp_path / "gone.mp4"), 0),
        MediaRef(str(tmp_path / "gone.png")),
        MediaRef(str(tmp_path / "text.mp4"), 0),
        MediaRef(str(tmp_path / "b.png")),
        MediaRef("data:image/png;base64,iVBORw0KGgo="),
    ]
    report = check_refs(refs)
    found = kinds(report)
    assert found["missing media"] == (1, 2)
    assert found["unreadable media"] == (3,)
    assert not report.is_ok
    assert report.images == 3
    assert "gone" in report.of_kind("missing media").text  # type: ignore[union-attr]


def test_indexes_that_are_stale_damaged_or_not_there(
    video: str, times: list[int], clip: GetClip, tmp_path: Path
) -> None:
    refs = [MediaRef(video, time) for time in times[:3]]
    shutil.copy(clip("h264_idr_mp4").path, video)
    assert kinds(check_refs(refs[:1])) == {"stale index": (0,)}
    shutil.rmtree(lance_frame_index_uri(video))
    assert kinds(check_refs(refs[:1])) == {"no index": (0,)}
    assert check_refs(refs[:1]).is_ok
    folder = Path(lance_frame_index_uri(video))
    write_frame_index(video)
    for file in (folder / "data").iterdir():
        file.write_bytes(b"\x00" * file.stat().st_size)
    found = kinds(check_refs(refs[:1]))
    assert "damaged index" in found or "stale index" in found


def test_times_outside_and_far_from_frames(video: str, times: list[int]) -> None:
    refs = [MediaRef(video, time) for time in (times[0] - 10**9, times[3] + 4_000_000, times[5], 10**12)]
    assert kinds(check_refs(refs)) == {"outside the video": (0, 3)}
    found = kinds(check_refs(refs, nearest_ns=3_999_000))
    assert found == {"outside the video": (0, 3), "far from any frame": (0, 1, 3)}
    assert kinds(check_refs(refs[1:3], nearest_ns=4_001_000)) == {}


def test_frame_numbers_of_the_table(video: str, times: list[int]) -> None:
    refs = [MediaRef(video, time) for time in times]
    numbers = np.arange(len(times))
    assert check_refs(refs, frame_numbers=numbers).is_ok
    numbers[[4, 9]] += 1
    report = check_refs(refs, frame_numbers=numbers)
    assert kinds(report) == {"another frame number": (4, 9)}
    assert "frame 4" in report.of_kind("another frame number").text  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="one a reference"):
        check_refs(refs, frame_numbers=[1])


def test_rows_that_repeat_and_rows_of_lists(video: str, times: list[int]) -> None:
    refs = [MediaRef(video, time) for time in (times[0], times[1], times[0] + 500, times[0])]
    assert kinds(check_refs(refs)) == {"duplicates": (2, 3)}
    lists = [refs[:2], refs[1:2], [MediaRef(video, 10**12), refs[0]]]
    found = kinds(check_refs(lists))
    assert found["outside the video"] == (2,)
    assert found["duplicates"] == (1, 2)


def test_frozen_frames(tmp_path: Path) -> None:
    import av

    path = str(tmp_path / "frozen.mov")
    pictures = np.random.default_rng(0).integers(0, 255, (10, 48, 64, 3), dtype=np.uint8)
    with av.open(path, "w") as file:
        stream: Any = file.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(
                pictures[min(number, 4) if number < 8 else number], format="rgb24"
            )
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    write_frame_index(path)
    refs = [MediaRef(path, round(number / 25 * 10**9)) for number in range(10)]
    report = check_refs(refs)
    assert kinds(report) == {"frozen frames": (5, 6, 7)}
    assert report.is_ok


def test_videos_that_differ(video: str, times: list[int], tmp_path: Path, clip: GetClip) -> None:
    other = str(shutil.copy(clip("vp9_odd_webm").path, tmp_path / "b.webm"))
    write_frame_index(other)
    refs = [*(MediaRef(video, time) for time in times[:4]), MediaRef(other, 0)]
    report = check_refs(refs)
    assert report.is_ok
    assert set(kinds(report)) == {"mixed sizes", "mixed frame rates", "mixed codecs"}
    assert all(rows == (4,) for rows in kinds(report).values())


def test_segments_that_do_not_follow_each_other(clip: GetClip, tmp_path: Path) -> None:
    parts = [str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / f"{i}.mp4")) for i in range(2)]
    count = len(linear_frames(parts[0]))
    clock = np.arange(2 * count) / 29.97
    for name, gap in (("good", 0.0), ("gap", 1.0), ("overlap", -0.02)):
        moved = clock + np.where(np.arange(2 * count) >= count, gap, 0.0)
        uri = str(tmp_path / name)
        write_frame_index(uri, segments=parts, timestamps=moved)
        report = check_refs([MediaRef(uri, 0)])
        assert ("segments apart" in kinds(report)) == (name != "good"), name
        assert report.is_ok


@pytest.mark.parametrize("seed", range(4))
def test_the_verdict_is_that_of_decoding(seed: int, clip: GetClip, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    paths = []
    for name in ("h264_29_97_mp4", "hevc_open_gop_mp4", "vp9_alt_ref_webm"):
        source = clip(name).path
        paths.append(str(shutil.copy(source, tmp_path / source.name)))
        write_frame_index(paths[-1])
    paths.append(str(tmp_path / "gone.mp4"))
    refs = [
        MediaRef(paths[int(rng.integers(len(paths)))], int(rng.integers(-(10**9), 6 * 10**9)))
        for _ in range(60)
    ]
    decoded = batch_decode(refs, on_error="none")
    report = check_refs(refs)
    wrong = {
        row for row in range(len(refs)) for finding in check_refs([refs[row]]).findings if finding.is_error
    }
    assert wrong == set(decoded.errors)
    assert sum(finding.count for finding in report.findings if finding.is_error) == len(decoded.errors)


def test_pixels_are_compared(video: str, times: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    refs = [MediaRef(video, time) for time in times]
    report = check_refs(refs, decode=12)
    assert (report.is_ok, report.decoded) == (True, 12)
    import mediaref_ursa.check._pixels as pixels

    whole = pixels.batch_decode
    monkeypatch.setattr(pixels, "batch_decode", lambda *args, **given: _spoiled(whole(*args, **given)))
    report = check_refs(refs, decode=12)
    assert len(report.of_kind("wrong pixels").rows) == 1  # type: ignore[union-attr]
    assert not report.is_ok


def _spoiled(frames: Any) -> Any:
    frames[3][0, 0, 0] ^= 1
    return frames


def test_relocated_tables(video: str, tmp_path: Path) -> None:
    moved = relocate([MediaRef("/old/a.mp4", 0)], {"/old": str(tmp_path)})
    assert check_refs(moved).is_ok
    assert check_refs([MediaRef("/old/a.mp4", 0)], rebase={"/old": str(tmp_path)}).is_ok


def tables(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    table = pa.table(
        {"obs": pa.array(rows, REF), "number": pa.array(range(len(rows))), "other": pa.array(rows, REF)}
    )
    pq.write_table(table, folder / "t.parquet")
    lance.write_dataset(table, str(folder / "t.lance"))
    (folder / "t.jsonl").write_text(
        "".join(json.dumps({"obs": row, "number": i}) + "\n" for i, row in enumerate(rows))
    )
    return [folder / "t.parquet", folder / "t.lance", folder / "t.jsonl"]


def test_the_command(video: str, times: list[int], tmp_path: Path) -> None:
    rows = [{"uri": video, "pts_ns": time} for time in times[:6]]
    for table in tables(tmp_path, rows):
        done = run("check", table, "--column", "obs", "--frame-column", "number", "--decode", "3")
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        assert "6 references to 1 video and 0 images, 3 frames decoded: no errors" in done.stdout
    rows[2]["uri"] = "gone.mp4"
    for table in tables(tmp_path / "new", rows) if (tmp_path / "new").mkdir() is None else ():
        done = run("check", table, "--column", "obs", "--json")
        assert done.exit_code == 1
        report = json.loads(done.stdout)
        assert report["findings"][0]["kind"] == "missing media"
        assert report["findings"][0]["rows"] == [2]


def test_bad_input_of_the_command(video: str, tmp_path: Path) -> None:
    table = tables(tmp_path, [{"uri": video, "pts_ns": 0}])[0]
    (tmp_path / "text.parquet").write_text("no table")
    for arguments, code, text in (
        (["gone.parquet"], 1, "found nothing there"),
        ([str(tmp_path / "text.parquet")], 1, "expected a table"),
        ([str(table)], 1, "pass column="),
        ([str(table), "--column", "none"], 1, "expected a column 'none'"),
        ([str(table), "--column", "number"], 1, "expected"),
        ([str(table), "--column", "obs", "--frame-column", "none"], 2, "expected a column 'none'"),
        ([str(table), "--column", "obs", "--decode", "-1"], 2, "range"),
    ):
        done = run("check", *arguments)
        assert (done.exit_code, "Traceback" in done.stderr) == (code, False), (arguments, done.output)
        assert text in done.stderr, (arguments, done.stderr)


def test_a_table_that_is_not_trusted_is_read_under_limits(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tables(tmp_path, [{"uri": video, "pts_ns": 0}])[1]
    limits: list[Any] = []
    whole = row_tables.read
    monkeypatch.setattr(
        row_tables,
        "read",
        lambda *args, **given: (limits.append(given["rules"].limits), whole(*args, **given))[1],
    )
    for options in ([], ["--untrusted"]):
        assert run("check", table, "--column", "obs", *options).exit_code == 0
    assert [limit is not None for limit in limits] == [False, True]
