"""Packets that a decoder refuses, in streams that are decoded to be indexed: they cost their frames only."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from _containers import Sample, remux
from _encoding import RGBArray, make_picture
from _oracle import to_rgb

from mediaref_ursa import CorruptMediaError, MediaRef, batch_decode

SIZE, COUNT, BAD = (96, 64), 30, 14


def encode(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        stream.codec_context.gop_size = 10
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(make_picture(number, *SIZE), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def decoded_as_players_do(path: Path) -> tuple[dict[int, RGBArray], int]:
    """Return frames by time in nanoseconds, and how many packets the decoder refused."""
    frames: dict[int, RGBArray] = {}
    refused = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for packet in container.demux(stream):
            try:
                given = packet.decode()
            except av.error.FFmpegError:
                refused += 1
                continue
            frames.update({round(f.pts * stream.time_base * 10**9): to_rgb(f) for f in given})
    return frames, refused


@pytest.mark.parametrize(
    ("codec", "suffix", "junk"),
    [
        ("flv", "flv", b"\xff"),
        ("png", "mov", b"\0"),
        ("libx264", "avi", b"\xff"),
        ("libx264", "mp4", b"\xff"),
        ("libx265", "mkv", b"\xff"),
    ],
)
def test_a_refused_packet_costs_its_own_frames_only(
    codec: str, suffix: str, junk: bytes, tmp_path: Path
) -> None:
    def change(sample: Sample) -> tuple[bytes, bool]:
        data = junk * len(sample.data) if sample.number == BAD else sample.data
        return data, sample.is_keyframe

    whole = encode(tmp_path / f"whole.{suffix}", codec)
    path = remux(whole, tmp_path / f"video.{suffix}", change)
    frames, refused = decoded_as_players_do(path)
    assert refused == 1
    times = list(decoded_as_players_do(whole)[0])

    batch = batch_decode([MediaRef(str(path), time) for time in times], on_error="none")

    given = [time for time, pixels in zip(times, batch, strict=True) if pixels is not None]
    assert len(given) >= 10
    assert all(np.array_equal(batch[times.index(time)], frames[time]) for time in given)
    assert {type(error) for error in batch.errors.values()} == {CorruptMediaError}
