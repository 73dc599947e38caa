"""What a reader is likely to ask for next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._plan.access_pattern import Trail


def trail(*windows: list[int]) -> Trail:
    found = Trail(np.array(windows[0]))
    for window in windows[1:]:
        found = found.followed_by(np.array(window))
    return found


def test_the_first_window_tells_nothing() -> None:
    assert not trail([1, 2, 3]).goes_on
    assert trail([1, 2, 3]).wanted_again.tolist() == []


def test_sliding_windows_ask_again_for_what_they_share() -> None:
    found = trail(list(range(64)), list(range(32, 96)))
    assert found.moved == 32
    assert found.wanted_again.tolist() == list(range(64, 96))


def test_windows_with_a_stride_that_they_move_by() -> None:
    found = trail([0, 10, 20, 30], [10, 20, 30, 40])
    assert found.wanted_again.tolist() == [20, 30, 40]


def test_windows_with_a_stride_that_move_by_one_share_nothing() -> None:
    assert not trail([0, 10, 20, 30], [1, 11, 21, 31]).goes_on


@pytest.mark.parametrize(
    ("window", "goes_on"), [([4], True), ([19], True), ([20], False), ([3], False), ([0], False)]
)
def test_frames_one_after_another(window: list[int], goes_on: bool) -> None:
    assert trail([3], window).goes_on is goes_on


def test_random_frames_go_nowhere() -> None:
    draw = np.random.default_rng(0)
    found = Trail(np.unique(draw.choice(6000, 16)))
    for _ in range(50):
        found = found.followed_by(np.unique(draw.choice(6000, 16)))
        assert not found.goes_on


def test_a_long_window_is_not_kept() -> None:
    found = trail(list(range(100_000)), list(range(10, 100_010)))
    assert not found.goes_on
    assert len(found.frames) < 10_000


@given(st.lists(st.sets(st.integers(0, 50), min_size=1, max_size=20), min_size=1, max_size=8))
def test_what_is_wanted_again_is_in_the_window(windows: list[set[int]]) -> None:
    found = trail(*(sorted(window) for window in windows))
    assert set(found.wanted_again.tolist()) <= windows[-1]
    assert found.goes_on or not len(found.wanted_again)
