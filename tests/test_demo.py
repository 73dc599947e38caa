"""The demo: its clip, its references, its batches, and above all that its check finds wrong frames."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _media import Clip
from _oracle import RGBArray, linear_frames, shown_at, to_rgb
from _tables import segment_table
from av.video.frame import PictureType
from PIL import Image

from mediaref_ursa import CorruptMediaError, FrameIndexExistsError, MediaRef, write_frame_index
from mediaref_ursa._cli.demo.demo import (
    RANDOM_FRAMES,
    REFERENCES,
    WINDOW_FRAMES,
    Work,
    choose_frames,
    references_to,
    run_demo,
    table_text,
    through_parquet,
)
from mediaref_ursa._cli.demo.pictures import Tile, write_contact_sheet, write_counter_clip
from mediaref_ursa._decode.linear_decode import Wanted, check_frames, linear_frames_at
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.lance_table import write_index
from mediaref_ursa._model.segment import SegmentTable

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, folder / "video.mp4"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def wanted_and_frames(path: Path) -> tuple[list[Wanted], list[RGBArray]]:
    """All frames of a file, as a caller would have them who got them right."""
    truth = linear_frames(path)
    times = [round(frame.time * 10**9) for frame in truth]
    wanted = [
        Wanted(f"frame {number}", MediaRef(str(path), time_ns), str(path), time_ns)
        for number, time_ns in enumerate(times)
    ]
    return wanted, [frame.rgb for frame in truth]


def swap_packets(table: SegmentTable, one: int, other: int) -> SegmentTable:
    """Return a table that says of two packets that each stands where the other does."""
    order = np.arange(len(table.packets))
    order[[one, other]] = order[[other, one]]
    moved = {name: getattr(table.packets, name)[order] for name in ("offset", "size", "crc32")}
    return replace(table, packets=replace(table.packets, **moved))


# --- the check ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "h264_pyramid_mp4",
        "h264_open_gop_mkv",
        "h264_edit_list_mp4",
        "h264_vfr_mp4",
        "h264_29_97_mp4",
        "h264_ts",
        "vp8_hidden_webm",
        "rotated_90_mp4",
        "rotated_180_mp4",
        "colour_bt709_full_mp4",
    ],
)
def test_right_frames_pass(clip: GetClip, name: str) -> None:
    wanted, frames = wanted_and_frames(clip(name).path)
    check = check_frames(wanted, frames)
    assert check.wrong == ()
    assert check.frames_decoded == len(frames)


def test_swapped_frames_are_found_and_named(video: Path) -> None:
    wanted, frames = wanted_and_frames(video)
    frames[7], frames[8] = frames[8], frames[7]
    wrong = check_frames(wanted, frames).wrong
    assert [one.wanted.label for one in wrong] == ["frame 7", "frame 8"]
    assert str(wrong[0]).startswith(f"wrong frame: frame 7, {video} at {wanted[7].local_ns} ns: ")


def test_one_pixel_that_is_off_by_one_is_found(video: Path) -> None:
    wanted, frames = wanted_and_frames(video)
    frames[20] = frames[20].copy()
    frames[20][5, 6, 1] ^= 1
    (wrong,) = check_frames(wanted, frames).wrong
    assert wrong.wanted is wanted[20]
    assert wrong.reason.startswith(f"1 of {96 * 64} pixels differ from the frame with pts ")


def test_a_frame_of_another_shape_is_wrong(video: Path) -> None:
    wanted, frames = wanted_and_frames(video)
    (wrong,) = check_frames(wanted[:1], [np.rot90(frames[0])]).wrong
    assert wrong.reason == "expected the shape (64, 96, 3), found (96, 64, 3)"


def test_a_frame_where_nothing_is_shown_is_wrong(clip: GetClip) -> None:
    path = clip("h264_late_start_mp4").path
    wanted, frames = wanted_and_frames(path)
    early = replace(wanted[0], local_ns=wanted[0].local_ns - 2_000)
    (wrong,) = check_frames([early], frames[:1]).wrong
    assert wrong.reason == "the linear decode gives no frame at that time"


def test_frames_of_two_files_are_held_against_their_own(clip: GetClip) -> None:
    first, second = (wanted_and_frames(clip(name).path) for name in ("h264_idr_mp4", "hevc_open_gop_mp4"))
    wanted, frames = [*first[0], *second[0]], [*first[1], *second[1]]
    check = check_frames(wanted, frames)
    assert check.wrong == ()
    assert check.frames_decoded == len(frames)
    assert len(check_frames(wanted, frames[::-1]).wrong) == len(frames)


@pytest.mark.parametrize(
    "name", ["h264_29_97_mp4", "h264_vfr_mkv", "h264_duplicate_pts_mkv", "h264_edit_list_mp4"]
)
def test_the_linear_decode_keeps_the_playback_rule(clip: GetClip, name: str) -> None:
    path = clip(name).path
    truth = linear_frames(path)
    times = [int(frame.time * 10**9) + shift for frame in truth for shift in (0, 1, -999, -1001, 5_000_000)]
    times = [time_ns for time_ns in times if truth[0].time * 10**9 - 1000 <= time_ns < truth[-1].end * 10**9]
    shown, count = linear_frames_at(str(path), times)
    assert count >= len(truth)
    for time_ns, frame in zip(times, shown, strict=True):
        assert frame is not None
        assert np.array_equal(to_rgb(frame), truth[shown_at(truth, time_ns)].rgb)


def test_every_frame_of_the_linear_decode_is_told_of(video: Path) -> None:
    seen: list[int] = []
    _, count = linear_frames_at(str(video), [0], lambda: seen.append(1))
    assert len(seen) == count == 48


def test_a_file_that_cannot_be_decoded_is_an_error_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(CorruptMediaError):
        linear_frames_at(str(tmp_path / "empty.mp4"), [0])


# --- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 300, 1000, 100_000])
def test_the_frames_chosen_are_a_window_and_random_others(count: int) -> None:
    window, others = choose_frames(count, seed=3)
    assert len(window) == min(WINDOW_FRAMES, count)
    assert (np.diff(window) == 1).all()
    assert len(window) + len(others) == REFERENCES
    for numbers in (window, others):
        assert numbers.min() >= 0
        assert numbers.max() < count
    if count >= REFERENCES:
        assert len(np.unique(others)) == len(others)


def test_the_choice_depends_on_the_seed_alone() -> None:
    assert all(
        np.array_equal(a, b) for a, b in zip(choose_frames(300, 1), choose_frames(300, 1), strict=True)
    )
    assert not np.array_equal(choose_frames(300, 1)[1], choose_frames(300, 2)[1])


def test_references_run_on_over_segments() -> None:
    second = segment_table([0, 90_000], duration=90_000)
    first = segment_table([90_000, 180_000], duration=90_000)
    refs = references_to("a.mp4", [first, second], np.array([3, 0, 2]))
    assert [ref.pts_ns for ref in refs] == [4_000_000_000, 1_000_000_000, 3_000_000_000]


def test_references_go_through_parquet_as_a_struct_column(tmp_path: Path) -> None:
    refs = [MediaRef("a.mp4", 5), MediaRef("b.mp4", 2**62)]
    path = tmp_path / "references.parquet"
    assert through_parquet(refs, path) == refs
    column = pq.read_schema(path).field("frame").type
    assert column == pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])


# --- pictures -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counter_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counter") / "counter.mp4"
    write_counter_clip(path)
    return path


def test_the_counter_clip_is_ten_seconds_of_h264_with_b_frames(counter_clip: Path) -> None:
    with av.open(str(counter_clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 640, 360)
        frames = list(container.decode(stream))
        kinds = {PictureType(frame.pict_type).name for frame in frames}
        seconds = [frame.pts * stream.time_base for frame in frames]
    assert seconds == [number * (seconds[1] - seconds[0]) for number in range(300)]
    assert float(seconds[-1] + seconds[1]) == 10.0
    assert kinds == {"I", "P", "B"}


def test_a_wrong_frame_is_marked_red_on_the_contact_sheet(tmp_path: Path) -> None:
    grey = np.full((90, 160, 3), 90, dtype=np.uint8)
    tiles = [Tile(grey, "0.000 s", is_wrong=False) for _ in range(9)]
    sheets = []
    for name, shown in (("right", tiles), ("wrong", [*tiles[:-1], replace(tiles[-1], is_wrong=True)])):
        write_contact_sheet(tmp_path / f"{name}.png", [("nine", shown), ("one", tiles[:1])])
        with Image.open(tmp_path / f"{name}.png") as sheet:
            sheets.append(np.asarray(sheet).astype(int))
    right, wrong = sheets
    assert right.shape == wrong.shape
    changed = np.argwhere((right != wrong).any(axis=2))
    assert len(changed)
    assert changed[:, 1].max() < 176  # the ninth tile is the first of the second row
    red = (wrong[..., 0] == 255) & (wrong[..., 1] < 60)
    assert red.sum() > 400
    assert not ((right[..., 0] == 255) & (right[..., 1] < 60)).any()


# --- the whole ------------------------------------------------------------------------------------


def quiet(_: str) -> None:
    pass


def test_nothing_is_written_beside_the_callers_video(video: Path, out: Path) -> None:
    said: list[str] = []
    result = run_demo(str(video), out, print_line=said.append)
    assert result.wrong == ()
    assert result.checked == RANDOM_FRAMES + 48
    assert [path.name for path in video.parent.iterdir()] == ["video.mp4"]
    assert sorted(path.name for path in out.iterdir()) == ["contact_sheet.png", "references.parquet"]
    assert any("built in memory, nothing is written next to the video" in line for line in said)


def test_the_index_is_written_beside_the_callers_video_when_asked(video: Path, out: Path) -> None:
    said: list[str] = []
    assert run_demo(str(video), out, write_index=True, print_line=said.append).wrong == ()
    assert sorted(path.name for path in video.parent.iterdir()) == ["video.mp4", "video.mp4.lance"]
    assert f"frame index:  written to {video}.lance" in said
    assert run_demo(str(video), out, print_line=said.append).wrong == ()
    assert f"frame index:  {video}.lance, which stands there already and is fresh" in said


def test_a_stale_index_is_left_alone_unless_it_may_be_written(video: Path, clip: GetClip, out: Path) -> None:
    write_frame_index(str(video))
    shutil.copy(clip("h264_idr_mp4").path, video)
    assert run_demo(str(video), out, print_line=quiet).wrong == ()
    with pytest.raises(FrameIndexExistsError):
        write_frame_index(str(video))
    said: list[str] = []
    assert run_demo(str(video), out, write_index=True, print_line=said.append).wrong == ()
    assert f"frame index:  written to {video}.lance" in said


def test_a_relative_path_and_a_file_uri_do(video: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(video.parent)
    assert run_demo("video.mp4", out, print_line=quiet).wrong == ()
    assert run_demo(video.as_uri(), out, print_line=quiet).wrong == ()
    uris = {ref["uri"] for ref in pq.read_table(out / "references.parquet")["frame"].to_pylist()}
    assert uris == {str(video)}


def test_one_frame_is_enough(clip: GetClip, out: Path) -> None:
    result = run_demo(str(clip("h264_one_frame_mp4").path), out, print_line=quiet)
    assert result.wrong == ()
    assert [(work.asked, work.distinct) for work in result.works] == [(32, 1), (1, 1), (1, 1)]


def test_the_table_counts_what_plans_read(video: Path, out: Path) -> None:
    result = run_demo(str(video), out, seed=5, print_line=quiet)
    table = scan_frame_index(str(video)).segment_table(0)
    random, window, linear = result.works
    assert (random.asked, window.asked, window.distinct, linear.asked) == (32, 48, 48, 48)
    assert random.distinct <= random.packets <= len(table.packets)
    assert (window.packets, linear.packets) == (48, 48)
    assert window.bytes_read == linear.bytes_read == int(table.packets.size.sum())
    with Image.open(result.contact_sheet) as sheet:
        assert sheet.size[0] == 8 * 176


def test_progress_counts_the_frames_of_the_linear_decode(video: Path, out: Path) -> None:
    calls: list[tuple[int, int]] = []
    run_demo(str(video), out, print_line=quiet, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 48) for number in range(1, 49)]


def test_a_video_of_several_files(clip: GetClip, tmp_path: Path, out: Path) -> None:
    first, second = (
        Path(shutil.copy(clip(name).path, tmp_path / f"{name}.mp4"))
        for name in ("h264_idr_mp4", "h264_29_97_mp4")
    )
    write_frame_index(str(first), segment_uris=[str(first), str(second)])
    result = run_demo(str(first), out, print_line=quiet)
    assert result.wrong == ()
    assert result.works[-1].asked == 48 + 70


def test_an_index_that_swaps_two_packets_is_found_out(clip: GetClip, tmp_path: Path, out: Path) -> None:
    video = Path(shutil.copy(clip("h264_all_intra_mp4").path, tmp_path / "video.mp4"))
    table = scan_frame_index(str(video)).segment_table(0)
    write_index(f"{video}.lance", [swap_packets(table, 10, 30)])
    result = run_demo(str(video), out, print_line=quiet)
    named = {one.wanted.ref.pts_ns for one in result.wrong}
    assert named == {int(table.pts_ns[10]), int(table.pts_ns[30])}


def test_an_index_whose_times_are_late_by_a_frame_is_found_out(
    clip: GetClip, tmp_path: Path, out: Path
) -> None:
    video = Path(shutil.copy(clip("h264_all_intra_mp4").path, tmp_path / "video.mp4"))
    table = scan_frame_index(str(video)).segment_table(0)
    write_index(f"{video}.lance", [replace(table, pts=table.pts + int(table.pts[1]))])
    result = run_demo(str(video), out, print_line=quiet)
    assert len({one.wanted.ref.pts_ns for one in result.wrong}) == len(table) - 1  # the last stays shown


def test_the_table_is_aligned() -> None:
    works = [Work("random frames", 32, 30, 160, 211397, 151.52), Work("linear", 300, 300, 300, 1, 2.0)]
    lines = table_text(works).splitlines()
    assert [len(line) for line in lines] == [len(lines[0])] * 3
    assert lines[1].split() == ["random", "frames", "32", "30", "160", "211397", "151.5"]


def test_what_is_timed_comes_after_a_warm_up(video: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports, threads and new memory of the first call are no part of the times."""
    import mediaref_ursa._cli.demo.demo as demo

    happened: list[str] = []
    decode, clock = demo.batch_decode, demo.time.perf_counter

    def recorded(*arguments: object, **options: object) -> object:
        happened.append("decode")
        return decode(*arguments, **options)

    def read() -> float:
        happened.append("clock")
        return clock()

    class Time:
        perf_counter = staticmethod(read)

    monkeypatch.setattr(demo, "batch_decode", recorded)
    monkeypatch.setattr(demo, "time", Time)
    run_demo(str(video), out, print_line=quiet)

    assert happened == ["decode", *["clock", "decode", "clock"] * 2]


def test_the_linear_decode_converts_what_the_batches_convert(
    video: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    converted: list[int] = []
    import mediaref_ursa._decode.linear_decode as demo_check

    whole = demo_check.upright_rgb
    monkeypatch.setattr(demo_check, "upright_rgb", lambda frame: (converted.append(1), whole(frame))[1])
    result = run_demo(str(video), out, print_line=said.append)

    assert len(converted) == 48, "each frame once"
    assert "after a warm-up, with conversion to RGB" in "".join(said)
    assert result.works[-1].milliseconds > 0


def test_one_wrong_frame_is_told_in_the_singular(clip: GetClip, tmp_path: Path, out: Path) -> None:
    video = Path(shutil.copy(clip("h264_one_frame_mp4").path, tmp_path / "video.mp4"))
    said: list[str] = []
    run_demo(str(video), out, print_line=said.append)
    assert said[-1] == "all 33 frames equal those of the linear decode, pixel for pixel"
    assert "1 frames" not in "".join(said)
