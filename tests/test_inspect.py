"""What is told of a video: pure functions of its segment tables, held against plans for single frames."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames
from _tables import PATIENT, FakeStream, packet_table, segment_table, streams
from hypothesis import given

from mediaref_ursa import CorruptMediaError, plan_decode
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.found import FRESH, NO_INDEX
from mediaref_ursa._index.report import (
    VideoReport,
    gop_lengths,
    packets_for_each_frame,
    report_on,
    two_columns,
)
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.runs import BatchDecodingStrategy, plan_runs
from mediaref_ursa._plan.segments import SegmentSequence

GetClip = Callable[[str], Clip]


def scanned(path: Path) -> SegmentTable:
    return scan_frame_index(str(path)).segment_table(0)


def report_of(path: Path) -> VideoReport:
    return report_on(str(path), [scanned(path)], NO_INDEX)


def planned_packets(table: SegmentTable) -> list[int]:
    """How many packets the planner feeds for each frame by itself."""
    counts = []
    for frame in range(len(table)):
        one = np.array([frame], dtype=np.int64)
        runs = plan_runs([table], one * 0, one, one * 0, BatchDecodingStrategy.SEPARATE)
        counts.append(sum(len(run.packets) for run in runs))
    return counts


# --- packets for one frame ------------------------------------------------------------------------


@PATIENT
@given(streams())
def test_packets_for_each_frame_are_those_that_a_plan_feeds(stream: FakeStream) -> None:
    assert packets_for_each_frame(stream.table).tolist() == planned_packets(stream.table)


@PATIENT
@given(streams(lookahead_packets=3))
def test_packets_fed_past_the_frames_own_are_counted(stream: FakeStream) -> None:
    assert packets_for_each_frame(stream.table).tolist() == planned_packets(stream.table)


@pytest.mark.parametrize(
    "name",
    [
        "h264_pyramid_mp4",
        "h264_open_gop_mp4",
        "h264_edit_list_mp4",
        "h264_one_frame_mp4",
        "h264_ts",
        "hevc_open_gop_mp4",
        "vp8_hidden_webm",
        "mpeg2_mp4",
        "ffv1_mkv",
    ],
)
def test_packets_per_random_frame_are_those_of_plan_decode(clip: GetClip, name: str) -> None:
    path = clip(name).path
    index = scan_frame_index(str(path))
    table = index.segment_table(0)
    plans = [
        plan_decode([{"uri": str(path), "pts_ns": time_ns}], frame_index=index)
        for time_ns in table.pts_ns.tolist()
    ]
    counts = [plan.packets for plan in plans]
    assert packets_for_each_frame(table).tolist() == counts
    report = report_on(str(path), [table], NO_INDEX)
    assert report.packets_per_random_frame == pytest.approx(sum(counts) / len(counts), rel=1e-12)


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rate"),
    [("h264_29_97_mp4", "30000/1001"), ("h264_23_976_mp4", "24000/1001"), ("h264_idr_mp4", "25/1")],
)
def test_a_constant_rate_is_told_as_a_fraction(clip: GetClip, name: str, rate: str) -> None:
    report = report_of(clip(name).path)
    assert report.is_constant_rate is True
    assert report.frame_rate == rate
    assert f"constant, {rate}" in report.to_text()


def test_a_variable_rate_is_told_with_its_gaps(clip: GetClip) -> None:
    path = clip("h264_vfr_mp4").path
    report = report_of(path)
    times = [frame.time for frame in linear_frames(path)]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert report.is_constant_rate is False
    assert report.frame_rate is None
    assert report.shortest_gap_seconds == float(min(gaps))
    assert report.longest_gap_seconds == float(max(gaps))
    assert report.average_frame_rate == pytest.approx(len(gaps) / float(sum(gaps)))


def test_rounded_milliseconds_are_not_called_constant(clip: GetClip) -> None:
    report = report_of(clip("h264_29_97_mkv").path)
    assert report.is_constant_rate is False
    assert "gaps of 0.033000 to 0.034000 s" in report.to_text()


def test_one_frame_has_no_rate(clip: GetClip) -> None:
    report = report_of(clip("h264_one_frame_mp4").path)
    assert (report.frames, report.frame_rate, report.is_constant_rate) == (1, None, None)
    assert (report.gop_frames_min, report.gop_frames_max, report.packets_per_random_frame) == (1, 1, 1.0)
    assert "frame rate                one frame" in report.to_text()


def test_hidden_packets_are_counted(clip: GetClip) -> None:
    report = report_of(clip("vp8_hidden_webm").path)
    assert report.hidden_packets == report.packets - report.frames > 0


@pytest.mark.parametrize("name", ["h264_late_start_mp4", "h264_late_start_mkv"])
def test_the_first_pts_is_container_time(clip: GetClip, name: str) -> None:
    path = clip(name).path
    first = linear_frames(path)[0]
    report = report_of(path)
    assert report.first_pts == first.pts
    assert Fraction(report.time_base) * report.first_pts == first.time
    assert report.first_pts_ns == round(first.time * 10**9)


def test_what_cannot_be_read_by_byte_ranges_is_told(clip: GetClip) -> None:
    report = report_of(clip("h264_ts").path)
    assert not report.is_addressable
    assert "no, read through a demuxer" in report.to_text()


def test_colours_and_rotation_of_real_files(shared_media: Path) -> None:
    full = report_of(shared_media / "bt709_full_range.mp4")
    assert (full.colorspace, full.color_range, full.pixel_format) == ("BT.709", "full", "yuvj420p")
    turned = report_of(shared_media / "nasa_13013_rotated.mp4")
    assert (turned.width, turned.height) == (270, 480)
    assert (turned.coded_width, turned.coded_height) == (480, 270)
    assert turned.rotation in (90, 270)
    hidden = report_of(shared_media / "discard_first_keyframe.mp4")
    assert (hidden.frames, hidden.packets, hidden.hidden_packets) == (25, 30, 5)


def test_gops_are_counted_in_decode_order() -> None:
    # decode order: I P | I B B P | I; the two Bs are shown before their I and belong to it all the same
    table = segment_table([0, 1, 2, 3, 4, 5, 6], packet=[0, 1, 3, 4, 2, 5, 6], start=[0, 0, 0, 0, 2, 2, 6])
    assert gop_lengths(table).tolist() == [2, 4, 1]
    report = report_on("a.mp4", [table], FRESH)
    assert (report.gop_frames_min, report.gop_frames_median, report.gop_frames_max) == (1, 2.0, 4)
    assert report.random_access_points == 3


def test_the_share_of_droppable_packets() -> None:
    table = segment_table([0, 1, 2, 3], packets=packet_table(4, is_reference=[1, 0, 0, 1]))
    assert report_on("a.mp4", [table], FRESH).droppable_share == 0.5
    unknown = segment_table([0, 1], packets=packet_table(2, is_reference=[-1, -1]))
    report = report_on("a.mp4", [unknown], FRESH)
    assert report.droppable_share is None
    assert "not known for this codec" in report.to_text()


def test_segments_are_added_up() -> None:
    half = {"time_base": Fraction(1, 2)}
    first = segment_table([4, 5, 6], packets=packet_table(4), **half)
    second = segment_table([0, 2], duration=2, codec="hevc", addressable=False, **half)
    report = report_on("a.mp4", [first, second], FRESH)
    assert (report.segments, report.frames, report.packets, report.hidden_packets) == (2, 5, 6, 1)
    assert report.duration_seconds == 3.5
    assert report.codec == "h264, hevc"
    assert report.is_constant_rate is False
    assert (report.shortest_gap_seconds, report.longest_gap_seconds) == (0.5, 1.0)
    assert not report.is_addressable
    assert report.packets_per_random_frame == (1 + 2 + 3 + 1 + 2) / 5
    assert "segments                  2" in report.to_text()
    assert SegmentSequence((first, second)).offsets[1] == Fraction(7, 2)  # where the first one ends


def test_a_video_without_frames_is_an_error_of_the_tree() -> None:
    with pytest.raises(CorruptMediaError):
        report_on("a.mp4", [], FRESH)
    with pytest.raises(CorruptMediaError):
        report_on("a.mp4", [segment_table([], packets=packet_table(1))], FRESH)


# --- the report as a value ------------------------------------------------------------------------


def test_a_report_is_frozen_and_goes_through_json() -> None:
    report = report_on("https://user:secret@host/a.mp4?sig=1", [segment_table([0, 1, 2])], FRESH)
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert VideoReport(**values) == report
    assert values["uri"] == "https://host/a.mp4"
    with pytest.raises(FrozenInstanceError):
        report.frames = 3  # type: ignore[misc]


def test_the_text_is_two_aligned_columns() -> None:
    lines = report_on("a.mp4", [segment_table([0, 1, 2])], NO_INDEX).to_text().splitlines()
    assert lines[0] == "video                     a.mp4"
    assert lines[1] == "index                     none, the video was scanned"
    column = lines[0].index("a.mp4")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    assert two_columns([("a", "1"), ("long", "2")]) == "a     1\nlong  2"


def test_unnamed_colour_numbers_are_shown_as_they_are() -> None:
    report = report_on("a.mp4", [segment_table([0], colorspace=14, color_range=7)], FRESH)
    assert (report.colorspace, report.color_range) == ("AVColorSpace 14", "AVColorRange 7")
