"""Readers that move on, for which decoders and frames are kept, held against a linear decode."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from _media import CLIP_NAMES, Clip
from _oracle import OracleFrame, linear_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediaref_ursa import MediaRef, batch_decode, cleanup_cache
from mediaref_ursa._core.counters import counting
from mediaref_ursa.video_decoder import BatchDecodingStrategy

GetClip = Callable[[str], Clip]


@cache
def oracle(path: Path) -> list[OracleFrame]:
    return linear_frames(path)


@pytest.fixture(autouse=True)
def _threads_for_small_frames_too(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("mediaref_ursa._decode.execute._PIXELS_A_WORKER", 1)
    yield
    cleanup_cache()


def windows(count: int, draw: random.Random) -> Iterator[list[int]]:
    """Yield windows of frames as readers ask for them: some move on, some jump."""
    begin = 0
    for _ in range(6):
        length, step, stride = draw.randint(1, 12), draw.randint(1, 9), draw.choice([1, 1, 1, 2, 5])
        begin = draw.choice([begin, draw.randrange(count)])
        for _ in range(draw.randint(1, 6)):
            window = [begin + i * stride for i in range(length)]
            yield [frame for frame in window if frame < count] or [count - 1]
            begin = (begin + step * draw.choice([1, stride])) % count
        if draw.random() < 0.3:
            yield draw.choices(range(count), k=5)


def check(path: Path, seed: int, kept_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._decode.decoder_pool.MAX_KEPT_BYTES", kept_bytes)
    frames = oracle(path)
    refs = [MediaRef(str(path), -(-frame.time * 10**9 // 1)) for frame in frames]
    draw = random.Random(seed)
    cleanup_cache()
    before: list[list[int]] = []
    for window in windows(len(frames), draw):
        before.append(window)
        found = batch_decode([refs[i] for i in window], max_workers=draw.choice([1, 2]), as_array=True)
        wrong = [
            i for i, pixels in zip(window, found, strict=True) if not np.array_equal(pixels, frames[i].rgb)
        ]
        assert not wrong, f"{wrong} of {window} after {before[:-1]}"


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_windows_that_move_on_are_those_of_a_linear_decode(
    name: str, clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip(name).path
    for seed, kept_bytes in enumerate((1 << 24, 0, 40_000)):
        check(path, seed, kept_bytes, monkeypatch)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name in CLIP_NAMES if name.startswith(("h264", "hevc", "av1", "vp"))]),
    seed=st.integers(0, 2**32),
    kept_bytes=st.sampled_from([0, 10_000, 40_000, 1 << 24]),
)
def test_any_walk_is_that_of_a_linear_decode(
    name: str, seed: int, kept_bytes: int, clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip(name).path
    if len({frame.rgb.shape for frame in oracle(path)}) == 1:
        check(path, seed, kept_bytes, monkeypatch)


@pytest.mark.parametrize("name", ["h264_idr_mp4", "hevc_open_gop_mp4", "av1_mp4", "vp9_alt_ref_webm"])
def test_a_window_that_moves_on_decodes_what_is_new(name: str, clip: GetClip) -> None:
    frames = oracle(clip(name).path)
    refs = [MediaRef(str(clip(name).path), -(-frame.time * 10**9 // 1)) for frame in frames]
    cleanup_cache()
    decoded = []
    for begin in range(0, len(frames) - 12, 4):
        with counting() as counted:
            batch_decode(refs[begin : begin + 12], max_workers=1)
        decoded.append(counted.packets_decoded)
    assert sum(decoded[2:]) <= 4 * len(decoded[2:]) + 16, decoded


def test_strategies_of_readers_that_move_on(clip: GetClip) -> None:
    path = clip("h264_idr_mp4").path
    frames = oracle(path)
    refs = [MediaRef(str(path), -(-frame.time * 10**9 // 1)) for frame in frames]
    for strategy in BatchDecodingStrategy:
        for begin in range(0, len(frames) - 8, 3):
            found = batch_decode(refs[begin : begin + 8], strategy)
            for pixels, frame in zip(found, frames[begin : begin + 8], strict=True):
                assert np.array_equal(pixels, frame.rgb)
