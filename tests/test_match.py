"""Which frame a time names, by either rule, and which time a frame has, in all calls that decode."""

from __future__ import annotations

import itertools
import pickle
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip
from _oracle import OracleFrame, linear_frames
from PIL import Image

from mediaref_ursa import (
    FrameBeyondToleranceError,
    FrameOutsideVideoError,
    MediaRef,
    MediaRefError,
    batch_decode,
    plan_decode,
    write_frame_index,
)
from mediaref_ursa.video_decoder import FrameBatch, PyAVVideoDecoder

GetClip = Callable[[str], Clip]
NO_TIME = -(2**63)
ANY_DISTANCE = 2**62 - 1
CLIPS = [
    "h264_29_97_mp4",
    "h264_29_97_mkv",
    "h264_vfr_mp4",
    "h264_vfr_mkv",
    "h264_late_start_mp4",
    "h264_edit_list_mp4",
    "h264_ts",
    "vp8_hidden_webm",
    "vp9_alt_ref_webm",
    "h264_duplicate_pts_mkv",
]


@pytest.fixture
def path(clip: GetClip) -> str:
    return str(clip("h264_29_97_mp4").path)


@pytest.fixture
def frames(path: str) -> list[OracleFrame]:
    return linear_frames(path)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    Image.new("RGB", (8, 6)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def rounded_ns(time: Fraction) -> int:
    return int((time * 10**9 + Fraction(1, 2)) // 1)


def nearest_of(frames: Sequence[OracleFrame], t_ns: int) -> int:
    """The first of the frames that are nearest to a time."""
    distances = [abs(frame.time * 10**9 - t_ns) for frame in frames]
    return distances.index(min(distances))


def some_times(frames: Sequence[OracleFrame]) -> list[int]:
    """Before the first frame, at and around the middles of all frames, after the last one."""
    middles = [(a.time + b.time) / 2 for a, b in itertools.pairwise(frames)]
    around = [int(middle * 10**9 // 1) + step for middle in middles for step in (-1, 0, 1)]
    return [int(frames[0].time * 10**9) - 10**9, *around, int(frames[-1].end * 10**9) + 10**9]


@pytest.mark.filterwarnings("ignore::mediaref_ursa.MediaRefWarning")
@pytest.mark.parametrize("name", CLIPS)
def test_nearest_frames_and_the_times_given_are_those_of_a_linear_decode(name: str, clip: GetClip) -> None:
    path = str(clip(name).path)
    frames = linear_frames(path)
    refs = [MediaRef(path, t_ns) for t_ns in some_times(frames)]

    batch = batch_decode(refs, match="nearest", tolerance_ns=ANY_DISTANCE)

    numbers = [nearest_of(frames, ref.pts_ns) for ref in refs if ref.pts_ns is not None]
    assert batch.pts_ns.dtype == np.int64
    assert batch.pts_ns.tolist() == [rounded_ns(frames[number].time) for number in numbers]
    for pixels, number in zip(batch, numbers, strict=True):
        assert np.array_equal(pixels, frames[number].rgb)


@pytest.mark.filterwarnings("ignore::mediaref_ursa.MediaRefWarning")
@pytest.mark.parametrize("match", ["playback", "nearest"])
@pytest.mark.parametrize("name", CLIPS)
def test_a_reference_made_of_the_time_given_gives_the_same_frame(
    name: str, match: Any, clip: GetClip
) -> None:
    path = str(clip(name).path)
    frames = linear_frames(path)
    late = [MediaRef(path, int((frame.time + frame.end) / 2 * 10**9)) for frame in frames[:-1]]

    first = batch_decode(late)
    again = batch_decode([MediaRef(path, pts_ns) for pts_ns in first.pts_ns], match=match)

    assert again.pts_ns.tolist() == first.pts_ns.tolist()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("match", ["playback", "nearest"])
def test_times_of_a_recording_run_on_and_come_back(match: Any, clip: GetClip, tmp_path: Path) -> None:
    paths = [str(clip(name).path) for name in ("h264_29_97_mp4", "h264_vfr_mkv", "h264_late_start_mp4")]
    name = str(tmp_path / "whole.mp4")
    index = write_frame_index(name, segments=paths)
    parts = [linear_frames(path) for path in paths]
    asked = [MediaRef(name, int(second * 10**9)) for second in np.arange(0.01, 3.0, 0.07)]

    batch = batch_decode(asked, frame_index=index)
    again = batch_decode([MediaRef(name, t) for t in batch.pts_ns], frame_index=index, match=match)

    assert again.pts_ns.tolist() == batch.pts_ns.tolist()
    assert all(np.array_equal(a, b) for a, b in zip(batch, again, strict=True))
    assert len({round(t / 10**9) for t in batch.pts_ns.tolist()}) > 2
    begins = parts[0][-1].end - parts[0][0].time + parts[1][0].time
    (second,) = batch_decode([MediaRef(name, rounded_ns(begins))], frame_index=index, match="nearest")
    assert np.array_equal(second, parts[1][0].rgb)


def test_of_two_frames_that_are_equally_near_the_earlier(path: str, clip: GetClip) -> None:
    exact = str(clip("h264_idr_mp4").path)
    first, second = linear_frames(exact)[:2]
    middle = (first.time + second.time) / 2 * 10**9
    at = int(middle // 1)

    found = batch_decode([MediaRef(exact, at), MediaRef(exact, at + 1)], match="nearest", tolerance_ns=10**9)

    assert found.pts_ns.tolist() == [rounded_ns(first.time), rounded_ns(second.time)]


def test_images_and_references_that_failed_have_no_time(path: str, photo: str) -> None:
    refs = [MediaRef(photo), MediaRef(path, 0), MediaRef(path, 10**12), MediaRef("gone.mp4", 0)]

    batch = batch_decode(refs, on_error="none")

    assert batch.pts_ns.tolist() == [NO_TIME, 0, NO_TIME, NO_TIME]
    assert np.isnat(batch.pts_ns.view("datetime64[ns]")).tolist() == [True, False, True, True]
    assert sorted(batch.errors) == [2, 3]
    assert batch_decode([], match="nearest").pts_ns.shape == (0,)


def test_a_frame_that_could_not_be_decoded_has_no_time(clip: GetClip, tmp_path: Path) -> None:
    path = str(shutil.copy(clip("h264_idr_mp4").path, tmp_path / "bad.mp4"))
    index = write_frame_index(path)
    table = index.segment_table(0)
    packet = int(table.packet[0])
    with Path(path).open("r+b") as file:
        file.seek(int(table.packets.offset[packet]) + int(table.packets.size[packet]) // 2)
        file.write(b"\xff" * 4)

    batch = batch_decode([MediaRef(path, t) for t in table.pts_ns[[0, -1]]], on_error="none")

    assert list(batch.errors) == [0]
    assert batch.pts_ns.tolist() == [NO_TIME, int(table.pts_ns[-1])]


def test_the_list_stays_a_list_and_is_pickled_with_its_times(path: str) -> None:
    batch = batch_decode([MediaRef(path, 0), MediaRef(path, 40_000_000)])

    again = pickle.loads(pickle.dumps(batch))

    assert isinstance(batch, list)
    assert len(batch) == 2
    assert again.pts_ns.tolist() == batch.pts_ns.tolist()


def test_the_error_says_the_distance_and_the_frames_before_and_after(
    path: str, frames: list[OracleFrame]
) -> None:
    t_ns = rounded_ns(frames[3].time) - 10_000_000

    with pytest.raises(FrameBeyondToleranceError) as caught:
        batch_decode([MediaRef(path, t_ns)], match="nearest")

    error = caught.value
    before, after = rounded_ns(frames[2].time), rounded_ns(frames[3].time)
    assert (error.uri, error.pts_ns) == (path, t_ns)
    assert error.neighbours_ns == (before, after)
    assert error.distance_ns == -((t_ns - frames[3].time * 10**9) // 1)
    for part in ("tolerance_ns=1000", f"{error.distance_ns} ns away", f"{before} ns", f"{after} ns"):
        assert part in str(error)
    assert isinstance(error, FrameOutsideVideoError)


@pytest.mark.parametrize(("t_ns", "side"), [(-(10**9), "before"), (10**11, "after")])
def test_outside_of_the_video_there_is_one_neighbour(
    t_ns: int, side: str, path: str, frames: list[OracleFrame]
) -> None:
    batch = batch_decode([MediaRef(path, t_ns)], match="nearest", on_error="none")

    error = batch.errors[0]
    last = rounded_ns(frames[-1].time)
    assert isinstance(error, FrameBeyondToleranceError)
    assert error.neighbours_ns == ((None, 0) if side == "before" else (last, None))
    assert f"no frame is {side} it" in str(error)
    assert error.pts_ns == t_ns


def test_the_error_survives_pickling_and_copying(path: str) -> None:
    batch = batch_decode([MediaRef(path, 10_000_000)], match="nearest", on_error="none")
    error = batch.errors[0]
    assert isinstance(error, FrameBeyondToleranceError)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found = pickle.loads(pickle.dumps(error, protocol))
        assert type(found) is FrameBeyondToleranceError
        assert (found.distance_ns, found.neighbours_ns) == (10_000_000, (0, 33_366_667))
        assert str(found) == str(error)
    other = error.of_reference("b.mp4", 5)
    assert isinstance(other, FrameBeyondToleranceError)
    assert (other.uri, other.pts_ns, other.distance_ns) == ("b.mp4", 5, 10_000_000)
    assert (error.uri, error.pts_ns) == (path, 10_000_000)


def test_the_tolerance_is_the_largest_distance_on_either_side(path: str, frames: list[OracleFrame]) -> None:
    exact = frames[4].time * 10**9  # 133466666.67
    early, late = int(exact // 1) - 500, -int(-exact // 1) + 500

    found = batch_decode(
        [MediaRef(path, early), MediaRef(path, late)], match="nearest", tolerance_ns=501, on_error="none"
    )
    assert not found.errors
    for t_ns in (early, late):
        with pytest.raises(FrameBeyondToleranceError):
            batch_decode([MediaRef(path, t_ns)], match="nearest", tolerance_ns=500)


def test_the_playback_rule_is_the_default_and_has_its_name(path: str) -> None:
    late = [MediaRef(path, 33_000_000)]

    assert batch_decode(late).pts_ns.tolist() == batch_decode(late, match="playback").pts_ns.tolist() == [0]


def test_plans_and_references_take_the_rule(path: str, frames: list[OracleFrame], photo: str) -> None:
    ref = MediaRef(path, rounded_ns(frames[3].time) - 1_000_000)

    plan = plan_decode([ref], match="nearest", tolerance_ns=2_000_000)
    (run,) = plan.runs
    assert run.frames.tolist() == [3]
    with pytest.raises(FrameBeyondToleranceError):
        plan_decode([ref], match="nearest")
    assert np.array_equal(ref.to_ndarray(), frames[2].rgb)
    assert np.array_equal(ref.to_ndarray(match="nearest", tolerance_ns=2_000_000), frames[3].rgb)
    with pytest.raises(FrameBeyondToleranceError):
        ref.to_pil_image(match="nearest")
    assert MediaRef(photo).to_ndarray(match="nearest").shape == (6, 8, 3)


@pytest.mark.parametrize("wrong", ["closest", "NEAREST", "", None, 1])
def test_another_rule_is_an_error(wrong: Any, path: str, photo: str) -> None:
    refs = [MediaRef(path, 0)]
    with pytest.raises(ValueError, match="expected match to be 'playback' or 'nearest'"):
        batch_decode(refs, match=wrong)
    with pytest.raises(ValueError, match="expected match"):
        batch_decode([MediaRef(photo)], match=wrong)
    with pytest.raises(ValueError, match="expected match"):
        plan_decode(refs, match=wrong)
    with PyAVVideoDecoder(path) as decoder, pytest.raises(ValueError, match="expected match"):
        decoder.get_frames_played_at([0.0], match=wrong)


def test_a_misspelt_rule_option_is_suggested(path: str) -> None:
    with pytest.raises(TypeError, match="did you mean match"):
        batch_decode([MediaRef(path, 0)], matches="nearest")  # type: ignore[call-overload]


def test_decoders_take_the_rule_and_say_the_times(path: str, frames: list[OracleFrame]) -> None:
    with PyAVVideoDecoder(path, dimension_order="NHWC") as decoder:
        late = float(frames[3].time) - 0.001
        played = decoder.get_frames_played_at([late, 0.0])
        nearest = decoder.get_frames_played_at([late, -5.0], match="nearest", tolerance_ns=10**10)
        one = decoder.get_frame_played_at(late, match="nearest", tolerance_ns=2_000_000)
        with pytest.raises(FrameBeyondToleranceError):
            decoder.get_frame_played_at(late, match="nearest")
        with pytest.raises(TypeError, match="expected tolerance_ns to be whole nanoseconds, found 1.5"):
            decoder.get_frame_played_at(0.0, tolerance_ns=1.5)
        with pytest.raises(ValueError, match="tolerance_ns from 0"):
            decoder.get_frames_played_at([late], tolerance_ns=-1)
        resampled = decoder.get_frames_played_in_range(0.0, 0.1, fps=100)
        whole = decoder.get_all_frames()

    assert played.pts_ns.tolist() == [rounded_ns(frames[2].time), 0]
    assert nearest.pts_ns.tolist() == [rounded_ns(frames[3].time), 0]
    assert np.array_equal(nearest.data[0], frames[3].rgb)
    assert (one.pts_ns, one.pts_seconds) == (rounded_ns(frames[3].time), float(frames[3].time))
    assert whole.pts_ns.dtype == np.int64
    assert whole.pts_ns.tolist() == [rounded_ns(frame.time) for frame in frames]
    assert whole[1:3].pts_ns.tolist() == whole.pts_ns[1:3].tolist()
    shown = [
        max(i for i, frame in enumerate(frames) if frame.time <= t / 100) for t in map(Fraction, range(10))
    ]
    assert resampled.pts_ns.tolist() == [rounded_ns(frames[number].time) for number in shown]
    batch = batch_decode([MediaRef(path, t) for t in whole.pts_ns])
    assert batch.pts_ns.tolist() == whole.pts_ns.tolist()
    assert all(np.array_equal(a, b) for a, b in zip(batch, whole.data, strict=True))


def test_a_batch_of_ones_own_need_not_have_times_in_nanoseconds() -> None:
    data, times = np.zeros((2, 3, 4, 6), np.uint8), np.zeros(2)
    batch = FrameBatch(data, times, times)

    assert batch.pts_ns is None
    assert batch[0].pts_ns is None
    with pytest.raises(ValueError, match="expected pts_ns of the shape"):
        FrameBatch(data, times, times, pts_ns=np.zeros(3, np.int64))


def test_every_error_of_the_tree_can_be_that_of_another_reference() -> None:
    cause = OSError("no")
    error = MediaRefError("what", uri="a.mp4", pts_ns=1)
    error.__cause__ = cause

    other = error.of_reference("b.mp4", None)

    assert (other.message, other.uri, other.pts_ns, other.__cause__) == ("what", "b.mp4", None, cause)
