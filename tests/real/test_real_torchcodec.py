"""Both engines on real files: the same frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _oracle import linear_frames

from mediaref_ursa import MediaRef, batch_decode

torch = pytest.importorskip("torch", reason="torch is not installed")
try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError) as error:
    pytest.skip(f"torchcodec is not installed, or cannot load FFmpeg: {error!s:.80}", allow_module_level=True)

from mediaref_ursa.video_decoder import TorchCodecVideoDecoder  # noqa: E402

ODD_SIZE = "testsrc2_odd_height_and_width_mpeg2.mp4"
"""Odd sizes: the engines interpolate chroma in different ways."""

TORCHCODEC_CANNOT = {"discard_first_keyframe.mp4"}
"""TorchCodec counts the frames that the edit list hides, and then finds none for them."""

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")


@pytest.fixture
def videos(shared_media: Path) -> list[Path]:
    return sorted(path for path in shared_media.iterdir() if path.suffix in VIDEOS)


def test_both_engines_give_the_same_frames(videos: list[Path]) -> None:
    assert videos
    for path in videos:
        frames = linear_frames(path)
        refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
        for place, pixels in enumerate(batch_decode(refs, decoder="torchcodec")):
            difference = np.abs(pixels.astype(int) - frames[place].rgb)
            if path.name != ODD_SIZE:
                assert difference.max() <= 2, path
            else:
                assert difference.mean() == min(np.abs(pixels.astype(int) - f.rgb).mean() for f in frames)


def test_every_frame_is_that_of_torchcodec_to_the_bit(videos: list[Path]) -> None:
    for path in videos:
        if path.name in TORCHCODEC_CANNOT:
            continue
        theirs, ours = VideoDecoder(str(path)), TorchCodecVideoDecoder(path)
        assert len(theirs) == len(ours)
        for index in range(0, len(ours), 7):
            expected, found = theirs.get_frame_at(index), ours.get_frame_at(index)
            assert torch.equal(found.data, expected.data), path
            assert found.pts_seconds == pytest.approx(expected.pts_seconds, abs=1e-9)


def test_where_torchcodec_fails_this_does_not(shared_media: Path) -> None:
    for name in TORCHCODEC_CANNOT:
        theirs = VideoDecoder(str(shared_media / name))
        with pytest.raises(RuntimeError):
            theirs.get_frames_at(list(range(len(theirs))))
        assert len(TorchCodecVideoDecoder(shared_media / name).get_all_frames()) == 25
