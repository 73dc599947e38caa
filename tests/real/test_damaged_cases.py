"""Real and small files that decoders mark: held against a linear decode, whichever call asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _oracle import linear_frames

from mediaref_ursa import MediaRef, batch_decode, cleanup_cache
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._model.damage import problems_of

CASES = Path(__file__).parents[3] / "shared" / "cases"
NAMES = ("xvid_g12.avi", "hevc_film_grain_first_packet.mp4", "mixed_some.mp4")


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_is_called_damaged_that_comes_out_as_in_a_linear_decode(name: str) -> None:
    path = CASES / name
    if not path.exists():
        pytest.skip("no ../shared/cases beside this checkout: the real files are not part of it")
    frames = linear_frames(path)
    times = [-(-frame.time * 10**9 // 1) for frame in frames]
    cleanup_cache()
    for order in (slice(None), slice(None, None, -1)):
        found = [batch_decode([MediaRef(str(path), t)])[0] for t in times[order]]
        assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames[order], strict=True))
    assert not problems_of([scan_frame_index(path, decode=True).segment_table(0)]).texts()


def test_frames_that_a_linear_decode_makes_up_are_errors_whichever_call_asks() -> None:
    """The file's linear decode is marked as damaged from the first picture on."""
    path = CASES / "x264_444_build148.mp4"
    if not path.exists():
        pytest.skip("no ../shared/cases beside this checkout: the real files are not part of it")
    times = [-(-frame.time * 10**9 // 1) for frame in linear_frames(path)]
    for batches in ([times], [[t] for t in times[::-1]]):
        cleanup_cache()
        for batch in batches:
            found = batch_decode([MediaRef(str(path), t) for t in batch], on_error="none")
            assert len(found.errors) == len(batch)
    assert problems_of([scan_frame_index(path, decode=True).segment_table(0)]).damaged_frames == len(times)
