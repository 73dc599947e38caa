"""Frames of a lazy video by time and by lists of positions, and the domain of windows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip
from _oracle import OracleFrame, linear_frames
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st
from temporaldata import Interval

from mediaref_ursa import (
    FrameBeyondToleranceError,
    FrameIndexInvalidError,
    FrameOutsideVideoError,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    MediaRefError,
    batch_decode,
    counting,
    write_frame_index,
)
from mediaref_ursa._lazy.positions import selected_positions

GetClip = Callable[[str], Clip]
ANY_DISTANCE = 2**62 - 1
TIMED = ["h264_29_97_mp4", "h264_29_97_mkv", "h264_vfr_mp4", "h264_late_start_mp4", "h264_edit_list_mp4"]


@pytest.fixture
def path(clip: GetClip, tmp_path: Path) -> str:
    return str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "video.mp4"))


@pytest.fixture
def frames(path: str) -> list[OracleFrame]:
    return linear_frames(path)


@pytest.fixture
def video(path: str) -> LazyVideo:
    return LazyVideo(path, frame_index=write_frame_index(path), channel_format="NHWC")


def outcome(call: Callable[[], Any]) -> Any:
    """Return pixels as bytes, or the class of the error and its distance."""
    try:
        return np.asarray(call()).tobytes()
    except MediaRefError as error:
        return type(error), getattr(error, "distance_ns", None), getattr(error, "neighbours_ns", None)


def times_around(frames: Sequence[OracleFrame]) -> list[Any]:
    """Seconds at, a microsecond and some nanoseconds around frames, middles and the ends, of all types."""
    edges = [frame.time for frame in frames[:4]] + [frames[-1].time, frames[-1].end]
    middles = [(a.time + b.time) / 2 for a, b in zip(edges_of(frames), edges_of(frames)[1:], strict=False)]
    steps = [Fraction(step, 10**9) for step in (-1001, -1000, -999, -1, 0, 1)]
    exact: list[Any] = [edge + step for edge in [*edges, *middles] for step in steps]
    floats = [kind(float(edge)) for edge in [*edges, *middles] for kind in (float, np.float32, np.float64)]
    return [*exact, *floats, -5, 10**6, 10**30, -(10**30)]


def edges_of(frames: Sequence[OracleFrame]) -> list[OracleFrame]:
    return [*frames[:3], *frames[-2:]]


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("name", TIMED)
def test_a_frame_at_a_time_is_that_of_the_reference_at_the_time(
    name: str, indexed: bool, clip: GetClip, tmp_path: Path
) -> None:
    path = str(shutil.copy(clip(name).path, tmp_path / clip(name).path.name))
    if indexed:
        write_frame_index(path)
    video = LazyVideo.from_uri(path, channel_format="NHWC")
    for seconds in times_around(linear_frames(path)):
        if abs(float(seconds)) > 10**9:  # no int64 has that time in nanoseconds
            with pytest.raises(FrameOutsideVideoError):
                video.frame_at(seconds)
            continue
        ref = MediaRef.from_seconds(path, seconds)
        if isinstance(seconds, Fraction):  # a time is rounded down here and to the nearest there
            ref = MediaRef(path, int(seconds * 10**9 // 1))
        for options in (
            {},
            {"match": "nearest"},
            {"match": "nearest", "tolerance_ns": ANY_DISTANCE},
            {"tolerance_ns": 0},
        ):
            found = outcome(lambda: video.frame_at(seconds, **options))  # noqa: B023
            assert found == outcome(lambda: batch_decode([ref], **options)[0]), (seconds, options)  # noqa: B023


def test_one_frame_as_an_index_gives_it(path: str, frames: list[OracleFrame]) -> None:
    video = LazyVideo.from_uri(path)

    found = video.frame_at(0.05)

    assert found.shape == video[1].shape == (3, 64, 96)
    assert found.flags.c_contiguous
    assert np.array_equal(found, frames[1].rgb.transpose(2, 0, 1))


@pytest.mark.parametrize("seconds", [-0.001, 1e9, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("match", ["playback", "nearest"])
def test_seconds_outside_the_domain_are_the_error_of_the_library(
    seconds: float, match: Any, video: LazyVideo
) -> None:
    with pytest.raises(FrameOutsideVideoError) as caught:
        video.frame_at(seconds, match=match)
    assert caught.value.uri == video.uri


def test_the_error_says_that_a_file_is_cut_short(path: str) -> None:
    index = write_frame_index(path)
    table = index.segment_table(0)
    cut = replace(table, info=replace(table.info, cut_short=True))
    video = LazyVideo(path, frame_index=LanceFrameIndex._of(path, file=None, tables=[cut]))

    with pytest.raises(FrameOutsideVideoError, match="cut short"):
        video.frame_at(1e6)


@pytest.mark.parametrize("wrong", [[0.0], np.zeros(1), "0", None])
def test_what_is_not_one_time_is_a_type_error(wrong: Any, video: LazyVideo) -> None:
    with pytest.raises(TypeError):
        video.frame_at(wrong)


def test_wrong_options_are_errors(video: LazyVideo) -> None:
    with pytest.raises(ValueError, match="expected match"):
        video.frame_at(0.0, match="closest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance_ns from 0"):
        video.frame_at(0.0, tolerance_ns=-1)


def test_a_window_has_its_own_frames_only(video: LazyVideo, frames: list[OracleFrame]) -> None:
    window = video.lazy_slice(float(frames[5].time), float(frames[8].time))
    inside = float(frames[6].time) + 0.01

    assert np.array_equal(window.frame_at(inside), video.frame_at(inside))
    for outside in (float(frames[4].time), float(frames[8].time), float(frames[8].time) + 0.01):
        assert video.frame_at(outside).any()
        with pytest.raises(FrameOutsideVideoError, match="the recording's own clock"):
            window.frame_at(outside)
        with pytest.raises(FrameBeyondToleranceError):
            window.frame_at(outside, match="nearest")
    last = window.frame_at(float(frames[8].time), match="nearest", tolerance_ns=10**9)
    assert np.array_equal(last, frames[7].rgb)
    with pytest.raises(FrameOutsideVideoError):
        window.lazy_slice(0, 0).frame_at(0.0)
    with pytest.raises(FrameOutsideVideoError):
        window.lazy_slice(0, 0).frame_at(0.0, match="nearest")


@pytest.mark.parametrize("base_only", [False, True])
def test_the_clock_of_a_camera_counts(
    base_only: bool, path: str, video: LazyVideo, frames: list[OracleFrame], tmp_path: Path
) -> None:
    given = 100.0 + np.arange(len(frames)) / 7
    index = write_frame_index(path, timestamps=given, overwrite=True)
    if base_only:
        table = replace(index.segment_table(0), timestamp=given)
        index = BaseColumnsOnly(path, tables=[table])
    camera = LazyVideo(path, frame_index=index, channel_format="NHWC")

    assert np.array_equal(camera.frame_at(given[9]), frames[9].rgb)
    assert np.array_equal(camera.frame_at(given[9] + 0.1), frames[9].rgb)
    near = camera.frame_at(given[9] + 0.1, match="nearest", tolerance_ns=50_000_000)
    assert np.array_equal(near, frames[10].rgb)
    with pytest.raises(FrameOutsideVideoError):
        camera.frame_at(0.1)
    assert camera.pts_ns.tolist() == video.pts_ns.tolist()


class BaseColumnsOnly(LanceFrameIndex):
    """An index that does not say where packets are."""

    def __init__(self, uri: str, *, tables: Any) -> None:
        self._set(uri, None, tables)
        table = tables[0]
        self._base = (np.zeros(len(table), dtype=np.int64), table.pts, table.timestamp)

    has_packets = False  # type: ignore[assignment]


def test_a_clock_that_runs_backwards(path: str, frames: list[OracleFrame]) -> None:
    index = write_frame_index(path)
    table = replace(index.segment_table(0), timestamp=np.arange(len(frames), 0, -1, dtype=np.float64))
    video = LazyVideo(
        path, frame_index=LanceFrameIndex._of(path, file=None, tables=[table]), channel_format="NHWC"
    )

    assert np.array_equal(video.frame_at(1.5), frames[-1].rgb)
    assert np.array_equal(video.frame_at(3.4, match="nearest", tolerance_ns=10**9), frames[-3].rgb)
    assert video.pts_ns.tolist() == index.segment_table(0).pts_ns[::-1].tolist()


def test_timestamps_that_no_int64_holds(path: str) -> None:
    given = 1e10 + np.arange(len(linear_frames(path)))
    video = LazyVideo(path, frame_index=write_frame_index(path, timestamps=given))

    with pytest.raises(FrameIndexInvalidError):
        video.frame_at(1e9)


def test_files_that_run_on(clip: GetClip, tmp_path: Path) -> None:
    paths = [str(clip("h264_29_97_mp4").path), str(clip("h264_29_97_mkv").path)]
    name = str(tmp_path / "whole.mp4")
    index = write_frame_index(name, segments=paths)
    video = LazyVideo(name, frame_index=index, channel_format="NHWC")
    times = [float(time) for time in np.arange(0.0, video.domain.end[0] + 0.2, 0.0171)]

    for seconds in times:
        ref = MediaRef.from_seconds(name, seconds)
        for options in ({}, {"match": "nearest", "tolerance_ns": 10**8}):
            found = outcome(lambda: video.frame_at(seconds, **options))  # noqa: B023
            expected = outcome(lambda: batch_decode([ref], frame_index=index, **options)[0])  # noqa: B023
            assert found == expected


def test_times_in_nanoseconds_are_those_of_references(video: LazyVideo, frames: list[OracleFrame]) -> None:
    window = video.lazy_slice(0.2, 0.9)

    assert window.pts_ns.dtype == np.int64
    assert window.pts_ns.tolist() == [ref.pts_ns for ref in window.refs()]
    assert batch_decode(window.refs()).pts_ns.tolist() == window.pts_ns.tolist()


@pytest.mark.parametrize("bounds", [None, (0.2, 0.9), (0.3, 0.3)])
def test_the_domain_is_that_of_the_series(
    bounds: tuple[float, float] | None, video: LazyVideo, frames: list[OracleFrame]
) -> None:
    window = video if bounds is None else video.lazy_slice(*bounds)
    series = window.as_series().domain

    assert isinstance(window.domain, Interval)
    assert window.domain.start.tolist() == series.start.tolist()
    assert window.domain.end.tolist() == series.end.tolist()
    if len(window):
        last = frames[int(window.frame_indices[-1])]
        assert window.domain.start.tolist() == [window.timestamps[0]]
        assert window.domain.end == pytest.approx([float(last.end)])


# --- selections ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        [0, 5, 9],
        [9, 0, 0, -1],
        [],
        range(2, 8, 3),
        np.array([3, 1], dtype=np.int32),
        np.array([3, 1], dtype=np.uint64),
        np.array([], dtype=np.int64),
        [np.int64(2), 3],
    ],
    ids=repr,
)
def test_a_list_chooses_frames(key: Any, video: LazyVideo, frames: list[OracleFrame]) -> None:
    found = video[key]

    check_chosen(found, key, frames)


def test_a_tensor_chooses_frames(video: LazyVideo, frames: list[OracleFrame]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    key = torch.tensor([4, -2])
    mask = np.arange(len(video)) % 7 == 3

    check_chosen(video[key], key, frames)
    assert np.array_equal(video[torch.from_numpy(mask)], video[mask])


def check_chosen(found: np.ndarray, key: Any, frames: list[OracleFrame]) -> None:
    numbers = [int(number) % len(frames) for number in key]
    assert found.dtype == np.uint8
    assert found.shape == (len(numbers), *frames[0].rgb.shape)
    assert all(np.array_equal(a, frames[b].rgb) for a, b in zip(found, numbers, strict=True))


def test_masks_choose_frames(video: LazyVideo, frames: list[OracleFrame]) -> None:
    mask = np.arange(len(video)) % 7 == 3

    for key in (mask, mask.tolist()):
        assert np.array_equal(video[key], np.stack([frames[i].rgb for i in np.flatnonzero(mask)]))
    assert len(video[np.zeros(len(video), dtype=bool)]) == 0


def test_positions_of_a_window_are_its_own(video: LazyVideo, frames: list[OracleFrame]) -> None:
    window = video.lazy_slice(float(frames[5].time), float(frames[9].time))

    assert np.array_equal(window[[0, -1]], np.stack([frames[5].rgb, frames[8].rgb]))
    with pytest.raises(IndexError, match="expected a frame from -4 to 3, found 4"):
        window[[0, 4]]
    with pytest.raises(IndexError):
        window.lazy_slice(0, 0)[[0]]


@pytest.mark.parametrize(
    "wrong", [[10**6], [-(10**6)], [2**80], np.array([2**64 - 1], np.uint64), [-(2**63)]]
)
def test_positions_that_there_are_not(wrong: Any, video: LazyVideo) -> None:
    with pytest.raises(IndexError, match="expected a frame from"):
        video[wrong]


@pytest.mark.parametrize(
    "wrong", [[True], np.ones(3, dtype=bool), [[0, 1]], np.zeros((2, 2), dtype=np.int64)]
)
def test_masks_of_another_length_and_several_axes(wrong: Any, video: LazyVideo) -> None:
    with pytest.raises(IndexError, match="expected"):
        video[wrong]


@pytest.mark.parametrize("wrong", [[0.0], np.zeros(1), ["0"], [None], (0, 1), 0.0, "0", None, {0}])
def test_what_chooses_no_frames_is_a_type_error(wrong: Any, video: LazyVideo) -> None:
    with pytest.raises(TypeError):
        video[wrong]


def test_a_selection_is_one_plan(video: LazyVideo) -> None:
    """Frames of one group of pictures share its decoding, and a frame asked for twice is decoded once."""
    with counting() as used:
        video[[11, 10, 9, 10, 11]]

    assert used.frames == 3
    with counting() as alone:
        video[11]
    assert used.packets_decoded <= alone.packets_decoded + 3


@PATIENT
@given(st.integers(0, 9), st.data())
def test_positions_against_numpy(count: int, data: st.DataObject) -> None:
    keys = st.one_of(
        st.lists(st.integers(-12, 12), max_size=6),
        st.lists(st.booleans(), min_size=count, max_size=count),
        st.slices(count),
    )
    key = data.draw(keys)
    try:
        expected: Any = np.arange(count)[np.array(key, dtype=np.int64) if key == [] else key].tolist()
    except IndexError:
        expected = IndexError

    if expected is IndexError:
        with pytest.raises(IndexError):
            selected_positions(key, count)
        return
    assert selected_positions(key, count).tolist() == expected
    assert selected_positions(key, count).dtype == np.int64
