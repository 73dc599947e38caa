"""Random access points that are found by decoding: exact, and at the cost of three linear decodes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _containers import remux
from _encoding import Encoding, encode
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import MediaRef, batch_decode
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._pyav import codec, demux
from mediaref_ursa._scan import exact_starts, trial_decode
from mediaref_ursa._scan.prefix_search import last_not_above
from mediaref_ursa.video_decoder import BatchDecodingStrategy

GetClip = Callable[[str], Clip]
COARSE = {"qmin": "4", "qmax": "20"}
SPARE = Fraction(1, 4)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count packets that are demuxed, and packets that our decoders and the container's own are fed."""
    done = {"demuxed": 0, "decoded": 0, "opened": 0}
    feed, packets, opened = codec.feed_context, demux.packets, demux.open_video

    def counted_feed(context: Any, encoded: Any, *, uri: str) -> Any:
        done["decoded"] += 1
        return feed(context, encoded, uri=uri)

    def counted_packets(container: Any, stream: Any, *, uri: str) -> Any:
        for packet in packets(container, stream, uri=uri):
            done["demuxed"] += 1
            yield packet

    def counted_open(*args: Any, **kwargs: Any) -> Any:
        done["opened"] += 1
        return opened(*args, **kwargs)

    monkeypatch.setattr(codec, "feed_context", counted_feed)
    monkeypatch.setattr(exact_starts, "feed_context", counted_feed)
    monkeypatch.setattr(trial_decode, "packets", counted_packets)
    monkeypatch.setattr(trial_decode, "open_video", counted_open)
    return done


def assert_exact(path: Path, every: int = 1) -> None:
    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames][::every]
    for strategy in (BatchDecodingStrategy.SEPARATE, BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK):
        found = batch_decode(refs, strategy)
        assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames[::every], strict=True))


@pytest.mark.parametrize("gop", [1, 2, 12])
@pytest.mark.parametrize(
    ("encoder", "container", "size"),
    [
        ("flv", "flv", (96, 64)),
        ("h263", "avi", (128, 96)),
        ("msmpeg4", "avi", (96, 64)),
        ("msmpeg4v2", "avi", (96, 64)),
        ("wmv1", "asf", (96, 64)),
        ("wmv2", "asf", (96, 64)),
        ("snow", "avi", (96, 64)),
    ],
)
def test_starts_are_found_with_three_linear_decodes(
    encoder: str, container: str, size: tuple[int, int], gop: int, tmp_path: Path, work: dict[str, int]
) -> None:
    path = tmp_path / f"video.{container}"
    encode(path, Encoding(encoder, container, container, encoder, COARSE, size=size, gop=gop, count=120))
    index = scan_frame_index(path)
    packets = len(index.segment_table(0).packets)
    assert work["demuxed"] == 3 * packets  # one for each of three passes: ours, the container's, the starts
    assert work["decoded"] <= (2 + SPARE) * packets + 16  # the container's own decoder is a third
    assert work["opened"] == 3
    starts = np.unique(index.segment_table(0).start)
    assert len(starts) >= 120 / max(gop, 1) / 2
    assert_exact(path, every=1 if gop == 12 else 9)


@pytest.mark.parametrize("gop", [1, 6])
@pytest.mark.parametrize("source", ["flv1_flv", "msmpeg4_avi", "wmv2_avi", "qtrle_mov", "gif", "snow_avi"])
def test_flags_that_lie_cost_no_more(
    source: str, gop: int, clip: GetClip, tmp_path: Path, work: dict[str, int]
) -> None:
    """Every packet is called a keyframe: those that are none are found out, and the rest is not lost."""
    original = clip(source)
    lying = tmp_path / f"lying{original.path.suffix}"
    path = remux(original.path, lying, lambda sample: (sample.data, sample.number % gop == 0))
    index = scan_frame_index(path)
    packets = len(index.segment_table(0).packets)
    assert work["demuxed"] == 3 * packets
    assert work["decoded"] <= (2 + SPARE) * packets + 16
    assert_exact(path)


@pytest.mark.parametrize("name", ["flv1_flv", "msmpeg4_avi", "wmv2_avi", "h263_mov", "qtrle_mov", "gif"])
def test_every_start_that_is_kept_gives_the_linear_decode(name: str, clip: GetClip) -> None:
    path = clip(name).path
    table = scan_frame_index(path).segment_table(0)
    assert (table.start <= table.packet).all()
    assert_exact(path)


def test_the_last_place_not_above_a_limit() -> None:
    """Held against the walk back, place by place."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40, 300):
        for spread in (2, 10, 1000):
            values = rng.integers(0, spread, size)
            last = rng.integers(-1, size, 200)
            limit = rng.integers(-1, spread + 1, 200)
            slow = []
            for begin, most in zip(last.tolist(), limit.tolist(), strict=True):
                slow.append(next((i for i in range(begin, -1, -1) if values[i] <= most), -1))
            assert last_not_above(values, last, limit).tolist() == slow
