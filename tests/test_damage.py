"""Videos that were damaged before they were indexed: one answer for each frame, whichever call asks."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import MediaRef, batch_decode, cleanup_cache
from mediaref_ursa._errors import CorruptMediaError, MediaRefError

GetClip = Callable[[str], Clip]

CONCEALING = (
    "h264_idr_mp4",
    "h264_open_gop_mp4",
    "h264_baseline_mp4",
    "h264_mbaff_mp4",
    "h264_ts",
    "hevc_closed_gop_mp4",
    "hevc_open_gop_mp4",
    "mpeg4_avi",
    "mpeg4_mp4",
    "mpeg2_mp4",
    "mpeg2_ts",
    "mpeg1_mkv",
    "ffv1_mkv",
    "mjpeg_avi",
    "msmpeg4_avi",
    "flv1_flv",
    "vp8_webm",
    "vp8_hidden_webm",
    "vp9_alt_ref_webm",
    "av1_mp4",
)


def damaged(clip: Clip, folder: Path, seed: int, *, keyframes: bool = True) -> Path:
    """Return a copy of a clip with one bit flipped in the middle of a packet, past the first one."""
    choose = random.Random(seed)
    with av.open(str(clip.path)) as container:
        video = container.streams.best("video")
        found = [
            (p.pos, p.size) for p in container.demux(video) if p.size and (p.is_keyframe or not keyframes)
        ]
    offset, size = choose.choice(found[1:])
    data = bytearray(clip.path.read_bytes())
    data[offset + size // 3 + choose.randrange(size // 2)] ^= 1 << choose.randrange(8)
    path = folder / f"{seed}-{clip.path.name}"
    path.write_bytes(data)
    return path


Answer = str | int


def answers(path: Path, batches: list[list[int]], **options: object) -> dict[int, Answer]:
    """Return what each time gives: the checksum of its pixels, or the name of an error's class."""
    cleanup_cache()
    found: dict[int, Answer] = {}
    for batch in batches:
        frames = batch_decode([MediaRef(str(path), t) for t in batch], on_error="none", **options)
        for place, (t, pixels) in enumerate(zip(batch, frames, strict=True)):
            found[t] = type(frames.errors[place]).__name__ if pixels is None else zlib.crc32(pixels.tobytes())
    return found


def check_one_answer(path: Path, seed: int) -> dict[int, Answer]:
    """Hold what all kinds of calls give against one another and against a linear decode."""
    try:
        linear = linear_frames(path)
    except av.error.FFmpegError:
        linear = []
    wanted = {-(-frame.time * 10**9 // 1): zlib.crc32(frame.rgb.tobytes()) for frame in linear}
    times = sorted(wanted)
    shuffled = random.Random(seed).sample(times, len(times))
    windows = [times[i : i + 8] for i in range(0, len(times), 3)]
    alone = answers(path, [[t] for t in times])
    wrong = {
        t: times.index(t)
        for t, answer in alone.items()
        if not isinstance(answer, str) and answer != wanted[t]
    }
    assert not wrong, f"{path.name} differ from a linear decode: {sorted(wrong.values())}"
    for batches, how in (
        ([times], "in one batch"),
        ([[t] for t in reversed(times)], "backwards"),
        ([[t] for t in shuffled], "in any order"),
        (windows, "in windows"),
    ):
        found = answers(path, batches)
        differ = {times.index(t): (found[t], alone[t]) for t in times if found[t] != alone[t]}
        assert not differ, f"{path.name} {how} other than alone: {differ}"
    return alone


@pytest.mark.parametrize("name", CONCEALING)
def test_one_flipped_bit_gives_one_answer_whichever_call_asks(
    name: str, clip: GetClip, tmp_path: Path
) -> None:
    for seed in range(6):
        path = damaged(clip(name), tmp_path, seed, keyframes=seed % 2 == 0)
        try:
            check_one_answer(path, seed)
        except MediaRefError as error:  # the whole video is refused, by every call
            assert isinstance(error, CorruptMediaError)
