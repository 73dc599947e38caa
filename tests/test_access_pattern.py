"""What a reader is likely to ask for next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._plan.access_pattern import AccessPattern


def pattern(*windows: list[int]) -> AccessPattern:
    found = AccessPattern(np.array(windows[0]))
    for window in windows[1:]:
        found = found.followed_by(np.array(window))
    return found


def test_the_first_window_tells_nothing() -> None:
    assert not pattern([1, 2, 3]).is_sequential
    assert pattern([1, 2, 3]).will_reuse.tolist() == []


def test_sliding_windows_ask_again_for_what_they_share() -> None:
    found = pattern(list(range(64)), list(range(32, 96)))
    assert found.moved == 32
    assert found.will_reuse.tolist() == list(range(64, 96))


def test_windows_with_a_stride_that_they_move_by() -> None:
    found = pattern([0, 10, 20, 30], [10, 20, 30, 40])
    assert found.will_reuse.tolist() == [20, 30, 40]


def test_windows_with_a_stride_that_move_by_one_share_nothing() -> None:
    assert not pattern([0, 10, 20, 30], [1, 11, 21, 31]).is_sequential


@pytest.mark.parametrize(
    ("window", "is_sequential"), [([4], True), ([19], True), ([20], False), ([3], False), ([0], False)]
)
def test_frames_one_after_another(window: list[int], is_sequential: bool) -> None:
    assert pattern([3], window).is_sequential is is_sequential


def test_random_frames_go_nowhere() -> None:
    draw = np.random.default_rng(0)
    found = AccessPattern(np.unique(draw.choice(6000, 16)))
    for _ in range(50):
        found = found.followed_by(np.unique(draw.choice(6000, 16)))
        assert not found.is_sequential


def test_a_long_window_is_not_kept() -> None:
    found = pattern(list(range(100_000)), list(range(10, 100_010)))
    assert not found.is_sequential
    assert len(found.frames) < 10_000


@given(st.lists(st.sets(st.integers(0, 50), min_size=1, max_size=20), min_size=1, max_size=8))
def test_what_is_wanted_again_is_in_the_window(windows: list[set[int]]) -> None:
    found = pattern(*(sorted(window) for window in windows))
    assert set(found.will_reuse.tolist()) <= windows[-1]
    assert found.is_sequential or not len(found.will_reuse)
