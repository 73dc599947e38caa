"""Inputs on which this library failed, of other people's makers, held against a linear decode."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from _oracle import linear_frames

from mediaref_ursa import FrameOutsideVideoError, MediaRef, batch_decode
from mediaref_ursa._index.build import scan_frame_index

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Path:
    path = CASES / str(request.param)
    if not path.exists():
        pytest.skip("the folder of small inputs that failed is not beside this checkout")
    return path


@pytest.mark.parametrize("case", ["ts_frame_without_pts.ts"], indirect=True)
def test_a_frame_that_the_decoder_reports_no_time_for(case: Path) -> None:
    frames = linear_frames(case)
    index = scan_frame_index(case)
    assert index.pts_table(0).tolist() == [frame.pts for frame in frames]
    refs = [MediaRef(str(case), round(frame.time * 10**9)) for frame in frames]
    found = batch_decode(refs)
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))
    with av.open(str(case)) as container:
        stream = container.streams.video[0]
        untimed = [frame for frame in container.decode(stream) if frame.pts is None]
        base = stream.time_base
    assert len(untimed) == 1
    assert untimed[0].dts is not None
    with pytest.raises(FrameOutsideVideoError, match="has no time"):
        batch_decode([MediaRef(str(case), round(untimed[0].dts * base * 10**9))])
