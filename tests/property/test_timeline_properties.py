"""The arithmetic of windows, held against plain lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._plan.timeline import Timeline

counts_lists = st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(sum)
seconds = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 2))


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[int], list[float]]:
    counts = draw(counts_lists)
    return counts, draw(st.lists(seconds, min_size=sum(counts), max_size=sum(counts)))


@given(recordings())
def test_every_place_is_a_frame_and_back(recording: tuple[list[int], list[float]]) -> None:
    counts, timestamps = recording
    timeline = Timeline.from_timestamps(np.array(timestamps), np.array(counts))
    frames = [(segment, i) for segment, count in enumerate(counts) for i in range(count)]
    by_time = sorted(range(len(frames)), key=lambda n: (timestamps[n], n))
    segment, local = timeline.locate(np.arange(len(timeline)))
    assert list(zip(segment.tolist(), local.tolist(), strict=True)) == [frames[n] for n in by_time]
    assert timeline.timestamps.tolist() == [timestamps[n] for n in by_time]
    assert timeline.ranks_of(segment, local).tolist() == list(range(len(frames)))


@given(recordings(), seconds, seconds)
def test_a_window_holds_what_lies_in_it(
    recording: tuple[list[int], list[float]], start: float, end: float
) -> None:
    counts, timestamps = recording
    timeline = Timeline.from_timestamps(np.array(timestamps), np.array(counts))
    first, stop = timeline.between(start, end)
    inside = sorted(t for t in timestamps if start <= t < end)
    assert timeline.timestamps[first:stop].tolist() == inside
