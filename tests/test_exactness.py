"""The one oracle: whatever the codec, container, batch or strategy, the frame of a linear decode."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import CLIP_NAMES, Clip
from _oracle import OracleFrame, linear_frames, shown_at

from mediaref_ursa import LanceFrameIndex, MediaRef, batch_decode, plan_decode, write_frame_index
from mediaref_ursa.video_decoder import BatchDecodingStrategy

GetClip = Callable[[str], Clip]


@lru_cache(maxsize=4)
def oracle(path: Path) -> list[OracleFrame]:
    return linear_frames(path)


def references(path: Path, frames: Sequence[OracleFrame]) -> list[MediaRef]:
    return [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]


def assert_same(
    found: Sequence[np.ndarray], expected: Sequence[OracleFrame], what: str, dtype: str = "uint8"
) -> None:
    assert len(found) == len(expected)
    pairs = enumerate(zip(found, expected, strict=True))
    wrong = [i for i, (a, b) in pairs if not is_equal(a, b.pixels(dtype))]
    assert not wrong, f"{what}: {len(wrong)} of {len(found)} frames are wrong, the first at place {wrong[0]}"


def is_equal(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.dtype == expected.dtype and np.array_equal(found, expected)


DTYPES = ["uint8", "native"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLIP_NAMES)
def test_every_frame_alone_is_the_frame_of_a_linear_decode(name: str, dtype: Any, clip: GetClip) -> None:
    path = clip(name).path
    frames = oracle(path)
    found = [batch_decode([ref], dtype=dtype)[0] for ref in references(path, frames)]
    assert_same(found, frames, "one by one", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strategy", list(BatchDecodingStrategy))
@pytest.mark.parametrize("name", CLIP_NAMES)
def test_every_strategy_gives_the_frames_of_a_linear_decode(
    name: str, strategy: BatchDecodingStrategy, dtype: Any, clip: GetClip
) -> None:
    path = clip(name).path
    frames = oracle(path)
    assert_same(batch_decode(references(path, frames), strategy, dtype=dtype), frames, strategy.value, dtype)
    some = random.Random(name).choices(range(len(frames)), k=7)
    refs = references(path, frames)
    found = batch_decode([refs[i] for i in some], strategy, dtype=dtype)
    assert_same(found, [frames[i] for i in some], f"{some}", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLIP_NAMES)
def test_an_index_beside_the_video_gives_the_same_frames(
    name: str, dtype: Any, clip: GetClip, tmp_path: Path
) -> None:
    path = Path(shutil.copy(clip(name).path, tmp_path))
    frames = oracle(clip(name).path)
    written = write_frame_index(str(path))
    index = LanceFrameIndex.open(str(path))
    assert index.pts_table(0).tolist() == [frame.pts for frame in frames]
    assert index.segment_frame_counts().tolist() == [len(frames)] == [len(written)]
    assert_same(batch_decode(references(path, frames), dtype=dtype), frames, "with an index on disk", dtype)


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_a_plan_never_feeds_more_packets_than_the_file_has(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = oracle(path)
    plan = plan_decode(references(path, frames))
    assert plan.frames == len(frames)
    assert len(frames) <= plan.packets <= sum(len(table.packets) for table in plan.segments)


@pytest.mark.parametrize("name", ["h264_29_97_mp4", "h264_23_976_mp4", "h264_29_97_mkv", "h264_vfr_mp4"])
def test_a_reference_survives_however_its_nanoseconds_were_rounded(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = oracle(path)
    exact = [frame.time * 10**9 for frame in frames]
    ways = {
        "truncated": [int(float(t / 10**9) * 1e9) for t in exact],
        "rounded": [round(float(t / 10**9) * 1e9) for t in exact],
        "exact": [int(t) for t in exact],
    }
    for way, times in ways.items():
        found = batch_decode([MediaRef(str(path), t) for t in times])
        assert_same(found, frames, way)


@pytest.mark.parametrize(
    "name", ["h264_29_97_mp4", "h264_vfr_mkv", "h264_late_start_mp4", "vp9_alt_ref_webm"]
)
def test_any_time_shows_what_the_playback_rule_says(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = oracle(path)
    first, end = int(frames[0].time * 10**9), int(frames[-1].end * 10**9)
    times = [random.Random(name).randrange(first, end) for _ in range(60)]
    expected = [frames[shown_at(frames, t)] for t in times]
    assert_same(batch_decode([MediaRef(str(path), t) for t in times]), expected, "any time")


def test_a_container_that_flags_every_packet_is_decoded_from_the_real_start(clip: GetClip) -> None:
    path = clip("h264_all_flagged_mkv").path
    frames = oracle(path)
    table = plan_decode(references(path, frames)).segments[0]
    assert table.packets.is_keyframe.all()
    assert len(table.random_access_points) < len(frames) / 4
    assert_same(batch_decode(references(path, frames)[-3:]), frames[-3:], "flagged")


def test_of_one_time_twice_the_later_frame_in_decode_order_is_shown(clip: GetClip) -> None:
    path = clip("h264_duplicate_pts_mkv").path
    table = plan_decode([MediaRef(str(path), 0)]).segments[0]
    assert len(table) < len(table.packets)
    assert_same(batch_decode(references(path, oracle(path))), oracle(path), "duplicates")


@pytest.mark.parametrize("name", ["h264_ts", "h264_open_gop_ts", "hevc_ts", "mpeg2_ts", "h264_stripped_mkv"])
def test_videos_that_cannot_be_addressed_by_packet_go_through_a_demuxer(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = oracle(path)
    table = plan_decode([MediaRef(str(path), int(frames[0].time * 10**9))]).segments[0]
    assert not table.info.addressable
    for i in (len(frames) - 1, 0, len(frames) // 2):
        assert_same(batch_decode(references(path, frames)[i : i + 1]), frames[i : i + 1], f"frame {i}")
