"""Random batches of random clips, held against a linear decode of each file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from _media import CLIP_NAMES, Clip
from _oracle import OracleFrame, linear_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediaref_ursa import MediaRef, batch_decode
from mediaref_ursa.video_decoder import BatchDecodingStrategy


@cache
def oracle(path: Path) -> list[OracleFrame]:
    return linear_frames(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_batches_over_several_videos(data: st.DataObject, clip: Callable[[str], Clip]) -> None:
    names = data.draw(st.lists(st.sampled_from(CLIP_NAMES), min_size=1, max_size=3))
    strategy = data.draw(st.sampled_from(list(BatchDecodingStrategy)))
    refs, expected = [], []
    for name in names:
        path = clip(name).path
        frames = oracle(path)
        for i in data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=6)):
            early = data.draw(st.integers(0, 1000), label="nanoseconds before the frame")
            refs.append(MediaRef(str(path), -(-frames[i].time * 10**9 // 1) - early))
            expected.append(frames[i])
    order = data.draw(st.permutations(range(len(refs))))
    found = batch_decode([refs[i] for i in order], strategy)
    for place, i in enumerate(order):
        assert np.array_equal(found[place], expected[i].rgb), f"place {place}: {refs[i]}"
